"""What is missing to the next tier, and to keep this one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from loyalty.policies import TierPolicy
from loyalty.schema import UTC_US
from loyalty.tier_progress import KeepTier, TierProgress, progress

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
JUNE, JULY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
POLICY = TierPolicy(
    window_days=90, thresholds={"silver": 1_000, "gold": 5_000}, period="month", grace_days=0
)


def stands(
    *bought: tuple[float, int],
    tier: str = "silver",
    app_tier: str | None = None,
    policy: TierPolicy = POLICY,
    now: datetime = NOW,
) -> TierProgress | None:
    """`bought`: how many days ago, and what it counts."""
    schema = {
        "ordered_at": UTC_US, "base": pl.Int64, "net_minor": pl.Int64, "currency": pl.String,
    }  # fmt: skip
    rows = [(now - days * DAY, amount, amount, "AOA") for days, amount in bought]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return progress(frame, policy, "lead", "UTC", tier, app_tier, now)


def test_what_is_missing_to_the_next_tier_and_what_leaves_the_window_first() -> None:
    # June begins in 11.5 days: what is 85 days old counts no more then.
    found = stands((85, 900), (10, 700))
    assert found is not None
    assert (found.reached, found.next_tier, found.missing_to_next) == (1_600, "gold", 3_400)
    assert found.keep == KeepTier(missing=Decimal(300), before=JUNE, ends_at=JUNE)
    found = stands((10, 1_700))
    assert found is not None and found.keep == KeepTier(Decimal(0), JUNE, JUNE)


def test_with_grace_the_tier_ends_later_and_in_the_grace_there_is_still_time() -> None:
    policy = POLICY.model_copy(update={"grace_days": 10})
    found = stands((85, 900), (10, 700), policy=policy)
    assert found is not None and found.keep == KeepTier(Decimal(300), JUNE, JUNE + 10 * DAY)
    # In the grace of May: what was reached since the first of June counts, however briefly.
    now = JUNE + 5 * DAY
    found = stands((95, 5_000), (86, 800), (2, 100), policy=policy, now=now)
    assert found is not None and found.keep == KeepTier(
        Decimal(100), JUNE + 10 * DAY, JUNE + 10 * DAY
    )
    found = stands((93, 700), (4, 400), policy=policy, now=now)  # 1100 until the third of June
    assert found is not None and found.keep == KeepTier(
        Decimal(0), JUNE + 10 * DAY, JUNE + 10 * DAY
    )


@pytest.mark.parametrize(
    ("tier", "app_tier"), [("lead", None), ("silver", "silver"), ("lead", "gold")]
)
def test_nothing_ends_the_lowest_tier_or_one_that_was_set(tier: str, app_tier: str | None) -> None:
    found = stands((10, 100), tier=tier, app_tier=app_tier)
    assert found is not None and found.keep is None


def test_the_highest_tier_has_no_next_one_and_an_unknown_one_has_no_progress() -> None:
    found = stands((10, 6_000), tier="gold")
    assert found is not None and (found.next_tier, found.missing_to_next) == (None, None)
    assert found.keep == KeepTier(Decimal(0), JUNE, JUNE)
    assert stands((10, 6_000), tier="staff") is None


def test_money_counts_in_its_own_currency_only() -> None:
    policy = POLICY.model_copy(update={"metric": "spend", "currency": "EUR"})
    found = stands((10, 6_000), policy=policy)
    assert found is not None and (found.reached, found.currency) == (0, "EUR")
