"""Programs, promotions, currencies and the one rounding: what they refuse and what they promise."""

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loyalty.currency import EXPONENTS, exponents_frame
from loyalty.policies import TierPolicy
from loyalty.program import Program
from loyalty.promotions import Promotion, UnknownPromotionKindError
from loyalty.rounding import Rounding, rounded_ratio
from loyalty.types import spans
from tests.support.ledger import NOON, PROGRAM, rounded

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
        {"base_currency": "CHF"},
        {"award_when": "delivered"},
        {"timezone": "Luanda"},
        {"tier_policy": {"thresholds": {"diamond": 5}}},
        {"tier_policy": {"thresholds": {"lead": 5}}},
        {"expiry": {"months": -1}},
        {"pending": {}},
        {"pending": {"days": 28}, "expiry": {"months": 1}},
        {"pending": {"until_paid": True}, "award_when": "paid"},
    ],
)
def test_a_program_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Program(**(GOOD | change))


def test_a_program_is_frozen() -> None:
    with pytest.raises(ValidationError):
        PROGRAM.version = 2


def promotion(**changes: Any) -> Promotion:
    """A promotion that doubles everything from noon on."""
    good = {
        "promotion_id": "rain",
        "version": 1,
        "valid_from": NOON,
        "rule": {"kind": "seasonal_multiplier", "multiplier_bps": 20_000},
    }
    return Promotion.model_validate(good | changes)


BONUS = {"kind": "product_bonus", "match": {"skus": ["A"]}, "points_per_unit": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 3},
        {"promotion_id": "tier"},
        {"promotion_id": "Rain season"},
        {"valid_to": NOON},
        {"rule": {"kind": "lottery"}},
        {"rule": {"kind": "seasonal_multiplier", "multiplier_bps": 9_999}},
        {"rule": BONUS | {"match": {}}},
        {"rule": BONUS | {"percent_bps": 1}},
        {"rule": BONUS | {"points_per_unit": None}},
        {"rule": BONUS | {"points_per_unit": None, "multiplier_bps": 0}, "limits": {"budget": 5}},
        {"rule": {"kind": "referral_reward", "referrer_points": 5}, "stacking": {"alone": True}},
        {"when": {"hours": [{"start": "08:00", "end": "08:00"}]}},
        {"when": {"accounts": ["xero"]}},
        {"when": {"weekdays": ["someday"]}},
        {"timezone": "Africa/Atlantis"},
        {"timezone": "../etc/passwd"},
    ],
)
def test_a_promotion_refuses(change: dict[str, Any]) -> None:
    promotion()
    with pytest.raises(ValidationError):
        promotion(**change)


def test_a_promotion_survives_its_table() -> None:
    one = promotion(
        rule=BONUS | {"multiplied": True}, when={"hours": [{"start": "22:00", "end": "02:00"}], "minimum_minor": {"AOA": 5}},
        stacking={"group": "g", "priority": 3}, limits={"per_period": {"points": 9, "period": "month"}}, title="Rain",
    )  # fmt: skip
    row = {
        "promotion_id": "rain",
        "version": 1,
        "kind": one.kind,
        "parameters": one.parameters(),
        "valid_from": NOON,
        "valid_to": None,
    }
    assert Promotion.from_row(row) == one
    with pytest.raises(UnknownPromotionKindError, match="lottery"):
        Promotion.from_row(row | {"kind": "lottery"})


def test_the_highest_version_that_has_begun_speaks() -> None:
    day = timedelta(days=1)
    versions = [
        promotion(version=n, valid_from=NOON + at * day)
        for n, at in [(1, 0), (2, 5), (3, 3), (4, 9)]
    ]
    assert [(one.version, start, end) for one, start, end in spans(versions)] == [
        (1, NOON, NOON + 3 * day), (3, NOON + 3 * day, NOON + 9 * day), (4, NOON + 9 * day, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "spend"},
        {"currency": "AOA"},
        {"thresholds": {}},
        {"thresholds": {"silver": 5, "gold": 5}},
        {"period": "month", "grace_days": 28},
        {"window_days": 0},
    ],
)
def test_a_tier_policy_refuses(change: dict[str, Any]) -> None:
    good = {"thresholds": {"silver": 1_000, "gold": 5_000}}
    assert TierPolicy.model_validate(good).ranked("lead") == ["lead", "silver", "gold"]
    with pytest.raises(ValidationError):
        TierPolicy.model_validate(good | change)


def test_currencies_have_between_none_and_four_decimals() -> None:
    assert {len(code) for code in EXPONENTS} == {3}
    assert set(EXPONENTS.values()) == {0, 2, 3, 4}
    assert {code: EXPONENTS[code] for code in ("AOA", "JPY", "XAF", "KWD", "CLF")} == {
        "AOA": 2, "JPY": 0, "XAF": 0, "KWD": 3, "CLF": 4,
    }  # fmt: skip
    assert dict(exponents_frame().rows()) == EXPONENTS


@given(
    st.integers(-(10**30), 10**30),
    st.integers(1, 10**20),
    st.sampled_from(["down", "half_up", "up"]),
)
def test_rounding_agrees_with_fractions(numerator: int, denominator: int, mode: Rounding) -> None:
    frame = pl.DataFrame(
        {"n": [numerator], "d": [denominator]}, schema={"n": pl.Int128, "d": pl.Int128}
    )
    got = frame.select(rounded_ratio(pl.col("n"), pl.col("d"), mode)).item()
    assert got == rounded(Fraction(numerator, denominator), mode)
