"""What promotions give: first the multipliers, one after the other, then what is added.

A sale's value is a fraction; multipliers make the fraction larger, and the points of each are what
the rounded value grows by. So the parts sum to the rounded end of the chain, whatever the order.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from loyalty.earning import counted_amount, rounded
from loyalty.program import Program
from loyalty.promotions.active import Active, numbers
from loyalty.promotions.kinds import ProductBonus, PurchaseBonus
from loyalty.promotions.products import matched
from loyalty.types import BPS

#: A promotion (by number) that could apply to a sale.
CANDIDATE: Final = pl.Schema(
    {
        #: The sale, as in `loyalty.earning.EARNED`.
        "_row": pl.UInt32(),
        #: The promotion, as in `Active`.
        "number": pl.Int32(),
    }
)
#: Wide enough that products of amounts, rates and factors stay exact.
_WIDE: Final = pl.Int128
#: Cumulative factors after each multiplier of a sale, as fractions.
FACTORS: Final = pl.Schema(
    {
        **CANDIDATE,
        #: Numerator and denominator of the multipliers of lines up to this one.
        "line_n": pl.Int128(),
        "line_d": pl.Int128(),
        #: The same of those that multiply whole sales.
        "whole_n": pl.Int128(),
        "whole_d": pl.Int128(),
    }
)
#: What a bonus gives before it is multiplied, as a fraction.
ADDED: Final = pl.Schema({"_row": pl.UInt32(), "add_n": pl.Int128(), "add_d": pl.Int128()})

#: What of a sale `added` reads.
WORTH: Final = (
    "_row",
    "net_minor",
    "gross_minor",
    "whole_minor",
    "left_minor",
    "earn_minor",
    "exponent",
)


def added(active: Active, sales: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """What a bonus gives before it is multiplied (ADDED).

    Only sales to which it gives something have a row.

    `sales` are those that meet the conditions. Products and units count as far as the sale was not
    given back.
    """
    rule = active.promotion.rule
    if isinstance(rule, PurchaseBonus):
        return sales.select(
            "_row", pl.lit(rule.points, _WIDE).alias("add_n"), pl.lit(1, _WIDE).alias("add_d")
        )
    assert isinstance(rule, ProductBonus)
    wide = {name: pl.col(name).cast(_WIDE) for name in WORTH if name.endswith("_minor")}
    # The share that is left is that of the total (without the products that came back): the amount
    # without tax is rounded after a refund, and half of a sale is half.
    left, total = wide["left_minor"], pl.max_horizontal(wide["whole_minor"], pl.lit(1, _WIDE))
    if rule.points_per_unit is not None:
        numerator, denominator = (
            pl.col("matched_micro").cast(_WIDE) * rule.points_per_unit * left,
            total * 1_000_000,
        )
    else:
        converted = wide["earn_minor"] != wide["net_minor"]
        kept = pl.when(converted).then(wide["earn_minor"]).otherwise(left)
        whole = (
            pl.when(converted)
            .then(pl.max_horizontal(wide["gross_minor"], pl.lit(1, _WIDE)))
            .otherwise(total)
        )
        numerator = pl.col("matched_minor").cast(_WIDE) * (rule.percent_bps or 0) * kept
        denominator = whole * pl.lit(10, _WIDE).pow(pl.col("exponent")).cast(_WIDE) * BPS
    sold = sales.join(matched(counted, active), on="_row")
    return sold.select("_row", numerator.alias("add_n"), denominator.alias("add_d")).filter(
        pl.col("add_n") > 0
    )


def factors(
    candidates: pl.DataFrame,
    promotions: Sequence[Active],
    counted: pl.DataFrame,
    totals: pl.DataFrame,
    over: Sequence[str] = ("_row",),
) -> pl.DataFrame:
    """The cumulative factor of the multipliers of each sale: FACTORS.

    There is a row for each candidate that multiplies.

    Args:
        candidates: CANDIDATE in the order of application within each sale.
        promotions: The promotions in question.
        counted: What each sale consists of, for multipliers of lines.
        totals: What its lines are shares of.
        over: What makes a chain; with the number in it every candidate is a chain of its own.
    """
    scaled = [(active, active.factor) for active in promotions if active.factor]
    if not scaled or candidates.is_empty():
        return pl.DataFrame(schema=FACTORS)
    table = numbers(
        [active for active, _ in scaled],
        {
            "fn": (pl.Int64(), [factor[0] for _, factor in scaled]),
            "fd": (pl.Int64(), [factor[1] for _, factor in scaled]),
            "by_line": (pl.Boolean(), [active.by_line for active, _ in scaled]),
        },
    )
    rows = candidates.join(table, on="number", maintain_order="left").with_columns(
        pl.col("fn", "fd").cast(_WIDE)
    )
    rows = _with_whole_factors(rows, over)
    by_line = _line_factors(rows.filter("by_line"), promotions, counted, totals, over)
    rows = rows.join(by_line, on=["_row", "number"], how="left", maintain_order="left")
    reached = [
        pl.col(name) if "number" in over else pl.col(name).forward_fill().over(over)
        for name in ("line_n", "line_d")
    ]
    part = [column.fill_null(1) for column in reached]
    return rows.with_columns(part).select(FACTORS.names())


def _with_whole_factors(rows: pl.DataFrame, over: Sequence[str]) -> pl.DataFrame:
    """Adds whole_n and whole_d, the cumulative factor of the multipliers of whole sales."""
    whole = ~pl.col("by_line")
    factors_of_rows = {
        name: pl.when(whole).then(factor).otherwise(pl.lit(1, _WIDE))
        for name, factor in (("whole_n", "fn"), ("whole_d", "fd"))
    }
    if "number" in over:  # each is a chain of its own
        return rows.with_columns(**factors_of_rows)
    # Most sales have one multiplier: products over groups are formed for the others only.
    row = pl.col("_row")
    alone = row.ne_missing(row.shift(1)) & row.ne_missing(row.shift(-1))
    rows = rows.with_columns(alone.alias("alone"))
    chained = rows.filter(~pl.col("alone")).with_columns(
        factor.cum_prod().over(over).alias(name) for name, factor in factors_of_rows.items()
    )
    single = rows.filter("alone").with_columns(**factors_of_rows)
    return pl.concat([single, chained]).sort(CANDIDATE.names())


def _line_factors(
    rows: pl.DataFrame,
    promotions: Sequence[Active],
    counted: pl.DataFrame,
    totals: pl.DataFrame,
    over: Sequence[str],
) -> pl.DataFrame:
    """Cumulative factor of the multipliers of lines: `_row`, number, line_n, line_d.

    Of the sale's whole T, each product a_i is worth a_i times the factors of the promotions it
    belongs to, and what is on no line stays as it is.
    """
    empty = pl.DataFrame(schema={**CANDIDATE, "line_n": _WIDE, "line_d": _WIDE})
    if rows.is_empty():
        return empty
    flags = pl.coalesce(
        *(
            pl.when(pl.col("number") == active.number).then(pl.col(f"m{active.number}"))
            for active in promotions
            if active.by_line
        )
    )
    each = rows.select("_row", "number", "fn", "fd").join(counted, on="_row", maintain_order="left")
    each = each.with_columns(
        pl.when(flags).then("fn").otherwise("fd").cum_prod().over(*over, "product").alias("weight"),
        pl.col("fd").cum_prod().over(*over, "product").alias("scale"),
        pl.col("amount_minor").cast(_WIDE).alias("amount"),
    )
    per_sale = each.group_by("_row", "number").agg(
        (pl.col("amount") * pl.col("weight")).sum().alias("weighted"),
        pl.col("amount").sum().alias("listed"),
        pl.col("scale").first(),
    )
    whole = pl.col("lines_minor").cast(_WIDE)
    return per_sale.join(totals.select("_row", "lines_minor"), on="_row").select(
        "_row", "number",
        (pl.col("weighted") + (whole - pl.col("listed")) * pl.col("scale")).alias("line_n"),
        (whole * pl.col("scale")).alias("line_d"),
    )  # fmt: skip


def value(programs: Sequence[Program]) -> pl.Expr:
    """Points of a sale with its multipliers (FACTORS), rounded.

    It needs earn_minor, base_rate_bps, per_full_minor, tier_rate_bps, exponent.
    """
    amount_n, amount_d = counted_amount(programs, pl.col("line_n"), pl.col("line_d"))
    rates = pl.col("base_rate_bps").cast(_WIDE) * pl.col("tier_rate_bps").cast(_WIDE)
    return rounded(
        programs,
        amount_n * rates * pl.col("whole_n"),
        amount_d * BPS * BPS * pl.col("whole_d"),
    )


def bonus(programs: Sequence[Program], n: str = "whole_n", d: str = "whole_d") -> pl.Expr:
    """Points of a bonus (add_n, add_d); where `multiplied`, times the tier and n/d. Rounded."""
    by_tier, unit = pl.col("tier_rate_bps").cast(_WIDE), pl.lit(1, _WIDE)
    times_n = pl.when(pl.col("multiplied")).then(by_tier * pl.col(n)).otherwise(unit)
    times_d = pl.when(pl.col("multiplied")).then(pl.lit(BPS, _WIDE) * pl.col(d)).otherwise(unit)
    return rounded(programs, pl.col("add_n") * times_n, pl.col("add_d") * times_d)
