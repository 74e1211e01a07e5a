"""Sales, tiers and programs in a few words, and the points they are due computed the slow, obvious way."""

from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import polars as pl

from loyalty.award import HISTORY, TIERS
from loyalty.program import TIER_RATE_BPS, Program

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: The reference's own table: it must not learn from what it checks.
DECIMALS = {"AOA": 2, "USD": 2, "EUR": 2, "JPY": 0, "XAF": 0, "KWD": 3, "TND": 3, "CLF": 4}

PROGRAM = Program(
    version=1,
    base_rate_bps=dict.fromkeys(DECIMALS, 100_000),
    tier_rate_bps=dict(TIER_RATE_BPS),
    entry_tier="lead",
    # What most tests of older rules are about; tests of returns say otherwise.
    unlinked_credits="own_date",
    discount_lines="ignored",
)


def sale(**changes: Any) -> dict[str, Any]:
    """One row of HISTORY: an open invoice of 150.00 AOA by member 1, unless `changes` say otherwise."""
    return {
        "system": "xero", "account": "books", "external_id": "A", "member_id": 1, "kind": "invoice", "status": "open",
        "currency": "AOA", "total_minor": 15_000, "subtotal_minor": None, "amount_refunded_minor": 0,
        "issued_at": NOON, "page_id": 1, "record_no": 0, "account_award_when": None,
    } | changes  # fmt: skip


def history(*rows: dict[str, Any]) -> pl.DataFrame:
    """HISTORY of some sales."""
    return pl.DataFrame(rows, schema=HISTORY, orient="row")


def tiers(*rows: tuple[int, datetime, str]) -> pl.DataFrame:
    """TIERS of (member_id, valid_from, tier)."""
    return pl.DataFrame(rows, schema=TIERS, orient="row")


def rounded(value: Fraction, mode: str) -> int:
    """`value` as a whole number, rounded on the magnitude."""
    magnitude = abs(value)
    whole, rest = divmod(magnitude.numerator, magnitude.denominator)
    part = Fraction(rest, magnitude.denominator)
    up = {"down": False, "half_up": part >= Fraction(1, 2), "up": part > 0}[mode]
    return (whole + up) * (1 if value >= 0 else -1)


def tier_at(
    known: Iterable[tuple[int, datetime, str]], member_id: int, at: datetime, entry: str
) -> str:
    """The tier of a member at an instant, found by looking at every row."""
    found = [(since, tier) for member, since, tier in known if member == member_id and since <= at]
    return max(found)[1] if found else entry


def points_due(row: dict[str, Any], tier: str, program: Program = PROGRAM) -> int | None:
    """What a sale is due; None where the program or the reference does not know the currency or tier."""
    base, factor = program.base_rate_bps.get(row["currency"]), program.tier_rate_bps.get(tier)
    if base is None or factor is None or row["currency"] not in DECIMALS:
        return None
    if row["status"] in ("draft", "void"):
        return 0
    if (
        row["status"] == "open"
        and row.get("account_award_when") == "paid"
        and row["kind"] in ("invoice", "sale")
    ):
        return 0
    total, refunded = row["total_minor"], row["amount_refunded_minor"] or 0
    net = total - refunded
    if program.basis == "subtotal":
        if row["subtotal_minor"] is None:
            return None
        net = rounded(Fraction(row["subtotal_minor"] * net, max(total, 1)), "down")
    sign = -1 if row["kind"] in ("credit_note", "refund") else 1
    units = Fraction(sign * net, 10 ** DECIMALS[row["currency"]])
    return rounded(units * Fraction(base, 10_000) * Fraction(factor, 10_000), program.rounding)
