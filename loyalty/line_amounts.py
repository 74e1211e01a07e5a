"""What the products of a document come to after its discounts.

A discount is a line below zero, or a total below the sum of the lines. It is spread over what it
discounts, in whole minor units: over the lines of the same SKU where it names one that the document
sells, over all lines otherwise.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

#: What is known of a document whose lines are read.
DOCUMENT: Final = ("_row", "total_minor", "subtotal_minor")
_WIDE: Final = pl.Int128
#: The order in which whole minor units are divided; it depends on nothing but the document.
_ORDER: Final = ("_row", "sku", "name")


def net_amounts(products: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    """`products` with `amount_minor` after discounts, never below zero.

    Args:
        products: `_row`, sku, name, amount_minor (below zero: a discount), and further columns; one
            row per product of a document.
        documents: DOCUMENT.
    """
    sums = products.group_by("_row").agg(
        (pl.col("amount_minor") < 0).any().alias("lowered"), pl.col("amount_minor").sum().alias("s")
    )
    over = sums.join(documents.select(DOCUMENT), on="_row").filter(
        pl.col("lowered") | (pl.col("s") > pl.col("total_minor"))
    )
    if over.is_empty():
        return products
    kept = products.join(over, on="_row", how="anti")
    changed = products.join(over.select("_row"), on="_row", how="semi").sort(_ORDER)
    discounted = _without_discounts(changed).join(documents.select(DOCUMENT), on="_row")
    listed = pl.col("amount_minor").sum().over("_row")
    # More than the document comes to, tax included: a discount that is on no line.
    whole = (
        pl.when(listed > pl.col("total_minor"))
        .then(pl.coalesce("subtotal_minor", "total_minor"))
        .otherwise(listed)
    )
    scaled = discounted.with_columns(_shares(whole, ("_row",)).alias("amount_minor"))
    return pl.concat([kept, scaled.select(products.columns)])


def _without_discounts(products: pl.DataFrame) -> pl.DataFrame:
    amount = pl.col("amount_minor")
    frame = products.with_columns(
        pl.max_horizontal(amount, 0).alias("amount_minor"),
        pl.max_horizontal(-amount, 0).alias("_discount"),
    )
    own = ("_row", "sku")
    by_sku = _lowered(own).alias("amount_minor")
    # What no line of the SKU carries is for all lines.
    rest = pl.col("_discount").sum().over(own) - amount.sum().over(own)
    open_discount = (
        pl.when(pl.col("sku").is_null())
        .then("_discount")
        .when(pl.int_range(pl.len()).over(own) == 0)
        .then(pl.max_horizontal(rest, 0))
        .otherwise(0)
    )
    frame = frame.with_columns(
        pl.when(pl.col("sku").is_null()).then(amount).otherwise(by_sku).alias("amount_minor"),
        open_discount.alias("_discount"),
    )
    return frame.with_columns(_lowered(("_row",)).alias("amount_minor")).drop("_discount")


def _lowered(over: Sequence[str]) -> pl.Expr:
    """The amounts, lowered together by the discounts of their group."""
    amounts = pl.col("amount_minor").sum().over(over)
    return _shares(pl.max_horizontal(amounts - pl.col("_discount").sum().over(over), 0), over)


def _shares(whole: pl.Expr, over: Sequence[str]) -> pl.Expr:
    """`whole` divided like the amounts of the group; the parts sum to it exactly."""
    amount = pl.col("amount_minor").cast(_WIDE)
    total = pl.max_horizontal(amount.sum().over(over), pl.lit(1, _WIDE))
    reached = amount.cum_sum().over(over)
    wide = whole.cast(_WIDE)
    share = reached * wide // total - (reached - amount) * wide // total
    return share.cast(pl.Int64)
