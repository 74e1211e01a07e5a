"""What an app shows of a member, and of the program, over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.api.conftest import open_office
from tests.api.office import Office, settings_for
from tests.db.test_rules import program, promote
from tests.support.books import PHONE, Books, invoice
from tests.support.database import Databases

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


@pytest.fixture
def shop(databases: Databases, tmp_path: Path) -> Iterator[tuple[Office, Books]]:
    """An office, and a member who bought for 600.00 AOA ten days ago."""
    dsn = databases.migrated()
    books = Books(dsn)
    bought(books, "A", 60_000)
    with open_office(settings_for(tmp_path, dsn)) as office:
        yield office, books
    databases.drop(dsn)


def bought(books: Books, name: str, total: int, **more: Any) -> None:
    at = NOW - 10 * DAY
    books.store(invoice(external_id=name, total_minor=total, issued_at=at, updated_at=at, **more))
    books.award()


def asked(shop: tuple[Office, Books], path: str, **body: Any) -> dict[str, Any]:
    office, _ = shop
    key = office.key("members:read")
    answer = (
        office.http.post(path, headers=key, json=body)
        if body
        else office.http.get(path, headers=key)
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_as_shipped_there_is_no_progress_and_nothing_waits(
    shop: tuple[Office, Books],
) -> None:
    member = shop[1].member()
    found = asked(shop, f"/api/members/{member}/balance")
    assert (found["balance_points"], found["available_points"], found["unpaid_points"]) == (
        6000, 6000, 0,
    )  # fmt: skip
    assert (found["tier"], found["tier_multiplier"]) == ("lead", "1")
    assert found["tier_progress"] is None and found["promotions"] == []
    assert asked(shop, "/api/members/lookup", phone=PHONE) == found


def test_the_way_to_the_next_tier_and_what_keeps_this_one(shop: tuple[Office, Books]) -> None:
    books = shop[1]
    policy = {
        "thresholds": {"silver": 5_000, "gold": 20_000},
        "period": "month",
        "window_days": 365,
    }
    program(books, tier_policy=Jsonb(policy))
    books.run("SELECT loyalty.mark_dirty(ARRAY(SELECT member_id FROM loyalty.member))")
    books.award()
    found = asked(shop, f"/api/members/{books.member()}/balance")
    progress = found["tier_progress"]
    assert (found["tier"], found["tier_multiplier"]) == ("silver", "1.2")
    assert (progress["reached"], progress["next_tier"], progress["missing_to_next"]) == (
        "6000", "gold", "14000",
    )  # fmt: skip
    assert progress["keep"]["missing"] == "0"
    assert datetime.fromisoformat(progress["keep"]["before"]) > datetime.now(UTC)


def test_a_sale_that_is_not_paid_is_pending(shop: tuple[Office, Books]) -> None:
    books = shop[1]
    program(books, award_when="paid")
    bought(books, "B", 10_000)
    found = asked(shop, f"/api/members/{books.member()}/balance")
    # The first sale is not paid either.
    assert (found["balance_points"], found["unpaid_points"]) == (0, 7000)
    books.store(
        invoice(
            external_id="B", total_minor=10_000, issued_at=NOW - 10 * DAY, updated_at=NOW,
            status="paid",
        )
    )  # fmt: skip
    books.award()
    after = asked(shop, f"/api/members/{books.member()}/balance")
    assert after["unpaid_points"] == found["unpaid_points"] - 1000
    assert after["balance_points"] == found["balance_points"] + 1000


def test_promotions_that_the_member_can_use(shop: tuple[Office, Books]) -> None:
    books = shop[1]
    bonus = {"kind": "purchase_bonus", "points": 50}
    promote(books, "everybody", "purchase_bonus", bonus, title="For you")
    promote(books, "gold", "purchase_bonus", bonus, when={"tiers": ["gold"]})
    promote(books, "first", "purchase_bonus", bonus, when={"first_purchase": True})
    promote(books, "spent", "purchase_bonus", bonus, limits={"per_member": 50})
    promote(books, "over", "purchase_bonus", bonus, valid_to=(NOW - DAY).isoformat())
    promote(books, "later", "purchase_bonus", bonus, valid_from=NOW + DAY)
    promote(books, "off", "purchase_bonus", bonus, enabled=False)
    books.run("SELECT loyalty.mark_dirty(ARRAY(SELECT member_id FROM loyalty.member))")
    books.award()
    found = asked(shop, f"/api/members/{books.member()}/balance")
    assert found["promotions"] == [
        {
            "promotion_id": "everybody", "title": "For you", "ends_at": None,
            "words": {
                "en": "50 points extra for a purchase.", "pt": "Mais 50 pontos por uma compra.",
            },
        }
    ]  # fmt: skip
    told = asked(shop, "/api/program")
    assert [one["promotion_id"] for one in told["promotions"]] == [
        "everybody", "first", "gold", "spent",
    ]  # fmt: skip


def test_the_program_in_words(shop: tuple[Office, Books]) -> None:
    told = asked(shop, "/api/program")
    assert [one["words"]["pt"] for one in told["earning"]] == ["Ganha 10 pontos por cada AOA."]
    assert [(one["tier"], one["multiplier"]) for one in told["tiers"]] == [
        ("lead", "1"), ("silver", "1.2"), ("gold", "1.5"), ("platinum", "2"),
    ]  # fmt: skip
    assert told["expiry"]["en"] == "Points do not expire."
    office, _ = shop
    key = office.key("points:spend")
    assert office.http.get("/api/program", headers=key).status_code == 403
    unknown = office.http.get("/api/program?lang=pt", headers=office.key("members:read"))
    assert unknown.status_code in (400, 422)
