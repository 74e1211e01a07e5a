"""Where a promotion ends: per sale, per member and period, per member, and its budget.

What goes beyond is cut.

Each limit is used up in the order of the sales (ORDER), so it depends on the stored sales and not
on when they arrived. A version of a promotion counts for itself.
"""

from collections.abc import Sequence

import polars as pl

from loyalty.calendar import first_day
from loyalty.inputs import ORDER
from loyalty.program import Program
from loyalty.promotions.active import Active
from loyalty.types import Period


def limited(
    parts: pl.DataFrame, promotions: Sequence[Active], programs: Sequence[Program]
) -> pl.DataFrame:
    """`parts` (ORDER, number, points, program_version) with points cut to the members' limits.

    Budgets are left to `granted`.
    """
    with_limits = [active for active in promotions if _personal(active)]
    if not with_limits:
        return parts
    has_limits = pl.col("number").is_in([active.number for active in with_limits])
    cut = [parts.filter(~has_limits)]
    cut += [
        _cut_to_limits(parts.filter(pl.col("number") == active.number), active, programs)
        for active in with_limits
    ]
    return pl.concat(cut)


def _personal(active: Active) -> bool:
    limits = active.promotion.limits
    return (
        limits.per_sale is not None
        or limits.per_member is not None
        or limits.per_period is not None
    )


def _cut_to_limits(
    parts: pl.DataFrame, active: Active, programs: Sequence[Program]
) -> pl.DataFrame:
    limits = active.promotion.limits
    if limits.per_sale is not None:
        parts = parts.with_columns(pl.min_horizontal("points", pl.lit(limits.per_sale)))
    if limits.per_period is not None:
        parts = parts.with_columns(
            _beginning(active, limits.per_period.period, programs).alias("period")
        )
        parts = _cut(parts, limits.per_period.points, "member_id", "period").drop("period")
    if limits.per_member is not None:
        parts = _cut(parts, limits.per_member, "member_id")
    return parts


def _cut(parts: pl.DataFrame, limit: int, *whose: str) -> pl.DataFrame:
    """`parts` with points in the order of the sales, as far as `limit` goes for each of `whose`."""
    # No part is below zero, so who stays within the limit in all needs no order.
    above = parts.group_by(whose).agg(pl.col("points").sum()).filter(pl.col("points") > limit)
    if above.is_empty():
        return parts
    many = (
        parts.join(above, on=whose, how="semi").sort(ORDER).with_columns(_within(limit).over(whose))
    )
    return pl.concat([parts.join(above, on=whose, how="anti"), many])


def _within(limit: int) -> pl.Expr:
    return (
        pl.col("points")
        .cum_sum()
        .clip(upper_bound=limit)
        .diff()
        .fill_null(pl.min_horizontal(pl.col("points"), pl.lit(limit)))
        .alias("points")
    )


def _beginning(active: Active, period: Period, programs: Sequence[Program]) -> pl.Expr:
    """The first day of the calendar period of a sale.

    It is in the promotion's or the program's time zone.

    A day, not an instant: a program that changes its time zone within a month does not begin the
    month anew.
    """
    at, zone = pl.col("ordered_at"), active.promotion.timezone
    if zone:
        return first_day(at, period, zone)
    return pl.coalesce(
        pl.when(pl.col("program_version") == p.version).then(first_day(at, period, p.timezone))
        for p in programs
    )


def allocate(claims: pl.DataFrame, budget: int) -> pl.DataFrame:
    """What a budget leaves of the claims of one version of a promotion.

    Returns `claims` in the order of the sales, with `granted`.
    """
    wanted = pl.col("wanted")
    before = wanted.cum_sum() - wanted
    return claims.sort(ORDER).with_columns(
        pl.min_horizontal(wanted, (pl.lit(budget) - before).clip(lower_bound=0)).alias("granted")
    )


def granted(
    parts: pl.DataFrame, promotions: Sequence[Active], grants: pl.DataFrame | None
) -> pl.DataFrame:
    """`parts` with points cut to what the budgets leave, and `wanted`: what they were before.

    Without `grants` the parts are all there are, and use the budgets up by themselves.
    """
    budgets = {
        active.number: active.promotion.limits.budget
        for active in promotions
        if active.promotion.limits.budget is not None
    }
    parts = parts.with_columns(pl.col("points").alias("wanted"))
    if not budgets:
        return parts
    cut = [parts.filter(~pl.col("number").is_in(list(budgets)))]
    for number, budget in budgets.items():
        claims = parts.filter(pl.col("number") == number)
        if grants is None:
            claims = (
                allocate(claims, budget)
                .with_columns(pl.col("granted").alias("points"))
                .drop("granted")
            )
        else:
            claims = _cut_to_grants(
                claims, promotions[[active.number for active in promotions].index(number)], grants
            )
        cut.append(claims)
    return pl.concat(cut)


def _cut_to_grants(parts: pl.DataFrame, active: Active, grants: pl.DataFrame) -> pl.DataFrame:
    """Points as far as they are granted; a sale that nobody decided on yet has nothing."""
    key = ["system", "account", "external_id", "member_id"]
    decided = grants.filter(
        (pl.col("promotion_id") == active.promotion.promotion_id)
        & (pl.col("version") == active.promotion.version)
    )
    return (
        parts.join(decided.select(*key, "granted"), on=key, how="left", maintain_order="left")
        .with_columns(pl.min_horizontal("points", pl.col("granted").fill_null(0)).alias("points"))
        .drop("granted")
    )
