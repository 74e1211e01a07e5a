"""What the loyalty app shows a member: every movement with its reason.

The words are those of the command.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loyalty.corrections import Adjustment, Decision
from sql import corrections
from sql.explain import explain
from sql.explain_member import explain_member
from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.support.books import NOON, OTHER_PHONE, PHONE, Books, invoice
from tests.support.database import Databases

WHY = Decision(reason="second account", author="Ana")


@pytest.fixture
def told(databases: Databases, tmp_path: Path) -> Iterator[tuple[Office, Books]]:
    """An office with two members.

    One is silver and has a sale, a refund, and an adjustment that was taken back.
    """
    dsn = databases.migrated()
    books = Books(dsn)
    books.store(
        invoice(status="paid"),
        invoice(external_id="B", customer_phone=OTHER_PHONE, customer_external_id="C2"),
    )
    books.set_tier(books.member(), "silver", NOON - timedelta(days=1))
    books.award()
    books.store(
        invoice(status="paid", amount_refunded_minor=5_000, updated_at=NOON + timedelta(hours=1))
    )
    books.award()
    with books.transaction() as connection:
        given = Adjustment(
            member_id=books.member(), points=50, key="k", reason="goodwill", author="Ana"
        )
        number = corrections.adjust(connection, given, "by hand").adjustment_id
    with books.transaction() as connection:
        corrections.void_adjustment(connection, number, WHY, "v", "by hand")
    with open_office(settings_for(tmp_path, dsn)) as office:
        yield office, books
    databases.drop(dsn)


def history(office: Office, member: int, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = office.http.get(
            f"/api/members/{member}/history",
            headers=office.key(),
            params={"limit": limit, **cursor},
        )
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            return found
        cursor = {"cursor": answer.json()["next_cursor"]}


def test_a_history_is_what_the_command_tells(told: tuple[Office, Books]) -> None:
    office, books = told
    member = books.member()
    whole = history(office, member, 200)
    assert history(office, member, 1) == whole, "in pages of one as well"
    command = explain_member(office.dsn, member)
    assert command is not None
    assert [(one["kind"], one["points"], one["balance_points"]) for one in whole] == [
        (one.kind, one.points, one.balance_points) for one in command.latest
    ]
    assert [one["kind"] for one in whole] == ["adjustment void", "adjustment", "refund", "award"]
    assert (
        sum(one["points"] for one in whole)
        == whole[0]["balance_points"]
        == command.balance_points
        == 1200
    )
    assert "goodwill" in whole[1]["explanation"] and whole[1]["sale"] is None
    assert whole[3]["sale"]["parts"] == [
        {"rule": "base", "points": 1500, "words": "10 points per unit"},
        {"rule": "tier", "points": 300, "words": "silver earns 1.2 times as much"},
    ]
    assert whole[2]["explanation"] == (
        "100.00 AOA x 10 points per unit x 1.2 (silver), rounded down = base 1000 + tier 200 = 1200"
    )
    assert "goodwill" in whole[1]["reason"]
    for one in whole:
        assert (one["reason"] is None) == (one["sale"] is not None)
        if one["sale"]:
            assert sum(part["points"] for part in one["sale"]["parts"]) == one["sale"]["due_after"]


def test_transactions_are_explained_and_follow_a_merge(told: tuple[Office, Books]) -> None:
    office, books = told
    first, second = books.member(), books.member(OTHER_PHONE)

    def transactions(**wanted: Any) -> dict[str, dict[str, Any]]:
        answer = office.http.get("/api/billing/transactions", headers=office.key(), params=wanted)
        return {one["id"]: one for one in answer.json()["items"]}

    before = transactions()
    assert (before["A"]["points"], [part["points"] for part in before["A"]["parts"]]) == (
        1200,
        [1000, 200],
    )
    assert before["A"]["explanation"].endswith("= base 1000 + tier 200 = 1200")
    with books.transaction() as connection:
        corrections.merge(connection, first, second, WHY, "by hand", tiers="into")
    books.award()
    after = transactions()
    assert (after["A"]["member_id"], after["A"]["points"], after["A"]["parts"][0]["points"]) == (
        second,
        1000,
        1000,
    )
    assert set(transactions(member_id=second)) == {"A", "B"}
    lookup = office.http.post(
        "/api/members/lookup", headers=office.key(), json={"phone": PHONE}
    ).json()
    assert (lookup["member_id"], lookup["balance_points"]) == (second, 2500)
    assert (
        office.http.get(f"/api/members/{first}/balance", headers=office.key()).json()["merged_into"]
        == second
    )
    books.store(
        invoice(status="void", updated_at=NOON + timedelta(hours=2)),
        invoice(external_id="V", status="void"),
    )
    books.award()
    assert transactions()["V"]["explanation"] == "void documents give no points"
    void = transactions()["A"]
    assert (void["points"], sum(part["points"] for part in void["parts"])) == (0, 0)


def test_a_document_is_explained_as_by_the_command(told: tuple[Office, Books]) -> None:
    office, _ = told
    asked = {"system": "xero", "invoice": "INV-1"}
    found = office.http.get(
        "/api/billing/explanation", headers=office.key(), params={**asked, "invoice": "A"}
    ).json()
    command = explain(office.dsn, "xero", "A")
    assert command is not None and command.now is not None
    assert [one["explanation"] for one in found["entries"]] == [
        one.rule() for one in command.entries
    ]
    assert [(one["rule"], one["words"]) for one in found["now"]["parts"]] == [
        (one.rule, one.words) for one in command.now.parts
    ]
    assert (found["points"], found["now"]["due"], found["now"]["waiting_points"]) == (1200, 1200, 0)
    assert found["now"]["tier_source"] == "set by the loyalty app"
    unknown = office.http.get(
        "/api/billing/explanation", headers=office.key(), params={**asked, "invoice": "nobody"}
    )
    assert (unknown.status_code, unknown.json()["type"].split(":")[-1]) == (
        404,
        "unknown_transaction",
    )
    assert (
        office.http.get(
            "/api/billing/explanation", headers=office.key("status:read"), params=asked
        ).status_code
        == 403
    )
