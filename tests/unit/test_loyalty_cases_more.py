"""The other published cases: those that these rules express, and for each of the rest where it is shown, or why it is not."""

import re
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import polars as pl
import pytest

from loyalty.award import award
from loyalty.expiry import MOVES, expired
from loyalty.policies import Expiry, TierPolicy
from loyalty.promotions import Promotion
from tests.support.ledger import NOON, PROGRAM, history, sale, tiers
from tests.unit.test_loyalty_cases import (
    CASES,
    GRID,
    LONG_AGO,
    NOT_EXPRESSED,
    case,
    cents,
    paying,
    points,
)

pytestmark = pytest.mark.skipif(not CASES, reason="no published cases")
#: Not a matter of computing points: shown by tests of the ledger, of webhooks, of synchronisation.
ELSEWHERE = {
    **dict.fromkeys(
        ("SE-27", "SE-29", "SE-35", "OM-01"),
        "tests/db/test_store.py and test_ledger.py: only differences are posted, the same again adds nothing",
    ),
    "SE-33": "tests/db/test_rules.py (TestExpiry): a second run posts nothing",
    "SE-39": "tests/unit/test_mapping_drift.py: a sale without a customer is a reject, and earns nothing",
    **dict.fromkeys(
        ("TB-06", "FO-01", "FO-03", "FO-05"),
        "tests/db/test_corrections.py: adjustments and their voids",
    ),
    **dict.fromkeys(("WH-01", "WH-03"), "tests/unit/test_webhook_signatures.py"),
    **dict.fromkeys(
        ("SY-01", "SY-03", "SY-05"), "tests/sync: overlaps, crashes, vendors that fail"
    ),
    "BR-I2": "tests/properties/test_ledger_properties.py: order of arrival",
}
NOT_HERE = {
    "SE-01": "two base rates at once: one rate per currency, and bonuses in percent",
    "SE-11": "tax of the items alone: here the invoice's subtotal or total",
    "OD-02": "a program of some products: here the base is the whole sale, and products have bonuses",
    "OD-04": "ways of payment: an invoice's total is not lowered by how it is paid",
    "OD-10": "a decimal of a point: points are whole",
    "AC-01": "points per whole 2.00: here every minor unit counts, and the sum is rounded once",
    "AC-03": "shipping and store credit: here the subtotal or total that the system states",
    "CA-01": "a tier for twelve months from the upgrade: here until a calendar period and its grace end",
    "PP-04": "a refund of an unknown charge: a refund is a document of its own, or an amount on a known invoice",
    **dict.fromkeys(("SE-37", "OD-06"), "redeeming: more than there is is refused, not cut (tests/db/test_redemptions.py)"),
    **dict.fromkeys(("TB-02", "TB-04"), "pending points: points are posted at once"),
}  # fmt: skip


def test_every_case_is_computed_shown_elsewhere_or_said_not_to_be() -> None:
    here = Path(__file__)
    text = "".join(
        path.read_text(encoding="utf-8") for path in (here, here.with_name("test_loyalty_cases.py"))
    )
    noted = NOT_EXPRESSED.keys() | NOT_HERE.keys() | ELSEWHERE.keys()
    computed = {name for name in CASES if re.search(rf'case\("{name}"\)|"{name}"', text)} - noted
    assert noted <= CASES.keys()
    assert computed | noted | set(GRID) == CASES.keys()


def test_refunds_never_take_more_than_was_given() -> None:
    given, expected = case("OL-23")
    program = paying(Fraction(given["points_earned"] * 100, cents(given["sale_total"])))
    refunded = [
        min(sum(map(cents, given["refunds"][:n])), cents(given["sale_total"])) for n in range(3)
    ]
    before, first, second = (
        points(cents(given["sale_total"]), r, program=program) for r in refunded
    )
    assert (before - second, first - second) == (
        expected["total_clawed_back_max"],
        expected["second_refund_clawback"],
    )


def test_rounding_down_and_no_rate() -> None:
    given, expected = case("OD-08")
    assert points(cents(given["value"]), program=paying(1, rounding=given["mode"])) == int(
        expected["points"]
    )
    given, expected = case("SE-17")
    assert points(given["basis_minor"], program=paying(given["per_minor"])) == expected["points"]


def test_a_promotion_multiplies() -> None:
    given, expected = case("SQ-02")
    rule = {
        "kind": "seasonal_multiplier",
        "multiplier_bps": int(Fraction(given["multiplier"]) * 10_000),
    }
    half_more = Promotion.model_validate(
        {"promotion_id": "p", "version": 1, "valid_from": LONG_AGO, "rule": rule}
    )
    row = history(sale(total_minor=given["base_points"] * 100))
    assert award(row, tiers(), [paying(1)], [half_more])["due"].item() == expected["total"]


@pytest.mark.parametrize("name", ["EN-02", "EN-04", "EN-06"])
def test_a_tier_by_what_was_spent(name: str) -> None:
    """There the sale counts for its own tier; here for the next one's."""
    given, expected = case(name)
    named = {"Bronze": "lead", "Silver": "silver", "Gold": "gold"}
    reached = {named[tier]: amount for tier, amount in given["thresholds"].items() if amount}
    policy = TierPolicy(metric="spend", currency="AOA", thresholds=reached)
    amounts = [given["total_spent"], given["current_transaction"], 0]
    rows = [
        sale(external_id=str(n), total_minor=amount, issued_at=NOON + timedelta(hours=n))
        for n, amount in enumerate(amounts)
    ]
    due = award(history(*rows), tiers(), [PROGRAM.model_copy(update={"tier_policy": policy})])
    assert due["tier"].to_list()[-1] == named[expected["tier"]]


def gone(moves: list[tuple[datetime, int]], expiry: Expiry, until: datetime) -> int:
    frame = pl.DataFrame([(1, at, amount) for at, amount in moves], schema=MOVES, orient="row")
    return int(expired(frame, [PROGRAM.model_copy(update={"expiry": expiry})], until)["due"].sum())


def test_expiry_takes_what_is_left_of_each_sale() -> None:
    given, expected = case("SE-21")
    year, earned = Expiry(months=12), [datetime(2026, month, 1, 12, tzinfo=UTC) for month in (1, 2)]
    moves = [(at, amount) for at, (_, amount, _) in zip(earned, given["events"][:2], strict=True)]
    moves.append((earned[1] + timedelta(days=1), -given["events"][2][1]))
    first = gone(moves, year, datetime(2027, 1, 15, tzinfo=UTC))
    assert [first, gone(moves, year, datetime(2027, 3, 1, tzinfo=UTC)) - first] == expected[
        "lots_remaining"
    ]
    given, expected = case("SE-31")
    spent = [(earned[0], given["lot"]), (earned[1], -given["spent"])]
    assert gone(spent, year, datetime(2028, 1, 1, tzinfo=UTC)) == expected["expire"]
    given, expected = case("SE-23")
    lots = [
        (datetime.fromisoformat(f"{end}T12:00+00:00") - timedelta(days=365), n)
        for n, end in given["lots"]
        if end
    ]
    asked = [datetime.fromisoformat(f"{at}T12:00+00:00") for at in given["queries"]]
    assert [gone(lots, year, at) for at in asked] == expected["answers"]


def test_expiry_at_the_end_of_the_month() -> None:
    given, expected = case("OL-25")
    on = date.fromisoformat(given["earned_on"])
    frame = pl.DataFrame(
        [(1, datetime(on.year, on.month, on.day, 12, tzinfo=UTC), 100)], schema=MOVES, orient="row"
    )
    month = PROGRAM.model_copy(
        update={"expiry": Expiry(months=0, end_of="month"), "timezone": "UTC"}
    )
    (at,) = expired(frame, [month], datetime(2020, 1, 1, tzinfo=UTC))["expires_at"]
    assert f"{at:%Y-%m-%dT%H:%M} local" == expected["expires_at"]
