"""Where a promotion ends: per sale, per member and period, per member, and its budget.

What goes beyond is cut: first by each promotion's own limits, then by those of the program over all
promotions together, then by budgets.

Each limit is used up in the order of the sales (ORDER), so it depends on the stored sales and not
on when they arrived. A version of a promotion counts for itself.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from loyalty.calendar import first_day
from loyalty.inputs import ORDER
from loyalty.policies import MemberLimits, PeriodLimit
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
            _beginning(limits.per_period.period, active.promotion.timezone, programs).alias(
                "period"
            )
        )
        parts = _cut(parts, pl.lit(limits.per_period.points), "member_id", "period").drop("period")
    if limits.per_member is not None:
        parts = _cut(parts, pl.lit(limits.per_member), "member_id")
    return parts


def limited_together(parts: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """`parts` with points cut to the program's limits over all promotions together.

    Promotions that take points do not count. Within a sale the promotions are served in the order
    in which they are applied. A limit counts over all versions of the program that have the same
    one.
    """
    with_limits = {p.version: p.promotion_limits for p in programs if p.promotion_limits}
    for name in MemberLimits.model_fields if with_limits else ():
        limits = {version: getattr(limit, name) for version, limit in with_limits.items()}
        parts = _cut_together(
            parts, {v: limit for v, limit in limits.items() if limit is not None}, name, programs
        )
    return parts


def _cut_together(
    parts: pl.DataFrame,
    limits: Mapping[int, int | PeriodLimit],
    name: str,
    programs: Sequence[Program],
) -> pl.DataFrame:
    """`parts` cut to one kind of limit, per version of the program."""
    is_cut = pl.col("program_version").is_in(list(limits)) & (pl.col("points") > 0)
    cut = [parts.filter(~is_cut)]
    whose = ["member_id", "_row"] if name == "per_sale" else ["member_id"]
    for limit in dict.fromkeys(limits.values()):
        same = [version for version, other in limits.items() if other == limit]
        part = parts.filter(is_cut & pl.col("program_version").is_in(same))
        if isinstance(limit, PeriodLimit):
            part = part.with_columns(_beginning(limit.period, None, programs).alias("period"))
            part = _cut(part, pl.lit(limit.points), *whose, "period").drop("period")
        else:
            part = _cut(part, pl.lit(limit), *whose)
        cut.append(part)
    return pl.concat(cut)


def _cut(parts: pl.DataFrame, limit: pl.Expr, *whose: str) -> pl.DataFrame:
    """`parts` with points in the order of the sales, as far as `limit` goes for each of `whose`."""
    # No part is below zero, so who stays within the limit in all needs no order.
    above = parts.group_by(whose).agg(pl.col("points").sum()).filter(pl.col("points") > limit)
    if above.is_empty():
        return parts
    many = (
        parts.join(above, on=whose, how="semi")
        .sort(*ORDER, "number")
        .with_columns(_within(limit).over(whose))
    )
    return pl.concat([parts.join(above, on=whose, how="anti"), many])


def _within(limit: pl.Expr) -> pl.Expr:
    return (
        pl.col("points")
        .cum_sum()
        .clip(upper_bound=limit)
        .diff()
        .fill_null(pl.min_horizontal(pl.col("points"), limit))
        .alias("points")
    )


def _beginning(period: Period, zone: str | None, programs: Sequence[Program]) -> pl.Expr:
    """The first day of the calendar period of a sale, in `zone` or else in the program's.

    A day, not an instant: a program that changes its time zone within a month does not begin the
    month anew.
    """
    at = pl.col("ordered_at")
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
