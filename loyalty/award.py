"""Points due: a pure function of stored history. No I/O, no clock, no floats.

    points = round(net amount x base rate x tier multiplier x multipliers of promotions) + bonuses +
    referrals

One rounding per invoice, at the end of the multiplier chain, on the magnitude. The tier, the
program and the promotions are those in force at the sale's own date, so an edit or refund
re-evaluates the net invoice and the difference to what was posted is the correction.
docs/points-rules.md has the rules with worked numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from loyalty.duplicates import COUNTED_AT
from loyalty.earning import earned
from loyalty.inputs import CLAIMS, DUE, HISTORY, TIERS, Facts
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.promotions.active import Active, numbers
from loyalty.promotions.evaluate import PromotionInputs, parts

__all__ = ["DUE", "HISTORY", "TIERS", "Evaluation", "Facts", "award", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Points due, how they came about, and what promotions with a budget would give."""

    #: HISTORY plus DUE.
    due: pl.DataFrame
    #: PARTS of `loyalty.promotions.evaluate`, with `promotion_id` and `version`; `_row` counts the
    #: rows of the history.
    parts: pl.DataFrame
    #: CLAIMS: what promotions with a budget would give without it.
    claims: pl.DataFrame
    #: What the promotions looked at.
    inputs: PromotionInputs


def award(
    history: pl.DataFrame,
    tiers: pl.DataFrame,
    programs: Sequence[Program],
    promotions: Sequence[Promotion] = (),
    facts: Facts | None = None,
) -> pl.DataFrame:
    """Points due per invoice.

    HISTORY in, HISTORY plus DUE out, in the order of the input; rewards of referrers come after it.

    `breakdown` is JSON, points per rule, summing to `due` exactly. Raises ValueError if there is no
    program.
    """
    return evaluate(history, tiers, programs, promotions, facts).due


def evaluate(
    history: pl.DataFrame,
    tiers: pl.DataFrame,
    programs: Sequence[Program],
    promotions: Sequence[Promotion] = (),
    facts: Facts | None = None,
) -> Evaluation:
    """Like `award`, with everything behind the points."""
    if not programs:
        message = "the loyalty program has no version: nothing can be awarded"
        raise ValueError(message)
    facts = facts or Facts()
    worth = earned(history.with_row_index("_row"), tiers, programs, facts)
    inputs = PromotionInputs.of(worth.frame, promotions, programs, facts, worth.returns)
    frame, shares = inputs.frame, parts(inputs)
    shares = (
        shares
        if facts.members is None
        else shares.filter(pl.col("member_id").is_in(facts.members.implode()))
    )
    sales = (
        frame
        if facts.members is None
        else frame.filter(pl.col("member_id").is_in(facts.members.implode()))
    )
    due = _due(sales.sort("_row"), shares, inputs.promotions, frame, tiers, programs, facts)
    return Evaluation(
        due, _named(shares, inputs.promotions), _claims(shares, frame, inputs.promotions), inputs
    )


def _due(
    sales: pl.DataFrame, shares: pl.DataFrame, promotions: Sequence[Active], frame: pl.DataFrame,
    tiers: pl.DataFrame, programs: Sequence[Program], facts: Facts,
) -> pl.DataFrame:  # fmt: skip
    base = {"base": pl.col("base"), "tier": pl.col("earned") - pl.col("base")}
    elsewhere = None if facts.settled.is_empty() else _counted_at()
    columns = [*HISTORY.names(), *(pl.col(name).cast(dtype) for name, dtype in DUE.items())]
    applied = shares.filter(pl.col("points") != 0)
    if applied.is_empty():
        return sales.with_columns(
            pl.col("earned").alias("due"), _json(base, elsewhere).alias("breakdown")
        ).select(columns)
    extras = _shares(applied, promotions)
    own = (
        "net_minor", "tier", "program_version", "base", "earned", "counted_at", "credited_minor",
    )  # fmt: skip
    kept = [*HISTORY.names(), *own]
    rows = sales.select("_row", *kept).join(
        extras, on=["_row", "member_id"], how="left", maintain_order="left"
    )
    others = extras.join(frame.select("_row", "member_id"), on=["_row", "member_id"], how="anti")
    if not others.is_empty():
        rows = pl.concat(
            [rows, _rewarded(others, frame, tiers, programs, facts).select(rows.columns)]
        )
    due = pl.col("earned") + pl.col("extra").fill_null(0)
    return rows.with_columns(
        due.alias("due"), _json(base, pl.col("json"), elsewhere).alias("breakdown")
    ).select(columns)


def _shares(applied: pl.DataFrame, promotions: Sequence[Active]) -> pl.DataFrame:
    """Per sale and member what the promotions give: `_row`, member_id, extra (points), json.

    `json` has the points of each promotion.
    """
    keys = numbers(
        promotions, {"key": (pl.String(), [active.promotion.key for active in promotions])}
    )
    return (
        applied.join(keys, on="number")
        # By sale, then number: one key sorts several times faster than two.
        .sort(pl.col("_row").cast(pl.Int64) * 2**31 + pl.col("number"))
        .group_by("_row", "member_id", maintain_order=True)
        .agg(
            pl.col("points").sum().alias("extra"),
            pl.format('"{}":{}', "key", "points").str.join(",").alias("json"),
        )
    )


def _rewarded(
    others: pl.DataFrame,
    frame: pl.DataFrame,
    tiers: pl.DataFrame,
    programs: Sequence[Program],
    facts: Facts,
) -> pl.DataFrame:
    """The friends' sales as the referrers' own, worth nothing but the reward."""
    sales = (
        frame.select("_row", *HISTORY.names())
        .drop("member_id")
        .join(others.select("_row", "member_id"), on="_row")
    )
    nothing = [
        pl.lit(0, pl.Int64).alias(name)
        for name in ("total_minor", "subtotal_minor", "amount_refunded_minor")
    ]
    rewarded = sales.with_columns(nothing).select("_row", *HISTORY.names())
    # Their own sales decide their tier at that time.
    referrers = frame.filter(
        pl.col("member_id").is_in(others["member_id"].unique().implode())
    ).select(rewarded.columns)
    worth = earned(pl.concat([referrers, rewarded]), tiers, programs, facts).frame
    return worth.join(others, on=["_row", "member_id"]).sort("_row", "member_id")


def _named(shares: pl.DataFrame, promotions: Sequence[Active]) -> pl.DataFrame:
    ids = [active.promotion.promotion_id for active in promotions]
    versions = [active.promotion.version for active in promotions]
    names = numbers(
        promotions, {"promotion_id": (pl.String(), ids), "version": (pl.Int32(), versions)}
    )
    return shares.join(names, on="number", how="left", maintain_order="left")


def _claims(
    shares: pl.DataFrame, frame: pl.DataFrame, promotions: Sequence[Active]
) -> pl.DataFrame:
    budgeted = [active for active in promotions if active.promotion.limits.budget is not None]
    if not budgeted:
        return pl.DataFrame(schema=CLAIMS)
    wanted = shares.filter(
        pl.col("number").is_in([active.number for active in budgeted]) & (pl.col("wanted") > 0)
    )
    sale = frame.select("_row", "ordered_at", "system", "account", "external_id")
    return _named(wanted, promotions).join(sale, on="_row").select(CLAIMS.names()).cast(CLAIMS)


def _counted_at() -> pl.Expr:
    """The document that counts instead, as a rule of a breakdown, which gives no points here."""
    escaped = pl.col("counted_at").str.replace_all(r"([\\\"])", r"\$1")
    return pl.format(f'"{COUNTED_AT}{{}}":0', escaped)


def _json(parts: dict[str, pl.Expr], *more: pl.Expr | None) -> pl.Expr:
    """`{"base":1500,"tier":300}`: rules that gave nothing are left out, except the base."""
    shown = [
        pl.format('"{}":{}', pl.lit(name), points)
        if name == "base"
        else pl.when(points != 0).then(pl.format('"{}":{}', pl.lit(name), points))
        for name, points in parts.items()
    ]
    shown += [expression for expression in more if expression is not None]
    inner = pl.concat_str(shown, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), inner, pl.lit("}"))
