"""How far a member is from the next tier, and what keeps the one they have.

By the policy in force now (`loyalty.policies.TierPolicy`): from what is bought so far, as if nothing
more were bought or returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl

from loyalty.calendar import TRUNCATE, instant, local
from loyalty.currency import EXPONENTS
from loyalty.policies import TierPolicy
from loyalty.schema import UTC_US


@dataclass(frozen=True)
class KeepTier:
    """What a member must still buy to keep their tier."""

    #: What is missing, as in TierProgress; 0: it is kept.
    missing: Decimal
    #: Bought before this instant, it counts.
    before: datetime
    #: The tier is in force until then at least.
    ends_at: datetime


@dataclass(frozen=True)
class TierProgress:
    """Where a member stands; amounts are points, or whole units of `currency`."""

    #: points or spend.
    metric: str
    #: Of the metric spend; None: points.
    currency: str | None
    #: Sales of so many days count.
    window_days: int
    #: What counts now.
    reached: Decimal
    #: None: there is no higher tier.
    next_tier: str | None
    #: What is missing to it; None: there is no higher tier.
    missing_to_next: Decimal | None
    #: None: nothing ends the tier. It is the lowest one, or the loyalty app has set it.
    keep: KeepTier | None


@dataclass(frozen=True)
class _Sums:
    """What counted when, in order of time."""

    moves: Sequence[tuple[datetime, int]]
    window: timedelta

    def at(self, moment: datetime) -> int:
        """What counts just after an instant."""
        return sum(amount for at, amount in self.moves if moment - self.window < at <= moment)

    def best(self, since: datetime, until: datetime) -> int:
        """The most that counted at any time between two instants."""
        turns = [at for at, _ in self.moves if since < at <= until]
        return max(self.at(moment) for moment in (since, *turns))


def progress(
    frame: pl.DataFrame,
    policy: TierPolicy,
    entry_tier: str,
    zone: str,
    tier: str,
    app_tier: str | None,
    now: datetime,
) -> TierProgress | None:
    """Where a member stands at `now`; None: the policy does not know their tier.

    Args:
        frame: EARNED of the member.
        policy: The policy in force.
        entry_tier: The lowest tier.
        zone: Time zone of the calendar periods.
        tier: The member's tier now.
        app_tier: The tier that the loyalty app has set; None: none.
        now: The instant.
    """
    order = policy.ranked(entry_tier)
    if tier not in order:
        return None
    rank = order.index(tier)
    sums = _Sums(_moves(frame, policy), timedelta(days=policy.window_days))
    reached = sums.at(now)
    above = order[rank + 1] if rank + 1 < len(order) else None
    held_by_app = app_tier is not None and app_tier in order and order.index(app_tier) >= rank
    return TierProgress(
        metric=policy.metric, currency=policy.currency, window_days=policy.window_days,
        reached=counted(reached, policy), next_tier=above,
        missing_to_next=None
        if above is None
        else counted(max(0, policy.thresholds[above] - reached), policy),
        keep=None if rank == 0 or held_by_app
        else _keep(sums, policy, policy.thresholds[tier], zone, now),
    )  # fmt: skip


def _keep(sums: _Sums, policy: TierPolicy, threshold: int, zone: str, now: datetime) -> KeepTier:
    begun, next_begins = _periods(policy, zone, now)
    grace = timedelta(days=policy.grace_days)
    if now < begun + grace:  # the period before this one is reviewed when its grace is over
        best, before, ends_at = sums.best(begun, now), begun + grace, begun + grace
    else:
        best, before, ends_at = sums.at(next_begins), next_begins, next_begins + grace
    return KeepTier(counted(max(0, threshold - best), policy), before, ends_at)


def _periods(policy: TierPolicy, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """When the calendar period of an instant began, and when the next one does."""
    size = TRUNCATE[policy.period]
    clock = local(pl.lit(now, UTC_US), zone).dt.truncate(size)
    begun, next_begins = pl.select(
        instant(clock, zone).alias("begun"), instant(clock.dt.offset_by(size), zone).alias("next")
    ).row(0)
    return begun.astimezone(UTC), next_begins.astimezone(UTC)


def counted(amount: int, policy: TierPolicy) -> Decimal:
    """An amount of a policy as people read it: points, or whole units of its currency."""
    if policy.currency is None:
        return Decimal(amount)
    return Decimal(amount).scaleb(-EXPONENTS.get(policy.currency, 2))


def _moves(frame: pl.DataFrame, policy: TierPolicy) -> list[tuple[datetime, int]]:
    """Each sale's place in time and what it counts."""
    amount = (
        pl.col("base")
        if policy.metric == "points"
        else pl.when(pl.col("currency") == policy.currency).then("net_minor")
    )
    counted = frame.select("ordered_at", amount.fill_null(0).alias("amount")).sort("ordered_at")
    return [(at, amount) for at, amount in counted.iter_rows() if amount]
