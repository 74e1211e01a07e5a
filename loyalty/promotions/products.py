"""Which lines of a sale a product bonus means, and how much of the sale they are."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from loyalty.line_amounts import net_amounts
from loyalty.program import Program
from loyalty.promotions.active import Active
from loyalty.promotions.kinds import Match, ProductBonus
from loyalty.returns import Returns

#: What the lines of a sale are shares of.
TOTALS: Final = pl.Schema(
    {
        #: The sale.
        "_row": pl.UInt32(),
        #: The sum of its lines, or the sale without tax where that is more; at least 1. Without
        #: what came back.
        "lines_minor": pl.Int64(),
        #: All units sold, in millionths.
        "lines_micro": pl.Int64(),
    }
)
#: How much of a sale a product bonus means.
MATCHED: Final = pl.Schema(
    {
        #: The sale.
        "_row": pl.UInt32(),
        #: The amount of its matching lines, in minor units.
        "matched_minor": pl.Int64(),
        #: Their units, in millionths.
        "matched_micro": pl.Int64(),
    }
)


def needs_lines(promotions: Sequence[Active]) -> bool:
    """Whether any of the promotions looks at lines."""
    return any(
        isinstance(active.promotion.rule, ProductBonus) or active.promotion.when.bought_before
        for active in promotions
    )


def sold(
    frame: pl.DataFrame,
    lines: pl.DataFrame,
    promotions: Sequence[Active],
    programs: Sequence[Program],
    returns: Returns,
) -> pl.DataFrame:
    """What each sale consists of.

    Columns: `_row`, product, amount_minor, quantity_micro, returned_minor, `m<number>`,
    `b<number>`. The amounts are without what came back; `returned_minor` is what that was.
    `m<number>` says whether it is a product of the promotion with that number, `b<number>` whether
    it is one that must have been bought before.

    The lines of one product (same SKU and name) are one: an item given back on the same receipt was
    not bought. A product below zero is a discount and no product itself. It lowers the products
    that it discounts (`loyalty.line_amounts`), or, where the program says `ignored`, none of them.
    """
    whose = frame.filter(pl.col("net_minor") > 0).select(
        "_row", "page_id", "record_no", "program_version"
    )
    spreads = [p.version for p in programs if p.discount_lines == "spread"]
    spreading = frame.filter(pl.col("program_version").is_in(spreads))
    counted = lines.join(whose, on=["page_id", "record_no"])
    text = ["sku", "name", "program_version"]
    # Texts are compared once: products are few, and have numbers from here on.
    counted = counted.with_columns(pl.col("sku", "name").cast(pl.Categorical))
    products = counted.select(text).unique(maintain_order=True).with_row_index("product")
    listed = products.with_columns(pl.col("sku", "name").cast(pl.String))
    flags = listed.select(
        "product",
        *(
            matching(match, programs).alias(name)
            for active in promotions
            for name, match in _matches(active)
        ),
    )
    amounts = [
        pl.col("amount_minor").fill_null(0).sum(),
        pl.col("quantity_micro").fill_null(0).sum().clip(lower_bound=0),
    ]
    sums = (
        counted.join(products.select(*text, "product"), on=text, nulls_equal=True)
        .group_by("_row", "product")
        .agg(amounts)
    )
    named = sums.join(listed.select("product", "sku", "name"), on="product")
    net = net_amounts(named, spreading).with_columns(pl.col("amount_minor").clip(lower_bound=0))
    return _without_returned(net, returns).drop("sku", "name").join(flags, on="product")


def _without_returned(products: pl.DataFrame, returns: Returns) -> pl.DataFrame:
    """Products without what came back, and `returned_minor`: how much that was."""
    if returns.products.is_empty():
        return products.with_columns(pl.lit(0, pl.Int64).alias("returned_minor"))
    joined = products.join(
        returns.products.rename({"returned_minor": "_back"}),
        on=["_row", "sku", "name"], how="left", nulls_equal=True,
    )  # fmt: skip
    amount, wide = pl.col("amount_minor"), pl.Int128
    # Where discounts are ignored, the listed amount is more than what was sold; it goes in
    # proportion.
    returned = (
        amount.cast(wide) * pl.col("_back").fill_null(0).cast(wide)
        // pl.max_horizontal(pl.col("sold_minor"), pl.lit(1)).cast(wide)
    ).cast(pl.Int64)  # fmt: skip
    return joined.with_columns(
        (amount - returned.fill_null(0)).alias("amount_minor"),
        returned.fill_null(0).alias("returned_minor"),
        (pl.col("quantity_micro") - pl.col("returned_micro").fill_null(0)).alias("quantity_micro"),
    ).drop("_back", "sold_minor", "returned_micro")


def _matches(active: Active) -> Iterator[tuple[str, Match]]:
    """The products that a promotion asks for, by the column that says which they are."""
    rule, before = active.promotion.rule, active.promotion.when.bought_before
    if isinstance(rule, ProductBonus):
        yield f"m{active.number}", rule.match
    if before is not None:
        yield f"b{active.number}", before


def matching(match: Match, programs: Sequence[Program]) -> pl.Expr:
    """Whether a line (sku, name, program_version) is one of these products."""
    sku, name = pl.col("sku").fill_null(""), pl.col("name").fill_null("")
    any_of = [pl.lit(value=False)]
    if match.skus:
        any_of.append(sku.is_in(list(match.skus)))
    if match.sku_patterns:
        any_of.append(sku.str.contains(pattern(match.sku_patterns)))
    if match.name_patterns:
        any_of.append(name.str.contains(pattern(match.name_patterns)))
    any_of += [
        (pl.col("program_version") == p.version) & sku.str.contains(listed)
        for p, listed in _listed(match, programs)
    ]
    return pl.any_horizontal(*any_of) & ~sku.is_in(list(match.except_skus))


def _listed(match: Match, programs: Sequence[Program]) -> list[tuple[Program, str]]:
    """Per program version the pattern of the categories asked for."""
    listed = [
        (p, [glob for name in match.categories for glob in p.categories.get(name, ())])
        for p in programs
    ]
    return [(p, pattern(patterns)) for p, patterns in listed if patterns]


def pattern(globs: Sequence[str]) -> str:
    """A regular expression for any of the patterns; case is ignored."""
    parts = [re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in globs]
    return f"(?is)^(?:{'|'.join(parts)})$"


def totals(counted: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Per sale what its lines are shares of (TOTALS).

    What is on no line (delivery, say) is no product, so it is part of the whole.
    """
    sums = counted.group_by("_row").agg(
        pl.col("amount_minor", "returned_minor").sum().name.prefix("sum_"),
        pl.col("quantity_micro").sum().alias("lines_micro"),
    )
    returned = pl.col("sum_returned_minor")
    listed = pl.col("sum_amount_minor") + returned
    whole = pl.coalesce("subtotal_minor", "total_minor")
    return (
        frame.select("_row", whole.alias("whole"))
        .join(sums, on="_row")
        .select(
            "_row",
            pl.max_horizontal(pl.max_horizontal(listed, "whole") - returned, pl.lit(1)).alias(
                "lines_minor"
            ),
            "lines_micro",
        )
    )


def matched(counted: pl.DataFrame, active: Active) -> pl.DataFrame:
    """How much of each sale is on lines that the promotion means (MATCHED).

    Sales without such lines have no row.
    """
    return (
        counted.filter(pl.col(f"m{active.number}"))
        .group_by("_row")
        .agg(
            pl.col("amount_minor").sum().alias("matched_minor"),
            pl.col("quantity_micro").sum().alias("matched_micro"),
        )
    )
