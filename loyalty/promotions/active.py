"""Promotions as the evaluation sees them: numbered, each with the time it is in force."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import gcd, prod

import polars as pl

from loyalty.promotions.kinds import ProductBonus, SeasonalMultiplier
from loyalty.promotions.promotion import Promotion
from loyalty.types import BEGINNING, BPS, spans


@dataclass(frozen=True)
class Active:
    """One version of a promotion, numbered, and when sales may use it."""

    #: Its place in the order of application, from 0; it names the promotion in frames.
    number: int
    #: The version.
    promotion: Promotion
    #: Sales may use it from this instant on...
    start: datetime
    #: ...until before this one; None: for good.
    end: datetime | None
    #: A sale that tells its day only may use it from this beginning of a day on: it comes into
    #: force on that day, and no other version was in force when the day began.
    first_day: datetime

    @property
    def factor(self) -> tuple[int, int] | None:
        """Of a multiplier, as a fraction in lowest terms; None for what adds points."""
        rule = self.promotion.rule
        bps = rule.multiplier_bps if isinstance(rule, SeasonalMultiplier | ProductBonus) else None
        if bps is None:
            return None
        common = gcd(bps, BPS)
        return bps // common, BPS // common

    @property
    def by_line(self) -> bool:
        """Whether it multiplies lines."""
        return isinstance(self.promotion.rule, ProductBonus) and self.factor is not None


def active_versions(promotions: Iterable[Promotion]) -> list[Active]:
    """The versions that are in force at some time, in the order in which they are applied.

    That order is priority, then name, then version.
    """
    by_name: dict[str, list[Promotion]] = {}
    for promotion in promotions:
        by_name.setdefault(promotion.promotion_id, []).append(promotion)
    entries = []
    for versions in by_name.values():
        before: datetime | None = None
        for promotion, start, successor in spans(versions):
            end = _earlier(successor, promotion.valid_to)
            entries.append((promotion, start, end, _first_day(start, before)))
            if end is None or start < end:
                before = end
    entries.sort(key=lambda e: (-e[0].stacking.priority, e[0].promotion_id, e[0].version))
    return [
        Active(number, promotion, start, end, first_day)
        for number, (promotion, start, end, first_day) in enumerate(entries)
        if end is None or start < end
    ]


def _first_day(start: datetime, before: datetime | None) -> datetime:
    """The beginning of the earliest day that reaches `start`, not before the end of `before`."""
    if start <= BEGINNING:
        return start
    earliest = start - timedelta(days=1) + timedelta(microseconds=1)
    return earliest if before is None else max(earliest, min(before, start))


def _earlier(end: datetime | None, other: datetime | None) -> datetime | None:
    """The earlier of two ends, None being no end."""
    return min((at for at in (end, other) if at is not None), default=None)


def between(promotions: Sequence[Active], first: datetime, last: datetime) -> list[Active]:
    """Those that a sale in [first, last] could use."""
    return [
        active
        for active in promotions
        if active.first_day <= last and (active.end is None or first < active.end)
    ]


def largest_product(promotions: Sequence[Active]) -> int:
    """By how much all multipliers that are in force at one time can enlarge a number."""
    factors = [(active, max(active.factor)) for active in promotions if active.factor]
    return max(
        (
            prod(
                n
                for other, n in factors
                if other.start <= active.start and (other.end is None or active.start < other.end)
            )
            for active, _ in factors
        ),
        default=1,
    )


def numbers(
    promotions: Sequence[Active], schema: Mapping[str, tuple[pl.DataType, Sequence[object]]]
) -> pl.DataFrame:
    """One row per promotion: `number` (Int32) and further columns of `schema`."""
    data = {"number": pl.Series([active.number for active in promotions], dtype=pl.Int32())}
    return pl.DataFrame(
        data | {name: pl.Series(values, dtype=dtype) for name, (dtype, values) in schema.items()}
    )
