"""Whether a promotion's conditions hold for a sale: one named expression per condition."""

from collections.abc import Callable, Mapping, Sequence
from datetime import time
from functools import partial

import polars as pl

from loyalty.days import day_only, in_its_day
from loyalty.inputs import ORDER
from loyalty.program import Program
from loyalty.promotions.active import Active
from loyalty.promotions.promotion import Hours, Streak, When
from loyalty.promotions.segments import asked, column_of
from loyalty.schema import NEGATIVE_KINDS

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def conditions(
    active: Active, programs: Sequence[Program], zones: Sequence[str]
) -> dict[str, pl.Expr]:
    """What must hold, by name, over the frame of `loyalty.earning.earned`.

    The order is that in which an explanation should ask.

    The frame needs `first_at` where `first_purchase` is asked (see `with_first`), `zone` where the
    customer's clock is, and the columns of `loyalty.promotions.segments`.
    """
    when = active.promotion.when
    issued = pl.col("issued_at")
    starts = issued >= pl.when(day_only()).then(active.first_day).otherwise(active.start)
    ends = [] if active.end is None else [issued < active.end]
    checks = {
        "worth": (pl.col("earned").is_not_null())
        & (pl.col("net_minor") > 0)
        & ~pl.col("kind").is_in(NEGATIVE_KINDS),
        "validity": pl.all_horizontal(starts, *ends),
    }
    if not active.promotion.enabled:
        checks["enabled"] = pl.lit(value=False)
    for name, column, allowed in (
        ("currency", pl.col("currency"), when.currencies),
        ("system", pl.col("system"), when.systems),
        ("account", pl.concat_str("system", "account", separator="/"), when.accounts),
        ("kind", pl.col("kind"), when.kinds),
        ("tier", pl.col("tier"), when.tiers),
    ):
        if allowed:
            checks[name] = column.is_in(list(allowed))
    if when.minimum_minor:
        least = [
            (pl.col("currency") == code) & (pl.col("net_minor") >= n)
            for code, n in when.minimum_minor.items()
        ]
        checks["minimum"] = pl.any_horizontal(*least)
    checks |= {segment: pl.col(column_of(segment, active)) for segment in asked(active)}
    if when.first_purchase:
        checks["first_purchase"] = pl.struct(ORDER[:-1]) == pl.col("first_at")
    checks |= _by_clock(active, programs, zones, partial(_local, when))
    return checks | _counted(active, programs, zones, checks)


def with_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Adds `first_at`: when and which the member's first sale was that is worth something."""
    worth = (pl.col("net_minor") > 0) & ~pl.col("kind").is_in(NEGATIVE_KINDS)
    key = list(ORDER[:-1])
    bought = frame.filter(worth).select("member_id", *key)
    # Few sales share the first instant, so the wide sort is a small one.
    earliest = bought.group_by("member_id").agg(pl.col("ordered_at").min())
    same = bought.join(earliest, on=["member_id", "ordered_at"], how="semi")
    first = same.sort(key).group_by("member_id").agg(pl.struct(key).first().alias("first_at"))
    return frame.join(first, on="member_id", how="left", maintain_order="left")


def _counted(
    active: Active,
    programs: Sequence[Program],
    zones: Sequence[str],
    checks: Mapping[str, pl.Expr],
) -> dict[str, pl.Expr]:
    """Whose turn it is among the member's sales that meet all of `checks`."""
    when = active.promotion.when
    if not when.counts:
        return {}
    holds = pl.all_horizontal(*checks.values()).fill_null(value=False)
    turn = {}
    if when.nth_purchase is not None:
        turn["nth_purchase"] = _number(holds, "member_id") % when.nth_purchase == 0
    if when.streak is not None:
        of_zone = partial(_period, when.streak)
        period = _by_clock(active, programs, zones, of_zone)["period"]
        turn["streak"] = _completes(when.streak.length, pl.when(holds).then(period))
    return turn


def _number(holds: pl.Expr, *whose: str | pl.Expr) -> pl.Expr:
    """How many sales of `whose` hold up to this one, in the order of the sales."""
    return holds.cast(pl.Int64).cum_sum().over(*whose, order_by=ORDER[:-1])


def _completes(length: int, period: pl.Expr) -> pl.Expr:
    """Whether a sale is the first of its period, and that the last of `length` in a row.

    `period`: numbered without gaps; null: the sale does not count.
    """
    # Periods in a row differ from their rank by the same number.
    run = period - period.rank("dense").over("member_id").cast(pl.Int64)
    place = period - period.min().over("member_id", run) + 1
    return (place % length == 0) & (_number(period.is_not_null(), "member_id", period) == 1)


def _by_clock(
    active: Active,
    programs: Sequence[Program],
    zones: Sequence[str],
    of_zone: Callable[[str], dict[str, pl.Expr]],
) -> dict[str, pl.Expr]:
    """What `of_zone` says, by the clock of the promotion, the program version or the customer."""
    by_customer = active.promotion.when.clock == "customer"

    def local(holds: dict[str, dict[str, pl.Expr]], name: str) -> pl.Expr:
        zone_of_promotion = active.promotion.timezone
        result = (
            holds[zone_of_promotion][name]
            if zone_of_promotion
            else pl.coalesce(
                pl.when(pl.col("program_version") == p.version).then(holds[p.timezone][name])
                for p in programs
            )
        )
        if by_customer:
            result = pl.coalesce(
                *(pl.when(pl.col("zone") == zone).then(holds[zone][name]) for zone in zones), result
            )
        return result

    used = (
        {active.promotion.timezone} if active.promotion.timezone else {p.timezone for p in programs}
    )
    by_zone = {zone: of_zone(zone) for zone in used | (set(zones) if by_customer else set())}
    return {name: local(by_zone, name) for name in next(iter(by_zone.values()))}


def _at(zone: str) -> pl.Expr:
    return in_its_day().dt.convert_time_zone(zone)


def _local(when: When, zone: str) -> dict[str, pl.Expr]:
    at = _at(zone)
    checks: dict[str, pl.Expr] = {}
    if when.dates:
        checks["date"] = at.dt.date().is_in(list(when.dates))
    if when.weekdays:
        checks["weekday"] = at.dt.weekday().is_in([_DAYS.index(day) + 1 for day in when.weekdays])
    if when.hours:
        checks["time_of_day"] = ~day_only()
        checks["hours"] = pl.any_horizontal(*(_within(at.dt.time(), hours) for hours in when.hours))
    return checks


def _period(streak: Streak, zone: str) -> dict[str, pl.Expr]:
    """The calendar week or month of a sale, numbered without gaps."""
    at = _at(zone)
    if streak.months is not None:
        return {"period": at.dt.year().cast(pl.Int64) * 12 + at.dt.month().cast(pl.Int64)}
    # 1970 began on a Thursday.
    return {"period": (at.dt.date().to_physical().cast(pl.Int64) + 3) // 7}


def _within(at: pl.Expr, hours: Hours) -> pl.Expr:
    start, end = at >= pl.lit(hours.start, pl.Time), at < pl.lit(hours.end, pl.Time)
    # 00:00 as an end is the end of the day.
    return (
        (start | end)
        if hours.end <= hours.start and hours.end != time.min
        else (start if hours.end == time.min else start & end)
    )
