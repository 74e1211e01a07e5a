"""Keys, scopes, limits, pages and problems: what programs that ask may rely on."""

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sql import keys
from sql.db import connect
from sql.sync import AccountKey
from tests.api.office import Office, office_on, sale, served, settings_for, signed
from tests.support.books import NOON, PHONE, Books, invoice

TYPE = "urn:problem-type:twezah:"
#: Its sales are those of this file alone: all tests of the API share a database.
SYSTEM = "wave"
ASKED = [
    ("GET", "/api/billing/transactions", "transactions:read"),
    ("POST", "/api/billing/sync", "sync:start"),
    ("GET", "/api/billing/status", "status:read"),
    ("GET", "/api/members/1/balance", "members:read"),
    ("GET", "/api/members/1/history", "members:read"),
    ("POST", "/api/members/lookup", "members:read"),
    ("GET", "/metrics", "metrics:read"),
    ("GET", "/api/audit", "audit:read"),
]


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a problem, which every error is."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert {"type", "title", "detail", "request_id"} <= set(body)
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["type"].removeprefix(TYPE)


@pytest.mark.parametrize(("method", "path", "scope"), ASKED)
def test_every_question_needs_a_key_with_its_scope(
    office: Office, method: str, path: str, scope: str
) -> None:
    assert problem(office.http.request(method, path)) == (401, "key_missing")
    others = [one for one in keys.SCOPES if one != scope]
    assert problem(office.http.request(method, path, headers=office.key(*others))) == (
        403,
        "insufficient_scope",
    )
    answer = office.http.request(method, path, headers=office.key(scope))
    assert answer.status_code not in (401, 403)


def test_a_key_that_is_wrong_expired_or_revoked_opens_nothing(office: Office) -> None:
    good = office.key()["Authorization"]
    for wrong in (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "Bearer x",
        "Basic dTpw",
        good.replace("Bearer ", ""),
    ):
        assert (
            office.http.get("/api/billing/status", headers={"Authorization": wrong}).status_code
            == 401
        )
    for change in (
        "revoked_at = now()",
        "created_at = now() - interval '2 days', expires_at = now() - interval '1 second'",
    ):
        header = office.key()
        prefix = keys.prefix_of(header["Authorization"].removeprefix("Bearer "))
        office.rows(f"UPDATE billing.api_key SET {change} WHERE prefix = %s RETURNING 1", prefix)
        answer = office.http.get("/api/billing/status", headers=header)
        assert problem(answer) == (401, "key_refused")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_rotated_key_works_until_the_overlap_ends(office: Office) -> None:
    old = office.key("status:read")
    prefix = keys.prefix_of(old["Authorization"].removeprefix("Bearer "))
    assert prefix
    with connect(office.dsn) as connection:
        made = keys.rotate(connection, prefix, overlap=timedelta(days=7))
        connection.commit()
        row = next(one for one in keys.listed(connection) if one.prefix == made.prefix)
        before = keys.find(connection, prefix)
    assert (row.replaces, list(row.scopes), row.name) == (prefix, ["status:read"], "test")
    assert before is not None and before.expires_at - made.expires_at < -timedelta(days=80)
    for header in (old, {"Authorization": f"Bearer {made.secret}"}):
        assert office.http.get("/api/billing/status", headers=header).status_code == 200
    with connect(office.dsn) as connection:
        assert all(
            one.last_used_at
            for one in keys.listed(connection)
            if one.prefix in (prefix, made.prefix)
        )
        assert made.secret not in repr(
            connection.execute("SELECT * FROM billing.api_key").fetchall()
        )


def test_a_key_has_a_limit_that_processes_share(office: Office, tmp_path: Path) -> None:
    """12 a minute: two at once, whichever process is asked."""
    header = office.key(per_minute=12)
    settings = settings_for(tmp_path, office.dsn, secret_key=office.config.key.decode())
    with served(office_on(settings)[0], settings) as other:
        answers = [
            httpx.get(f"{url}/api/billing/status", headers=header)
            for url in (office.url, other) * 3
        ]
    assert [one.status_code for one in answers] == [200, 200, 429, 429, 429, 429]
    assert problem(answers[2]) == (429, "rate_limited")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 6


def test_who_tries_keys_is_not_listened_to_for_a_while(databases: Any, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, databases.migrated())
    app, config, _ = office_on(settings)
    with served(app, settings) as url, httpx.Client(base_url=url) as http:
        wrong = {"Authorization": "Bearer twz_aaaaaaaaaa_" + "A" * 43}
        codes: list[int] = []
        while (
            429 not in codes and len(codes) < 200
        ):  # a slow machine earns one more each two seconds
            codes.append(http.get("/api/billing/status", headers=wrong).status_code)
        assert codes[:30] == [401] * 30 and codes[-1] == 429
    databases.drop(config.dsn)


def test_a_source_has_a_limit(databases: Any, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, databases.migrated())
    app, config, _ = office_on(settings, source_per_minute=60)
    with served(app, settings) as url, httpx.Client(base_url=url) as http:
        codes: list[int] = []
        while 429 not in codes and len(codes) < 200:  # a slow machine earns one more each second
            codes.append(http.post("/api/webhooks/billing/x").status_code)
        assert codes[:10] == [404] * 10 and codes[-1] == 429
        assert http.get("/health").status_code == 200
    databases.drop(config.dsn)


@pytest.fixture(scope="module")
def sold(office: Office) -> Books:
    """25 sales of one member, one of them void, with points; two at the same instant."""
    books = Books(office.dsn, AccountKey(SYSTEM, "pages"))
    books.store(
        *(
            invoice(
                external_id=f"S{number:02}", invoice_number=f"INV-{number}",
                total_minor=1000 + number,
                status="void" if number == 7 else "paid",
                issued_at=NOON + timedelta(days=number // 2),
            )
            for number in range(25)
        )
    )  # fmt: skip
    books.award()
    return books


def pages(
    office: Office, path: str, header: dict[str, str], **params: Any
) -> list[list[dict[str, Any]]]:
    found, cursor = [], None
    while True:
        answer = office.http.get(
            path, headers=header, params={**params, **({"cursor": cursor} if cursor else {})}
        )
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def test_pages_hold_every_transaction_once_the_latest_first(office: Office, sold: Books) -> None:
    found = pages(office, "/api/billing/transactions", office.key(), limit=7, system=SYSTEM)
    assert [len(page) for page in found] == [7, 7, 7, 4]
    ids = [one["id"] for page in found for one in page]
    assert ids == [f"S{number:02}" for number in reversed(range(25))]
    first = found[0][0]
    assert (first["total"], first["points"], first["currency"]) == ("10.24", 102, "AOA")
    assert first["issued_at"].endswith("Z")


def test_filters(office: Office, sold: Books) -> None:
    header, member = office.key(), sold.member()

    def ids(**params: Any) -> list[str]:
        return [
            one["id"]
            for page in pages(
                office, "/api/billing/transactions", header, **{"system": SYSTEM, **params}
            )
            for one in page
        ]

    assert ids(status="void") == ["S07"]
    assert ids(number="INV-3") == ["S03"]
    assert ids(system="nobody") == []
    assert len(ids(member_id=member, limit=3)) == 25
    day = NOON + timedelta(days=2)
    assert ids(issued_from=day.isoformat(), issued_to=(day + timedelta(days=1)).isoformat()) == [
        "S05",
        "S04",
    ]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "e30", "%00", "A" * 1999])
def test_a_cursor_of_ones_own_is_refused(office: Office, cursor: str) -> None:
    answer = office.http.get(
        "/api/billing/transactions", headers=office.key(), params={"cursor": cursor}
    )
    assert problem(answer) == (400, "wrong_cursor")


def test_a_cursor_belongs_to_its_filters_and_its_list(office: Office, sold: Books) -> None:
    header = office.key()
    answer = office.http.get(
        "/api/billing/transactions", headers=header, params={"limit": 1}
    ).json()
    for path, more in (
        ("/api/billing/transactions", {"status": "paid"}),
        (f"/api/members/{sold.member()}/history", {}),
    ):
        wrong = office.http.get(
            path, headers=header, params={"cursor": answer["next_cursor"], **more}
        )
        assert problem(wrong) == (400, "wrong_cursor")


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 501},
        {"status": "lost"},
        {"member_id": 2**63},
        {"number": "a\x00b"},
        {"issued_to": "soon"},
        {"color": "red"},
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_named_and_not_repeated(
    office: Office, params: dict[str, Any]
) -> None:
    answer = office.http.get("/api/billing/transactions", headers=office.key(), params=params)
    assert problem(answer) == (422, "invalid_request")
    (name,) = params
    assert answer.json()["errors"][0]["where"] == f"query.{name}"
    assert "input" not in answer.json()["errors"][0]


def test_a_balance_and_its_explanation(office: Office, sold: Books) -> None:
    header, member = office.key("members:read"), sold.member()
    balance = office.http.get(f"/api/members/{member}/balance", headers=header).json()
    assert balance["balance_points"] == sold.points()
    assert (balance["tier"], balance["entries"], balance["changing"]) == ("lead", 24, False)
    entries = [
        one
        for page in pages(office, f"/api/members/{member}/history", header, limit=10)
        for one in page
    ]
    assert sum(one["points"] for one in entries) == balance["balance_points"]
    assert len({(one["sale"]["transaction_id"], one["sale"]["entry_no"]) for one in entries}) == 24
    one = next(one for one in entries if one["sale"]["transaction_id"] == "S24")
    assert one["sale"]["parts"] == [{"rule": "base", "points": 102, "words": "10 points per unit"}]
    assert (
        one["explanation"]
        == "10.24 AOA x 10 points per unit x 1 (lead), rounded down = base 102 = 102"
    )
    asked = office.http.post("/api/members/lookup", headers=header, json={"phone": PHONE[4:]})
    assert asked.json() == balance, "a local number is read as one of the country"


def test_members_that_are_not_there(office: Office) -> None:
    header = office.key()
    for path in ("/api/members/999999/balance", "/api/members/999999/history"):
        assert problem(office.http.get(path, headers=header)) == (404, "unknown_member")
    phone = "+244 923 999 111"
    answer = office.http.post("/api/members/lookup", headers=header, json={"phone": phone})
    assert problem(answer) == (404, "unknown_member")
    answer = office.http.post("/api/members/lookup", headers=header, json={"phone": "12"})
    assert problem(answer)[0] == 422 and "12" not in answer.json()["errors"][0].get("input", "")
    assert problem(office.http.get("/api/members/0/balance", headers=header)) == (
        422,
        "invalid_request",
    )


def test_no_phone_is_in_the_audit_or_the_metrics(office: Office, sold: Books) -> None:
    header = office.key()
    office.http.post("/api/members/lookup", headers=header, json={"phone": PHONE})
    text = office.http.get("/metrics", headers=header).text
    assert (
        'twezah_http_requests_total{method="POST",route="/api/members/lookup",status="200"}' in text
    )
    assert PHONE[1:] not in text
    audit = repr(office.rows("SELECT * FROM billing.http_attempt"))
    assert PHONE[1:] not in audit and "127.0.0.1" not in audit


def test_a_synchronisation_is_started_once_for_each_name(office: Office) -> None:
    header = office.key("sync:start")
    named = {**header, "Idempotency-Key": "close-of-business"}
    begun = len(office.runs.started)
    first, again = (
        office.http.post("/api/billing/sync", headers=named, json={"system": "xero"})
        for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["ui_url"].endswith(f"/runs/flow-run/{first.json()['run_id']}")
    assert first.headers["location"] == first.json()["ui_url"]
    assert (
        "idempotent-replayed" not in first.headers
        and again.headers["idempotent-replayed"] == "true"
    )
    other = office.http.post(
        "/api/billing/sync", headers=named, json={"system": "xero", "dry_run": True}
    )
    assert problem(other) == (422, "idempotency_key_reused")
    unnamed = office.http.post(
        "/api/billing/sync",
        headers=header,
        json={"system": "xero", "since": "2026-01-01T00:00:00+01:00"},
    )
    assert unnamed.status_code == 202
    started = office.runs.started[begun:]
    assert [one[1] for one in started] == [{}, {"since": "2025-12-31T23:00:00+00:00"}]


def test_a_synchronisation_that_cannot_be_started(office: Office) -> None:
    header = {**office.key(), "Idempotency-Key": "k"}
    unknown = office.http.post("/api/billing/sync", headers=header, json={"system": "nobody"})
    assert problem(unknown) == (404, "unknown_connection")
    office.runs.away = True
    try:
        away = office.http.post("/api/billing/sync", headers=header, json={"system": "xero"})
        assert problem(away) == (503, "prefect_away")
        assert office.http.get("/api/billing/status", headers=header).json()["deployments"] is None
    finally:
        office.runs.away = False
    assert (
        office.http.post("/api/billing/sync", headers=header, json={"system": "xero"}).status_code
        == 202
    )
    for body in ({}, {"system": "xero", "sinse": "2026-01-01"}, {"system": "a/b"}):
        assert (
            problem(office.http.post("/api/billing/sync", headers=office.key(), json=body))[0]
            == 422
        )
    backwards = {"system": "xero", "since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert (
        problem(office.http.post("/api/billing/sync", headers=office.key(), json=backwards))[0]
        == 422
    )


def test_the_status_of_each_account(office: Office, sold: Books) -> None:
    sold.run(
        'UPDATE billing.sync_run SET summary = \'{"calls": 10, "throttled": 1, "fetched": '
        '200, "rejected": 2, '
        '"response_ms_p50": 120, "response_ms_p95": 480}\', finished_at = now()'
    )
    sold.run(
        "INSERT INTO billing.sync_run (system, account, run_id, state, error, finished_at) "
        "VALUES ('sage_intacct', 'co', 'r9', 'failed', 'CredentialsRejected: refused', now())"
    )
    at, body = office.endpoint(system="custom", connection="backlog", account="b"), sale("INV-1")
    office.post(at, body, signed(body, "m"))
    found = office.http.get("/api/billing/status", headers=office.key()).json()
    books = next(one for one in found["accounts"] if one["system"] == sold.account.system)
    assert (books["connection"], books["success_rate"], books["error_rate"]) == ("ok", 1.0, 0.0)
    assert books["response_time"] == {"p50_ms": 120, "p95_ms": 480}
    assert (books["reject_rate"], books["throttled_rate"]) == (0.01, 0.1)
    broken = next(one for one in found["accounts"] if one["system"] == "sage_intacct")
    assert (broken["connection"], broken["success_rate"], broken["last_success_at"]) == (
        "needs_operator",
        0.0,
        None,
    )
    assert broken["run_url"].endswith("/runs/flow-run/r9")
    waiting = next(one for one in found["webhooks"] if one["connection"] == "backlog")
    assert (waiting["waiting"], waiting["parked"]) == (1, 0)
    assert found["deployments"] == [{"connection": "xero", "connected": True, "scheduled": True}]


def test_addresses_and_methods_that_are_not_there(office: Office) -> None:
    assert problem(office.http.get("/api/nothing")) == (404, "not_found")
    wrong = office.http.delete("/api/billing/status")
    assert problem(wrong) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD"
    large = office.http.post(
        "/api/billing/sync", headers=office.key(), content=b'{"system": "' + b"a" * 70_000 + b'"}'
    )
    assert problem(large) == (413, "too_large")
    broken = office.http.post(
        "/api/billing/sync",
        headers={**office.key(), "content-type": "application/json"},
        content=b"{",
    )
    assert problem(broken) == (422, "invalid_request")


def test_security_headers_are_everywhere_and_the_server_does_not_name_itself(
    office: Office,
) -> None:
    for answer in (
        office.http.get("/health"),
        office.http.get("/api/nothing"),
        office.http.get("/api/billing/status"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert "strict-transport-security" not in answer.headers


def test_the_interface_is_published_with_examples(office: Office) -> None:
    found = office.http.get("/openapi.json").json()
    asked = {
        (method.upper(), path.replace("{member_id}", "1"))
        for path, ways in found["paths"].items()
        for method in ways
    }
    assert {(method, path) for method, path, _ in ASKED} <= asked
    assert ("POST", "/api/webhooks/billing/{endpoint_id}") in asked and (
        "POST",
        "/api/webhooks/billing",
    ) in asked
    text = json.dumps(found)
    names = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert names <= set(found["components"]["schemas"])
    assert "HTTPValidationError" not in text
    for path, ways in found["paths"].items():
        for method, way in ways.items():
            if "429" in way["responses"] and method == "get":
                assert "application/problem+json" in way["responses"]["429"]["content"], path
    assert found["components"]["schemas"]["Balance"]["properties"]["balance_points"]["examples"]


def test_questions_that_prove_nothing_share_a_row_of_the_audit(office: Office) -> None:
    count = (
        "SELECT count(*), coalesce(sum(repeats), 0) FROM billing.http_attempt "
        "WHERE route = '/health/live'"
    )
    time.sleep(0.6)
    rows, asked = office.rows(count)[0]
    for _ in range(40):
        assert office.http.get("/health/live").status_code == 200
    time.sleep(0.8)
    rows_now, asked_now = office.rows(count)[0]
    assert (asked_now - asked, rows_now - rows < 25) == (40, True)
