"""The tier in force at each sale: set by the loyalty app, or evaluated from what the member bought.

Evaluated tiers have a closed form, so they depend on the stored sales alone and not on the order in
which they came to be known:

    level(t)  = the highest tier whose threshold the window (t - window_days, t) reaches
    tier(t)   = the highest level on [E, t], where E is the last end of a period whose grace is over
    at t

Between two reviews the maximum only grows: a tier is reached at once and kept. At a review E moves
on, and what was reached before E no longer holds the tier up. Sales at the instant t itself do not
count: a sale does not lift its own tier.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from loyalty.calendar import period_start
from loyalty.days import day_only
from loyalty.policies import TierPolicy
from loyalty.program import Program, rates_frame

_DAY_US: Final = 86_400_000_000


def tier_set(frame: pl.DataFrame, tiers: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """Adds `tier`: the one the loyalty app had set at the sale's instant, or the entry tier.

    For a sale that tells its day only it is the best one that was in force on that day. `frame` is
    sorted by time.
    """
    app_tiers = tiers.sort("valid_from").rename({"valid_from": "tier_from"})
    at_instant = frame.join_asof(
        app_tiers,
        left_on="issued_at",
        right_on="tier_from",
        by="member_id",
        strategy="backward",
        check_sortedness=False,
    ).with_columns(pl.coalesce("tier", "entry_tier").alias("tier"))
    return _best_of_day(at_instant, app_tiers, programs)


def _best_of_day(
    frame: pl.DataFrame, app_tiers: pl.DataFrame, programs: Sequence[Program]
) -> pl.DataFrame:
    """Sales that tell their day only have the best tier that was set on that day."""
    numbered = frame.with_row_index("_at")
    key = ["_at", "program_version", "tier", "tier_from"]
    days = numbered.filter(day_only())
    later = (
        days.select("_at", "member_id", "program_version", "issued_at", "latest_at")
        .join(app_tiers, on="member_id")
        .filter(pl.col("tier_from").is_between("issued_at", "latest_at", closed="right"))
    )
    if later.is_empty():
        return frame
    rivals = pl.concat([days.join(later, on="_at", how="semi").select(key), later.select(key)])
    ranked = rivals.join(
        rates_frame(programs, "tier_rate_bps", "tier"), on=["program_version", "tier"], how="left"
    )
    # Of two that earn alike the one that was in force first.
    best = ranked.sort(
        "_at",
        "tier_rate_bps",
        "tier_from",
        descending=[False, True, False],
        nulls_last=[False, True, False],
    ).unique("_at", keep="first", maintain_order=True)
    joined = numbered.join(
        best.select("_at", pl.col("tier").alias("_tier"), pl.col("tier_from").alias("_from")),
        on="_at", how="left", maintain_order="left",
    )  # fmt: skip
    changed = pl.col("_tier").is_not_null()
    return joined.with_columns(
        pl.when(changed).then("_tier").otherwise("tier").alias("tier"),
        pl.when(changed).then("_from").otherwise("tier_from").alias("tier_from"),
    ).drop("_at", "_tier", "_from")


def evaluated(frame: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """`frame` with `tier` raised to the evaluated one where the version in force evaluates tiers.

    Keeps the order.

    `frame` needs member_id, ordered_at, program_version, tier, base, net_minor, currency; all sales
    of its members.
    """
    # Within a day the documents' numbers decide which sale was before another.
    numbered = frame.with_row_index("_at").with_columns(pl.col("ordered_at").alias("issued_at"))
    ranks = {p.version: p.tier_policy.ranked(p.entry_tier) for p in programs if p.tier_policy}
    better: list[pl.DataFrame] = []
    for program in programs:
        policy, sales = (
            program.tier_policy,
            numbered.filter(pl.col("program_version") == program.version),
        )
        if policy is None or sales.is_empty():
            continue
        order = ranks[program.version]
        reached = levels(
            numbered, sales.select("_at", "member_id", "issued_at"), policy, program.timezone
        )
        names = pl.DataFrame(
            {"rank": range(len(order)), "name": order}, schema={"rank": pl.Int32, "name": pl.String}
        )
        raised = (
            sales.select("_at", "tier")
            .join(reached, on="_at")
            .join(names.rename({"name": "tier", "rank": "set_rank"}), on="tier", how="left")
            # A tier that the policy does not know stands: nobody can say whether another is higher.
            .with_columns(
                pl.when(pl.col("set_rank").is_null())
                .then(-1)
                .otherwise("rank")
                .cast(pl.Int32)
                .alias("rank")
            )
            .filter(pl.col("rank") > pl.col("set_rank").fill_null(0))
            .join(names, on="rank")
        )
        better.append(raised.select("_at", "name"))
    if not better:
        return frame
    joined = frame.with_row_index("_at").join(
        pl.concat(better), on="_at", how="left", maintain_order="left"
    )
    return joined.with_columns(pl.coalesce("name", "tier").alias("tier")).drop("_at", "name")


def levels(sales: pl.DataFrame, asked: pl.DataFrame, policy: TierPolicy, zone: str) -> pl.DataFrame:
    """The rank of the evaluated tier (0: the entry tier) for each of `asked`: `_at`, `rank`.

    Args:
        sales: member_id, issued_at, base, net_minor, currency.
        asked: _at, member_id, issued_at: the instants.
        policy: What counts, for how long.
        zone: Time zone of the calendar periods.
    """
    sums = _running(sales, policy)
    thresholds = sorted(policy.thresholds.values())
    at = asked.with_columns(_period_end(pl.col("issued_at"), policy, zone).alias("since"))
    after = _window_sum(_turns(sums, policy), sums, policy, inclusive=True)
    peaks = after.select("member_id", "t", _rank(pl.col("sum"), thresholds).alias("rank"))
    # A sale counts for the stretch that reviews it, and once more if it falls into the grace of the
    # period before.
    reviewed = peaks.with_columns(_period_end(pl.col("t"), policy, zone).alias("since"))
    last = reviewed.with_columns(_truncated(pl.col("t"), policy, zone).alias("next"))
    graced = last.filter(pl.col("next") > pl.col("since")).with_columns(
        pl.col("next").alias("since")
    )
    stretch = pl.concat(
        [
            reviewed.select("member_id", "since", "t", "rank"),
            graced.select("member_id", "since", "t", "rank"),
        ]
    )
    best = (
        stretch.sort("t")
        .with_columns(pl.col("rank").cum_max().over("member_id", "since").alias("best"))
        .select("member_id", "since", "t", "best")
    )
    reached = at.sort("issued_at").join_asof(
        best.sort("t"), left_on="issued_at", right_on="t", by=["member_id", "since"],
        strategy="backward",
        allow_exact_matches=False, check_sortedness=False,
    )  # fmt: skip
    start = _window_sum(
        at.select("_at", "member_id", pl.col("since").alias("t")), sums, policy, inclusive=False
    )
    return reached.join(
        start.select("_at", _rank(pl.col("sum"), thresholds).alias("held")), on="_at"
    ).select(
        "_at", pl.max_horizontal(pl.col("best").fill_null(0), "held").cast(pl.Int32).alias("rank")
    )


def _running(sales: pl.DataFrame, policy: TierPolicy) -> pl.DataFrame:
    """Per member and instant, all that counted until then: member_id, issued_at, amount, total.

    That instant is included.
    """
    amount = (
        pl.col("base")
        if policy.metric == "points"
        else pl.when(pl.col("currency") == policy.currency).then("net_minor")
    )
    return (
        sales.group_by("member_id", "issued_at")
        .agg(amount.fill_null(0).sum().alias("amount"))
        .sort("issued_at")
        .with_columns(pl.col("amount").cum_sum().over("member_id").alias("total"))
    )


def _turns(sums: pl.DataFrame, policy: TierPolicy) -> pl.DataFrame:
    """The instants after which a level may be higher than before.

    Those are sales, and the instants at which credits leave the window.
    """
    window = pl.duration(microseconds=policy.window_days * _DAY_US)
    sold = sums.select("member_id", pl.col("issued_at").alias("t"))
    left = sums.filter(pl.col("amount") < 0).select(
        "member_id", (pl.col("issued_at") + window).alias("t")
    )
    return sold if left.is_empty() else pl.concat([sold, left]).unique()


def _window_sum(
    asked: pl.DataFrame, sums: pl.DataFrame, policy: TierPolicy, *, inclusive: bool
) -> pl.DataFrame:
    """What counts at `t`: [t - window, t), or with `inclusive` just after `t`: (t - window, t]."""
    window = policy.window_days * _DAY_US
    sums_at = asked.with_columns((pl.col("t") - pl.duration(microseconds=window)).alias("from"))
    for name, column in (("until", "t"), ("before", "from")):
        sums_at = sums_at.sort(column).join_asof(
            sums.select("member_id", "issued_at", pl.col("total").alias(name)),
            left_on=column, right_on="issued_at", by="member_id", strategy="backward",
            allow_exact_matches=inclusive, check_sortedness=False, coalesce=False,
        ).drop("issued_at")  # fmt: skip
    return sums_at.with_columns(
        (pl.col("until").fill_null(0) - pl.col("before").fill_null(0)).alias("sum")
    )


def _rank(amount: pl.Expr, thresholds: Sequence[int]) -> pl.Expr:
    return pl.sum_horizontal((amount >= threshold).cast(pl.Int32) for threshold in thresholds)


def _period_end(instant: pl.Expr, policy: TierPolicy, zone: str) -> pl.Expr:
    """The last end of a period whose grace is over at `instant`."""
    return _truncated(instant - pl.duration(days=policy.grace_days), policy, zone)


def _truncated(instant: pl.Expr, policy: TierPolicy, zone: str) -> pl.Expr:
    """The beginning of the calendar period that `instant` is in."""
    return period_start(instant, policy.period, zone)
