"""Only the difference to what is posted is appended."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from loyalty.award import award
from loyalty.difference import POSTED, difference
from tests.support.ledger import NOON, PROGRAM, history, sale, tiers


def posted(*rows: dict[str, Any]) -> pl.DataFrame:
    """The last entry of some chains; like `sale()`'s first award unless said otherwise."""
    first = {
        "system": "xero", "account": "books", "external_id": "A", "member_id": 1, "entry_no": 1, "due_after": 1500,
        "currency": "AOA", "tier": "lead", "program_version": 1, "event_at": NOON,
    }  # fmt: skip
    return pl.DataFrame([first | row for row in rows], schema=POSTED, orient="row")


def entries(sales: list[dict[str, Any]], before: pl.DataFrame) -> list[dict[str, Any]]:
    return difference(award(history(*sales), tiers(), [PROGRAM]), before).to_dicts()


def test_a_first_award() -> None:
    (entry,) = entries([sale()], posted())
    assert entry == {
        "system": "xero", "account": "books", "external_id": "A", "member_id": 1, "entry_no": 1, "due_before": 0,
        "due_after": 1500, "points": 1500, "reason": "award", "breakdown": '{"base":1500}', "net_minor": 15_000,
        "currency": "AOA", "tier": "lead", "program_version": 1, "event_at": NOON, "page_id": 1, "record_no": 0,
    }  # fmt: skip


def test_nothing_where_posted_equals_due() -> None:
    assert entries([sale()], posted({})) == []
    assert entries([sale(status="void")], posted({"due_after": 0, "entry_no": 2})) == []


def test_nothing_for_a_sale_that_never_earned() -> None:
    assert entries([sale(status="draft"), sale(external_id="B", total_minor=0)], posted()) == []


@pytest.mark.parametrize(
    ("change", "reason", "points"),
    [
        ({"total_minor": 20_000}, "edit", 500),
        ({"total_minor": 10_000}, "edit", -500),
        ({"amount_refunded_minor": 5_000}, "refund", -500),
        ({"amount_refunded_minor": 15_000}, "refund", -1500),
        ({"status": "void"}, "void", -1500),
        ({"status": "void", "amount_refunded_minor": 5_000}, "void", -1500),
        ({"status": "draft"}, "edit", -1500),
    ],
)
def test_a_change_posts_the_correction(change: dict[str, Any], reason: str, points: int) -> None:
    (entry,) = entries([sale(**change)], posted({}))
    assert (entry["entry_no"], entry["reason"], entry["points"], entry["due_before"]) == (
        2,
        reason,
        points,
        1500,
    )
    assert entry["due_after"] == 1500 + points


@pytest.mark.parametrize("link", ["A", None])
@pytest.mark.parametrize("way", ["returned_sales", "latest_sales"])
def test_a_credit_that_is_brought_home_is_a_refund_of_its_sale(way: str, link: str | None) -> None:
    program = PROGRAM.model_copy(update={"unlinked_credits": way})
    credit = sale(
        external_id="C", kind="credit_note", total_minor=5_000, page_id=2,
        issued_at=NOON + timedelta(days=1), original_external_id=link,
    )  # fmt: skip
    due = award(history(sale(), credit), tiers(), [program])
    (entry,) = difference(due, posted({"net_minor": 15_000})).to_dicts()
    assert (entry["external_id"], entry["reason"], entry["points"]) == ("A", "refund", -500)
    # What else changes later is an edit; so is the credit that turns out to be none.
    due = award(history(sale(), credit), tiers((1, NOON, "gold")), [program])
    (entry,) = difference(due, posted({"net_minor": 10_000, "due_after": 1_000})).to_dicts()
    assert (entry["reason"], entry["points"]) == ("edit", 500)
    due = award(history(sale(), credit | {"status": "void"}), tiers(), [program])
    (entry,) = difference(due, posted({"net_minor": 10_000, "due_after": 1_000})).to_dicts()
    assert (entry["reason"], entry["points"]) == ("edit", 500)


def test_a_void_that_is_taken_back() -> None:
    (entry,) = entries([sale()], posted({"entry_no": 2, "due_after": 0}))
    assert (entry["entry_no"], entry["points"], entry["due_after"]) == (3, 1500, 1500)


def test_a_sale_that_moved_to_another_member() -> None:
    moved, awarded = sorted(
        entries([sale(member_id=2)], posted({})), key=lambda entry: entry["member_id"]
    )
    assert (moved["member_id"], moved["reason"], moved["points"], moved["due_after"]) == (
        1,
        "moved",
        -1500,
        0,
    )
    assert (moved["breakdown"], moved["net_minor"], moved["currency"], moved["tier"]) == (
        '{"base":0}',
        0,
        "AOA",
        "lead",
    )
    assert (moved["program_version"], moved["event_at"]) == (1, NOON)
    assert (awarded["member_id"], awarded["reason"], awarded["points"]) == (2, "award", 1500)


def test_a_move_is_taken_back_once() -> None:
    assert entries([], posted({"entry_no": 2, "due_after": 0})) == []


def test_the_same_number_in_another_account_is_another_sale() -> None:
    both = entries([sale(account="other"), sale(system="freshbooks")], posted({}))
    assert sorted((e["system"], e["account"], e["points"]) for e in both) == [
        ("freshbooks", "books", 1500), ("xero", "books", -1500), ("xero", "other", 1500),
    ]  # fmt: skip


def test_a_missing_rate_is_handed_on_as_null() -> None:
    (entry,) = entries([sale(currency="ZZZ")], posted({}))
    assert (entry["due_after"], entry["points"], entry["due_before"]) == (None, None, 1500)


def test_an_entry_is_dated_by_the_sale() -> None:
    later = NOON + timedelta(days=3)
    (entry,) = entries([sale(issued_at=later, total_minor=1_000)], posted({}))
    assert entry["event_at"] == later


def test_entries_are_sorted_by_key() -> None:
    sales = [sale(external_id=name, member_id=member) for name in "CAB" for member in (2, 1)]
    keys = [(entry["external_id"], entry["member_id"]) for entry in entries(sales, posted())]
    assert keys == sorted(keys)
