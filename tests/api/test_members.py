"""Members, tiers and referrals through the API: each change once, and refusals as problems."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from loyalty.corrections import Decision
from sql.db import connect
from sql.erasure import erase
from tests.api.office import Office
from tests.support.books import Books, invoice

WHY = {"reason": "campaign"}
_phones = itertools.count(923_700_001)


def phone() -> str:
    """One that nobody has."""
    return f"+244{next(_phones)}"


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


class App:
    """The loyalty app, with a key for everything about members."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.key = office.key(
            "members:read", "members:write", "members:merge", "tiers:write", "referrals:write",
            "events:write", "codes:write", "lists:write",
        )  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None, name: str = "") -> httpx.Response:
        headers = {**self.key, **({"Idempotency-Key": name} if name else {})}
        return self.office.http.request(method, f"/api/members{path}", json=body, headers=headers)

    def member(self, number: str | None = None) -> dict[str, Any]:
        """A new member."""
        answer = self.ask("POST", "", {"phone": number or phone()})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


@pytest.fixture
def app(office: Office) -> App:
    return App(office)


def test_a_member_is_registered_once(app: App) -> None:
    number = phone()
    answers = [app.ask("POST", "", {"phone": text}) for text in (number, f" {number[4:]} ")]
    assert [answer.status_code for answer in answers] == [201, 200]
    first, again = (answer.json() for answer in answers)
    assert first == again
    assert number not in answers[0].text
    assert answers[0].headers["location"] == f"/api/members/{first['public_id']}"
    assert (first["tier"], first["merged_into"], first["referral"]) == ("lead", None, None)
    assert problem(app.ask("POST", "", {"phone": "12"})) == (422, "invalid_request")
    assert problem(app.ask("POST", "", {"phone": "not one"})) == (422, "no_phone")


def test_a_member_is_named_by_number_or_by_public_id(app: App) -> None:
    made = app.member()
    for name in (made["member_id"], made["public_id"]):
        assert app.ask("GET", f"/{name}").json() == made
        assert app.ask("GET", f"/{name}/balance").json()["member_id"] == made["member_id"]
        assert app.ask("GET", f"/{name}/history").json()["items"] == []
    unknown = "00000000-0000-4000-8000-000000000000"
    assert problem(app.ask("GET", f"/{unknown}/balance")) == (404, "unknown_member")
    assert problem(app.ask("GET", f"/{2**63}")) == (404, "unknown_member")
    assert problem(app.ask("GET", "/ana")) == (422, "invalid_request")


def test_a_tier_is_set_corrected_and_ended(app: App) -> None:
    path = f"/{app.member()['public_id']}/tiers"
    at = {"valid_from": "2026-01-01T00:00:00Z"}
    assert app.ask("POST", path, {"tier": "gold", **at, **WHY}).status_code == 200
    assert app.ask("POST", path, {"tier": "silver", **at, **WHY}).status_code == 200
    assert app.ask("POST", path, {"tier": "silver", **at, **WHY}).status_code == 200
    ended = app.ask("POST", f"{path}/end", {"valid_from": "2026-02-01", **WHY}).json()
    assert [(each["tier"], each["valid_from"]) for each in ended["items"]] == [
        (None, "2026-02-01T00:00:00Z"), ("silver", "2026-01-01T00:00:00Z"),
    ]  # fmt: skip
    assert app.ask("GET", path).json() == ended
    assert problem(app.ask("POST", path, {"tier": "vip", **WHY})) == (422, "unknown_tier")
    assert problem(app.ask("POST", path, {"tier": "gold"})) == (422, "invalid_request")
    author = "SELECT DISTINCT recorded_by FROM loyalty.member_tier WHERE member_id = %s"
    prefix = app.key["Authorization"].removeprefix("Bearer ").rsplit("_", 1)[0]
    assert app.office.rows(author, ended["member_id"])[0][0].startswith(f"key {prefix[:14]}")


def test_a_referral_is_entered_corrected_and_withdrawn(app: App) -> None:
    one, two, third = app.member(), app.member(), app.member()
    path = f"/{two['member_id']}/referral"
    shown = app.ask("PUT", path, {"referrer": one["public_id"], **WHY}).json()["referral"]
    assert (shown["referrer_id"], shown["counts"]) == (one["member_id"], True)
    at = shown["referred_at"]
    shown = app.ask("PUT", path, {"referrer": str(third["member_id"]), **WHY}).json()["referral"]
    assert (shown["referrer_id"], shown["referred_at"]) == (third["member_id"], at)
    circle = {"referrer": two["public_id"], **WHY}
    assert problem(app.ask("PUT", f"/{third['public_id']}/referral", circle)) == (
        409,
        "referral_circle",
    )
    assert app.ask("PUT", path, {"referrer": None, **WHY}).json()["referral"] is None
    assert problem(app.ask("PUT", path, {"referrer": str(10**12), **WHY})) == (
        404,
        "unknown_member",
    )


def test_a_merge_is_shown_first_then_done_and_taken_back(app: App) -> None:
    one, into = app.member(), app.member()
    app.ask("POST", f"/{one['member_id']}/tiers", {"tier": "gold", **WHY})
    path, body = f"/{one['public_id']}/merge", {"into": into["public_id"], **WHY}
    shown = app.ask("POST", path, {**body, "dry_run": True}).json()
    assert shown["state"] == "preview"
    assert [
        (each["member_id"], each["tier_before"], each["tier_after"]) for each in shown["changes"]
    ] == [(one["member_id"], "gold", "gold"), (into["member_id"], "lead", "gold")]
    assert app.ask("GET", f"/{into['public_id']}").json()["tier"] == "lead"
    kept = app.ask("POST", path, {**body, "dry_run": True, "tiers": "into"}).json()
    assert kept["changes"][1]["tier_after"] == "lead"
    assert app.ask("POST", path, body).json() == {**shown, "state": "merged"}
    assert app.ask("GET", f"/{one['public_id']}").json()["merged_into"] == into["member_id"]
    assert problem(app.ask("POST", f"/{one['member_id']}/tiers", {"tier": "gold", **WHY})) == (
        409,
        "member_merged",
    )
    back = {"into": one["public_id"], **WHY}
    assert problem(app.ask("POST", f"/{into['member_id']}/merge", back)) == (409, "contradiction")
    alone = app.ask("POST", f"/{one['public_id']}/unmerge", WHY).json()
    assert (alone["merged_into"], alone["tier"]) == (None, "gold")


def test_the_points_of_both_are_shown(app: App) -> None:
    """Nothing of the ledger is written for it, and the API could not."""
    books, numbers = Books(app.office.dsn), (phone(), phone())
    books.store(
        *(
            invoice(external_id=f"OF {number}", customer_phone=number, customer_external_id=number)
            for number in numbers
        )
    )
    books.award()
    one, into = (books.member(number) for number in numbers)
    body = {"into": str(into), **WHY}
    for more in ({"dry_run": True}, {}):
        answer = app.ask("POST", f"/{one}/merge", {**body, **more})
        assert answer.status_code == 200, answer.text
        assert [
            (each["balance_points_before"], each["balance_points_after"])
            for each in answer.json()["changes"]
        ] == [(1500, 0), (1500, 3000)]


@pytest.mark.parametrize("field", ["reason", "author"])
def test_a_text_that_no_database_keeps_is_refused(app: App, field: str) -> None:
    body = {"tier": "gold", **WHY, field: "a\x00b"}
    answer = app.ask("POST", f"/{app.member()['public_id']}/tiers", body)
    assert problem(answer) == (422, "invalid_request")


def test_who_was_erased_is_not_merged(app: App) -> None:
    gone, other = app.member(), app.member()
    decision = Decision(reason="request 12", author="Ana, support")
    with connect(app.office.dsn) as connection:
        erase(connection, gone["member_id"], decision, "by hand", dry_run=False)
        connection.commit()
    body = {"into": other["public_id"], **WHY}
    assert problem(app.ask("POST", f"/{gone['member_id']}/merge", body)) == (409, "member_erased")


def test_a_phone_is_changed(app: App) -> None:
    former, new = phone(), phone()
    made, other = app.member(former), app.member()
    path = f"/{made['public_id']}/phone"
    for _ in range(2):
        assert app.ask("POST", path, {"phone": new, **WHY}).json() == made
    lookup = app.ask("POST", "/lookup", {"phone": former}).json()
    assert lookup["member_id"] == made["member_id"], "sales under it still count here"
    taken = app.ask("POST", f"/{other['public_id']}/phone", {"phone": new, **WHY})
    assert problem(taken) == (409, "phone_taken") and new not in taken.text


def test_a_request_counts_once_under_its_name(app: App) -> None:
    made = app.member()
    path, body = f"/{made['public_id']}/tiers", {"tier": "silver", **WHY}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: app.ask("POST", path, body, "a-name"), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 3
    app.ask("POST", path, {"tier": "gold", **WHY})
    assert app.ask("POST", path, body, "a-name").json() == answers[0].json()
    assert app.ask("GET", path).json()["items"][0]["tier"] == "gold", "it is not set again"
    other = app.ask("POST", path, {"tier": "lead", **WHY}, "a-name")
    assert problem(other) == (422, "idempotency_key_reused")
    # A refused request did nothing, and its name may be used again.
    assert problem(app.ask("POST", path, {"tier": "vip", **WHY}, "b-name"))[0] == 422
    assert app.ask("POST", path, {"tier": "lead", **WHY}, "b-name").status_code == 200


def test_what_a_member_did_is_told_once(app: App) -> None:
    made = app.member()
    path = f"/{made['public_id']}/events"
    body = {
        "name": "review", "event_id": f"review-{made['member_id']}",
        "happened_at": "2026-03-01T12:00:00Z",
    }  # fmt: skip
    answers = [app.ask("POST", path, body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    first, again = (answer.json() for answer in answers)
    assert first == again and (first["name"], first["points"]) == ("review", 0)
    other = {**body, "name": "visit"}
    assert problem(app.ask("POST", path, other)) == (409, "event_reused")
    own = {"name": "birthday", "event_id": "b"}
    assert problem(app.ask("POST", path, own)) == (422, "own_event")
    ahead = {"name": "review", "event_id": "later", "happened_at": "2999-01-01T00:00:00Z"}
    assert problem(app.ask("POST", path, ahead)) == (422, "event_in_future")
    old = {"name": "review", "event_id": "old", "happened_at": "0001-01-01T00:00:00Z"}
    assert problem(app.ask("POST", path, old)) == (422, "event_too_old")
    for wrong in ({"name": "Review!"}, {"event_id": "+244923456789"}, {"event_id": ""}):
        assert problem(app.ask("POST", path, body | wrong)) == (422, "invalid_request")
    told = app.ask("GET", path).json()
    assert [each["name"] for each in told["items"]] == ["review", "sign_up"]
    assert [each["event_id"] for each in told["items"]] == [body["event_id"], None]
    page = app.ask("GET", f"{path}?limit=1").json()
    following = app.ask("GET", f"{path}?limit=1&cursor={page['next_cursor']}").json()
    assert [*page["items"], *following["items"]] == told["items"]
    assert following["next_cursor"] is None
    assert problem(app.ask("GET", "/999999999/events")) == (404, "unknown_member")


@pytest.fixture
def offered(app: App) -> App:
    """A promotion for whoever entered its code, and one for those on a list."""
    rule = {"rule": {"points": 50}}
    code = {"code": "API-2027", "days": 30, "uses": 2}
    for name, when in (("api-code", {"code": code}), ("api-list", {"lists": ["api-vip"]})):
        with connect(app.office.dsn) as connection:
            connection.execute(
                "INSERT INTO loyalty.promotion (promotion_id, version, kind, parameters, "
                "valid_from) VALUES (%s, 1, 'purchase_bonus', %s, '2026-01-01') "
                "ON CONFLICT DO NOTHING",
                [name, Jsonb({**rule, "when": when})],
            )
            connection.commit()
    return app


def test_a_code_is_entered_as_often_as_it_may_be(offered: App) -> None:
    first, second, third = (offered.member()["public_id"] for _ in range(3))

    def enter(member: str, code: str = "api-2027", name: str = "") -> httpx.Response:
        return offered.ask("POST", f"/{member}/codes", {"code": code}, name)

    answers = [enter(first, name="once") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    told = answers[0].json()
    assert told == answers[1].json() and told["code"] == "API-2027"
    (opened,) = told["promotions"]
    assert opened["promotion_id"] == "api-code" and opened["counts_until"] > told["entered_at"]
    assert "with a code" in opened["words"]["en"] and "2027" not in str(opened["words"])
    assert problem(enter(first)) == (409, "code_used")
    assert problem(enter(second, "NONE")) == (404, "unknown_code")
    assert problem(enter(second, "n!")) == (422, "invalid_request")
    assert enter(second).status_code == 201
    assert problem(enter(third)) == (409, "code_used_up")
    listed = offered.ask("GET", f"/{first}/codes").json()
    assert listed == {
        "items": [{key: told[key] for key in ("entry_no", "member_id", "code", "entered_at")}],
        "next_cursor": None,
    }
    assert offered.ask("GET", f"/{third}/codes").json()["items"] == []


def test_a_member_is_put_on_a_list_and_taken_off(offered: App) -> None:
    member = offered.member()["public_id"]

    def promoted() -> bool:
        shown = offered.ask("GET", f"/{member}/balance").json()["promotions"]
        return "api-list" in [each["promotion_id"] for each in shown]

    path = f"/{member}/lists/api-vip"
    assert not promoted()
    times = {"valid_from": "2026-02-01", "valid_to": None}
    put = offered.ask("PUT", path, {**times, **WHY})
    assert put.status_code == 200, put.text
    assert [(each["list"], each["valid_to"]) for each in put.json()["items"]] == [("api-vip", None)]
    assert put.json() == offered.ask("PUT", path, {**times, **WHY}).json()
    assert promoted()
    ended = offered.ask("POST", f"{path}/end", {"valid_to": "2026-03-01", **WHY}).json()
    assert [each["valid_to"] for each in ended["items"]] == ["2026-03-01T00:00:00Z"]
    assert offered.ask("GET", f"/{member}/lists").json() == ended
    assert not promoted()
    wrong = {"valid_from": "2026-02-01", "valid_to": "2026-01-01", **WHY}
    assert problem(offered.ask("PUT", path, wrong)) == (422, "wrong_times")
    assert problem(offered.ask("PUT", f"/{member}/lists/VIP", WHY)) == (422, "invalid_request")
    assert problem(offered.ask("PUT", path, {})) == (422, "invalid_request")


def test_a_birthday_is_entered_corrected_and_removed(app: App) -> None:
    made = app.member()
    path = f"/{made['public_id']}/birthday"
    assert app.ask("GET", path).json()["month"] is None
    for month, day in ((2, 29), (6, 17), (None, None)):
        answer = app.ask("PUT", path, {"month": month, "day": day})
        assert answer.status_code == 200, answer.text
        assert app.ask("GET", path).json() == answer.json()
        assert (answer.json()["month"], answer.json()["day"]) == (month, day)
    assert problem(app.ask("PUT", path, {"month": 4, "day": 31})) == (422, "no_such_day")
    assert problem(app.ask("PUT", path, {"month": 4, "day": None})) == (422, "invalid_request")
    assert problem(app.ask("PUT", "/999999999/birthday", {"month": 4, "day": 1})) == (
        404,
        "unknown_member",
    )
    kept = "SELECT count(*) FROM billing.api_request WHERE answer ->> 'day' = '18'"
    named = app.office.key("events:write") | {"Idempotency-Key": "a-birthday"}
    body = {"month": 6, "day": 18}
    answer = app.office.http.put(f"/api/members{path}", json=body, headers=named)
    assert answer.status_code == 200
    assert app.office.rows(kept) == [(0,)]
    logged = "SELECT count(*) FROM audit.entry WHERE subject = %s AND details::text LIKE %s"
    subject = f"member {made['member_id']}"
    assert app.office.rows(logged, subject, "%17%") == [(0,)]


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("POST", "", {"phone": "+244923700000"}, "members:write"),
        ("POST", "/1/phone", {"phone": "+244923700000", **WHY}, "members:write"),
        ("POST", "/1/tiers", {"tier": "gold", **WHY}, "tiers:write"),
        ("POST", "/1/tiers/end", WHY, "tiers:write"),
        ("PUT", "/1/referral", {"referrer": "2", **WHY}, "referrals:write"),
        ("POST", "/1/merge", {"into": "2", **WHY}, "members:merge"),
        ("POST", "/1/unmerge", WHY, "members:merge"),
        ("POST", "/1/events", {"name": "review", "event_id": "e"}, "events:write"),
        ("PUT", "/1/birthday", {"month": 1, "day": 2}, "events:write"),
        ("POST", "/1/codes", {"code": "VERAO"}, "codes:write"),
        ("PUT", "/1/lists/vip", WHY, "lists:write"),
        ("POST", "/1/lists/vip/end", WHY, "lists:write"),
    ],
)
def test_each_kind_of_change_has_a_scope_of_its_own(
    office: Office, method: str, path: str, body: Any, scope: str
) -> None:
    scopes = {
        "members:read", "members:write", "members:merge", "tiers:write", "referrals:write",
        "events:write", "codes:write", "lists:write",
    }  # fmt: skip
    others = office.key(*sorted(scopes - {scope}))
    answer = office.http.request(method, f"/api/members{path}", json=body, headers=others)
    assert problem(answer) == (403, "insufficient_scope")
    unknown = office.http.request(
        method, f"/api/members{path}", json={**body, "vip": True}, headers=office.key(scope)
    )
    assert problem(unknown) == (422, "invalid_request")


def test_the_points_are_asked_for(app: App) -> None:
    app.member()
    assert any(name == "award-waiting" for name, _, _ in app.office.runs.started)


def test_phones_are_in_no_log_and_no_stored_request(app: App) -> None:
    number = phone()
    app.ask("POST", "", {"phone": number}, "named")
    stored = app.office.rows(
        "SELECT answer::text, encode(request_sha256, 'hex') FROM billing.api_request"
    )
    assert stored and number[4:] not in str(stored)
