"""Promotions as the evaluation sees them: numbered, each with the time for which it speaks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import gcd, prod

import polars as pl

from loyalty.promotions.kinds import ProductBonus, SeasonalMultiplier
from loyalty.promotions.promotion import Promotion
from loyalty.types import BPS, spans


@dataclass(frozen=True)
class Active:
    """One version of a promotion, its number, and [start, end) in which sales may use it."""

    number: int
    promotion: Promotion
    start: datetime
    end: datetime | None

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


def active(promotions: Iterable[Promotion]) -> list[Active]:
    """The versions that are in force at some time, in the order in which they are applied.

    That order is priority, then name, then version.
    """
    versions: dict[str, list[Promotion]] = {}
    for one in promotions:
        versions.setdefault(one.promotion_id, []).append(one)
    found = [
        (one, start, min(t for t in (end, one.valid_to) if t) if end or one.valid_to else None)
        for of_one in versions.values()
        for one, start, end in spans(of_one)
    ]
    found.sort(key=lambda f: (-f[0].stacking.priority, f[0].promotion_id, f[0].version))
    return [
        Active(number, *one)
        for number, one in enumerate(found)
        if one[2] is None or one[1] < one[2]
    ]


def between(found: Sequence[Active], first: datetime, last: datetime) -> list[Active]:
    """Those that a sale in [first, last] could use."""
    return [one for one in found if one.start <= last and (one.end is None or first < one.end)]


def largest_product(found: Sequence[Active]) -> int:
    """The largest numbers that multipliers valid at one time can make of a number."""
    factors = [(one, max(one.factor)) for one in found if one.factor]
    return max(
        (
            prod(
                n
                for other, n in factors
                if other.start <= one.start and (other.end is None or one.start < other.end)
            )
            for one, _ in factors
        ),
        default=1,
    )


def numbers(
    found: Sequence[Active], schema: Mapping[str, tuple[pl.DataType, Sequence[object]]]
) -> pl.DataFrame:
    """One row per promotion: `number` (Int32) and further columns of `schema`."""
    data = {"number": pl.Series([one.number for one in found], dtype=pl.Int32())}
    return pl.DataFrame(
        data | {name: pl.Series(values, dtype=dtype) for name, (dtype, values) in schema.items()}
    )
