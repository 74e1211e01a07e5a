"""Spending over HTTP, as the loyalty app does it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.db.test_rules import program
from tests.support.books import NOON, OTHER_PHONE, Books, invoice
from tests.support.database import Databases

FREE_BOTTLE = {"points": 1000, "reference": "order 5512", "reason": "Free bottle"}


@pytest.fixture
def shop(databases: Databases, tmp_path: Path) -> Iterator[tuple[Office, Books]]:
    """An office with two members, of 1000 and 1500 points."""
    dsn = databases.migrated()
    books = Books(dsn)
    books.store(
        invoice(total_minor=10_000),
        invoice(external_id="B", customer_phone=OTHER_PHONE, customer_external_id="C2"),
    )
    books.award()
    with open_office(settings_for(tmp_path, dsn)) as office:
        yield office, books
    databases.drop(dsn)


class App:
    """The loyalty app, with one member and a key."""

    def __init__(self, shop: tuple[Office, Books]) -> None:
        self.office, self.books = shop
        self.member = self.books.member()
        self.key = self.office.key(
            "points:spend", "members:read", "transactions:read", per_minute=60_000
        )
        self.names = 0

    def post(self, path: str, body: Any = None, *, name: str | None = None) -> httpx.Response:
        self.names += 1
        headers = {**self.key, "Idempotency-Key": name or f"request-{self.names}"}
        url = f"/api/members/{self.member}/redemptions{path}"
        return self.office.http.post(url, headers=headers, json=body)

    def get(self, path: str, **wanted: Any) -> Any:
        url = f"/api/members/{self.member}{path}"
        return self.office.http.get(url, headers=self.key, params=wanted).json()

    def balance(self) -> tuple[int, int, int]:
        """(balance, on hold, available)."""
        found = self.get("/balance")
        return found["balance_points"], found["held_points"], found["available_points"]


@pytest.fixture
def app(shop: tuple[Office, Books]) -> App:
    return App(shop)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].split(":")[-1]


def test_points_are_spent_once_per_key(app: App) -> None:
    first = app.post("", FREE_BOTTLE, name="order-5512")
    assert first.status_code == 201, first.text
    done = first.json()
    number = done["redemption"]["redemption_id"]
    assert (done["redemption"]["state"], done["balance"]["balance_points"]) == ("redeemed", 0)
    assert first.headers["location"] == f"/api/members/{app.member}/redemptions/{number}"
    again = app.post("", FREE_BOTTLE, name="order-5512")
    assert (again.status_code, again.json()) == (201, done)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = app.post("", FREE_BOTTLE | {"points": 1}, name="order-5512")
    assert code(other) == (422, "idempotency_key_reused")
    assert app.get(f"/redemptions/{number}") == done["redemption"]
    latest = app.get("/history")["items"][0]
    assert (latest["kind"], latest["points"], latest["balance_points"]) == ("redemption", -1000, 0)
    assert latest["explanation"] == (
        f"points spent (redemption {number}): Free bottle (order 5512)"
    )
    assert latest["reason"] == "Free bottle (order 5512)"
    assert latest["run_id"].startswith("api request ")
    actor = app.books.rows("SELECT actor FROM audit.entry WHERE operation = 'points.redeem'")
    assert actor == [(f"key {app.key['Authorization'][7:21]}",)]


def test_three_at_the_same_instant_and_points_for_one(app: App) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda n: app.post("", FREE_BOTTLE, name=f"n{n}"), range(3)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409]
    refused = next(one for one in answers if one.status_code == 409)
    assert code(refused) == (409, "insufficient_points")
    numbers = ("balance_points", "held_points", "available_points")
    assert [refused.json()[name] for name in numbers] == [0, 0, 0]
    assert refused.json()["detail"].startswith("The balance is 0 points: 0 can be spent.")
    assert app.balance() == (0, 0, 0)


def test_what_is_pending_is_told_and_not_spent(app: App) -> None:
    program(app.books, pending=Jsonb({"until_paid": True}))
    assert app.balance() == (1000, 0, 0)
    assert app.get("/balance")["pending_points"] == 1000
    refused = app.post("", FREE_BOTTLE)
    assert code(refused) == (409, "insufficient_points")
    assert (refused.json()["pending_points"], refused.json()["available_points"]) == (1000, 0)
    waits = {"points": 1000, "available_at": None, "awaits_payment": True}
    assert app.get("/history")["items"][0]["sale"]["pending"] == waits
    asked = {"system": "xero", "invoice": "A"}
    answer = app.office.http.get("/api/billing/explanation", headers=app.key, params=asked)
    assert answer.json()["pending"] == [waits | {"member_id": app.member}]
    paid = invoice(total_minor=10_000, status="paid", updated_at=NOON + timedelta(days=1))
    app.books.store(paid)
    app.books.award()
    assert app.balance() == (1000, 0, 1000)
    assert app.get("/history")["items"][0]["sale"]["pending"] is None
    assert app.post("", FREE_BOTTLE).status_code == 201


def test_many_at_once_over_http(app: App) -> None:
    body = FREE_BOTTLE | {"points": 30}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: app.post("", body, name=f"n{n}"), range(100)))
    assert sorted(one.status_code for one in answers) == [201] * 33 + [409] * 67
    assert app.balance() == (10, 0, 10)


def test_a_hold_is_confirmed_or_cancelled_and_reversed_once(app: App) -> None:
    held = app.post("", FREE_BOTTLE | {"points": 600, "hold_seconds": 900}).json()["redemption"]
    assert (held["state"], app.balance()) == ("held", (1000, 600, 400))
    path = f"/{held['redemption_id']}"
    confirmed = app.post(f"{path}/confirm", name="c")
    assert (confirmed.status_code, confirmed.json()["redemption"]["state"]) == (200, "redeemed")
    assert app.post(f"{path}/confirm", name="c").headers["idempotent-replayed"] == "true"
    assert code(app.post(f"{path}/confirm")) == (409, "wrong_redemption_state")
    assert code(app.post(f"{path}/cancel")) == (409, "wrong_redemption_state")
    back = app.post(f"{path}/reverse", {"reason": "Not in stock"}, name="r")
    assert (back.status_code, back.json()["balance"]["available_points"]) == (200, 1000)
    assert app.post(f"{path}/reverse", {"reason": "Not in stock"}, name="r").status_code == 200
    assert code(app.post(f"{path}/reverse", {"reason": "x"})) == (409, "wrong_redemption_state")
    other = app.post("", FREE_BOTTLE | {"hold_seconds": 900}).json()["redemption"]
    cancelled = app.post(f"/{other['redemption_id']}/cancel", {"reason": "Changed their mind"})
    assert cancelled.json()["redemption"]["released_why"] == "Changed their mind"
    assert app.balance() == (1000, 0, 1000)
    listed = app.get("/redemptions", limit=1)
    assert [one["state"] for one in listed["items"]] == ["cancelled"]
    rest = app.get("/redemptions", limit=1, cursor=listed["next_cursor"])
    assert [one["state"] for one in rest["items"]] == ["reversed"]
    assert rest["next_cursor"] is None
    assert app.get("/redemptions", state="held")["items"] == []


def test_a_refund_after_spending_shows_a_negative_balance_and_why(app: App) -> None:
    app.post("", FREE_BOTTLE)
    void = invoice(total_minor=10_000, status="void", updated_at=NOON + timedelta(days=1))
    app.books.store(void)
    app.books.award()
    found = app.get("/balance")
    assert (found["balance_points"], found["available_points"]) == (-1000, 0)
    assert found["below_zero"].startswith(
        "1000 points were spent, and more was taken than is left: void of xero INV-1 on "
    )
    refused = app.post("", FREE_BOTTLE)
    assert refused.json()["balance_points"] == -1000
    assert "void of xero INV-1" in refused.json()["detail"]


@pytest.mark.parametrize(
    "change",
    [
        {"points": 0}, {"points": -5}, {"points": 1.5}, {"points": "1000"}, {"points": True},
        {"points": 10**13}, {"points": None}, {"reference": ""}, {"reference": "x" * 201},
        {"reason": "call +244 923 456 789"}, {"reason": "a\x00b"}, {"hold_seconds": 0},
        {"hold_seconds": 10**9}, {"unknown": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_used_is_refused(app: App, change: dict[str, Any]) -> None:
    assert code(app.post("", FREE_BOTTLE | change)) == (422, "invalid_request")
    assert app.balance() == (1000, 0, 1000)


def test_who_may_not_and_what_is_not_there(app: App) -> None:
    url = f"/api/members/{app.member}/redemptions"
    http, key = app.office.http, {"Idempotency-Key": "k"}
    assert http.post(url, json=FREE_BOTTLE, headers=key).status_code == 401
    reader = app.office.key("members:read")
    assert code(http.post(url, json=FREE_BOTTLE, headers=key | reader)) == (
        403, "insufficient_scope",
    )  # fmt: skip
    without = http.post(url, json=FREE_BOTTLE, headers=app.key)
    assert code(without) == (422, "invalid_request")
    assert "Idempotency-Key" in without.text
    assert code(app.post("/99/confirm")) == (404, "unknown_redemption")
    app.member = 99
    assert code(app.post("", FREE_BOTTLE)) == (404, "unknown_member")
    answer = http.get("/api/members/99/redemptions", headers=app.key)
    assert code(answer) == (404, "unknown_member")
    answer = http.get("/api/members/99/redemptions/1", headers=app.key)
    assert code(answer) == (404, "unknown_redemption")
    answer = http.get(url, headers=app.key, params={"colour": "blue"})
    assert code(answer) == (422, "invalid_request")


def test_what_expires_next_is_told(app: App) -> None:
    app.books.run(
        "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        "entry_tier, timezone, expiry) SELECT 2, '2020-01-01', base_rate_bps, tier_rate_bps, "
        'entry_tier, timezone, \'{"months": 240, "end_of": "month"}\' FROM loyalty.program'
    )
    app.post("", FREE_BOTTLE | {"points": 300})
    assert app.get("/balance")["expiring_next"] == {
        "expires_at": "2046-03-31T23:00:00Z", "points": 700,
    }  # fmt: skip


def test_without_the_database_the_answer_says_to_repeat(app: App) -> None:
    assert app.post("", FREE_BOTTLE | {"points": 1}).status_code == 201
    with app.office.without_database():
        away = app.post("", FREE_BOTTLE, name="k")
    assert away.status_code == 503, away.text
    assert away.headers["retry-after"]
    for _ in range(20):
        answer = app.post("", FREE_BOTTLE | {"points": 999}, name="k")
        if answer.status_code != 503:
            break
    assert answer.status_code == 201
    assert app.balance() == (0, 0, 0)
