"""Programs, promotions, currencies and the one rounding: what they refuse and what they promise."""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loyalty.award import award
from loyalty.currency import EXPONENTS, exponents_frame
from loyalty.program import Program
from loyalty.promotions import Promotion, UnknownPromotionKindError, evaluate
from loyalty.rounding import Rounding, rounded_ratio
from tests.support.ledger import NOON, PROGRAM, history, rounded, sale, tiers

GOOD: dict[str, Any] = PROGRAM.model_dump()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0},
        {"rounding": "nearest"},
        {"basis": "profit"},
        {"entry_tier": "diamond"},
        {"base_rate_bps": {"AOA": -1}},
        {"base_rate_bps": {"AOA": 10**9}},
        {"base_rate_bps": {"AOA": 1.5}},
        {"tier_rate_bps": {"lead": -1}},
        {"valid_from": datetime(2026, 1, 1)},  # noqa: DTZ001  a time without zone is what is refused
        {"season": 2},
    ],
)
def test_a_program_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Program(**(GOOD | change))


def test_a_program_is_frozen() -> None:
    with pytest.raises(ValidationError):
        PROGRAM.version = 2


def promotion(**changes: Any) -> Promotion:
    """A promotion of a kind that is planned but not evaluated."""
    good = {"promotion_id": "rain", "version": 1, "kind": "seasonal_multiplier", "parameters": {}, "valid_from": NOON}
    return Promotion(**(good | changes))


def test_a_promotion_that_cannot_be_evaluated_stops_the_award() -> None:
    with pytest.raises(UnknownPromotionKindError, match="seasonal_multiplier"):
        award(history(sale()), tiers(), [PROGRAM], [promotion()])


def test_no_promotions_add_nothing() -> None:
    assert evaluate([]) == {}


def test_a_promotion_refuses_unknown_keys() -> None:
    with pytest.raises(ValidationError):
        promotion(limit=3)


def test_a_kind_of_promotion_joins_the_breakdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "loyalty.promotions.KINDS", {"product_bonus": lambda p: pl.lit(p.parameters["points"], pl.Int64)}
    )
    bonus = promotion(kind="product_bonus", parameters={"points": 50})
    frame = award(
        history(sale(total_minor=24_690)), tiers((1, datetime(2020, 1, 1, tzinfo=UTC), "silver")), [PROGRAM], [bonus]
    )
    assert frame.select("due", "breakdown").row(0) == (3012, '{"base":2469,"tier":493,"rain":50}')


def test_currencies_have_between_none_and_four_decimals() -> None:
    assert {len(code) for code in EXPONENTS} == {3}
    assert set(EXPONENTS.values()) == {0, 2, 3, 4}
    assert {code: EXPONENTS[code] for code in ("AOA", "JPY", "XAF", "KWD", "CLF")} == {
        "AOA": 2, "JPY": 0, "XAF": 0, "KWD": 3, "CLF": 4,
    }  # fmt: skip
    assert dict(exponents_frame().rows()) == EXPONENTS


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**20), st.sampled_from(["down", "half_up", "up"]))
def test_rounding_agrees_with_fractions(numerator: int, denominator: int, mode: Rounding) -> None:
    frame = pl.DataFrame({"n": [numerator], "d": [denominator]}, schema={"n": pl.Int128, "d": pl.Int128})
    got = frame.select(rounded_ratio(pl.col("n"), pl.col("d"), mode)).item()
    assert got == rounded(Fraction(numerator, denominator), mode)
