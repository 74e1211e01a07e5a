"""Amounts of documents that take points back: credit notes, refunds, and what a sale gave back.

They get the sign that our rules expect, and rounding differences are cut off. Systems write a
credit note as 500 or as -500, and a refund may round its tax a cent above the sale. If such a
record were refused, the customer would keep the points of the sale.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from connectors.kit.mapping.columns import EXPONENT
from connectors.kit.mapping.of_lines import agreed
from connectors.kit.spec.fields import Field
from loyalty.schema import NEGATIVE_KINDS, PROBLEM

#: By how much the amount given back may be above the total: one unit of the currency, or this share
#: of the total, whichever is more.
TOLERANCE_PERCENT: Final = 1
_REFUNDED: Final = "amount_refunded_minor"
_TAKES: Final = pl.col("kind").is_in(NEGATIVE_KINDS).fill_null(value=False)
_NO_SIGN: Final = ("total_minor", "subtotal_minor", "amount_paid_minor")


def without_sign(fields: Mapping[str, Field], invoices: pl.DataFrame) -> pl.DataFrame:
    """The amounts of credits as positive ones, also the amount that a sale gave back.

    This comes before other amounts are computed from them. A document whose total is negative is
    turned as a whole. What is negative then is a mixture of both spellings, and counts by its size,
    except where a field has a sign of its own (`Field.signed`).
    """
    money = [
        name for name, field in fields.items() if field.kind == "money" and name in invoices.columns
    ]
    if not _any_below_zero(invoices, money):
        return invoices
    turned = _TAKES & (pl.col("total_minor") < 0).fill_null(value=False)
    columns = []
    for name in money:
        amount = pl.when(turned).then(-pl.col(name)).otherwise(pl.col(name))
        if not fields[name].signed:
            loses = pl.lit(value=True) if name == _REFUNDED else _TAKES
            amount = pl.when(loses).then(amount.abs()).otherwise(amount)
        columns.append(amount.alias(name))
    return invoices.with_columns(columns)


def lines_without_sign(lines: pl.DataFrame, invoices: pl.DataFrame) -> pl.DataFrame:
    """The lines of credits, with signs so that they add up to a positive total.

    Where the sizes of a document's lines add up to its total, all of them are positive. Otherwise
    they are turned together, and a line that lowers the credit (a discount) stays negative.

    Args:
        lines: With `row`, the position of their invoice.
        invoices: With kind and total.
    """
    named = [name for name in ("amount_minor", "quantity", "unit_price") if name in lines.columns]
    if not _any_below_zero(lines, named):
        return lines
    facts = {name: invoices[name].gather(lines["row"]) for name in ("kind", "total_minor")}
    frame = lines.with_columns(
        facts["kind"].alias("_kind"), facts["total_minor"].abs().alias("_total")
    )
    amount = pl.col("amount_minor")
    takes = pl.col("_kind").is_in(NEGATIVE_KINDS).fill_null(value=False)
    all_sold = amount.abs().sum().over("row") == pl.col("_total")
    turned = (amount.sum().over("row") < 0) & ~all_sold.fill_null(value=False)
    size = (
        pl.when(~takes)
        .then(amount)
        .when(all_sold.fill_null(value=False))
        .then(amount.abs())
        .otherwise(pl.when(turned).then(-amount).otherwise(amount))
    )
    frame = frame.with_columns(size.alias("amount_minor"))
    is_sold = takes & (pl.col("amount_minor") >= 0).fill_null(value=True)
    sizes = [
        pl.when(is_sold).then(pl.col(name).abs()).otherwise(pl.col(name)).alias(name)
        for name in named
        if name != "amount_minor"
    ]
    return frame.with_columns(sizes).drop("_kind", "_total")


def settled(invoices: pl.DataFrame, source: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Credits without signs, and amounts given back cut to the total where they are a little more.

    Returns the documents, and notes (PROBLEM) on those that were cut.

    Args:
        invoices: Documents, complete but for their keys, with `EXPONENT` and the place of each
            record.
        source: The paths at which the amount given back was read.
    """
    computed = [name for name in _NO_SIGN if name in invoices.columns]
    if _any_below_zero(invoices, [*computed, _REFUNDED]):
        invoices = invoices.with_columns(
            *(
                pl.when(_TAKES).then(pl.col(name).abs()).otherwise(pl.col(name)).alias(name)
                for name in computed
            ),
            pl.col(_REFUNDED).abs(),
        )
    above = pl.col(_REFUNDED) - pl.col("total_minor")
    unit = pl.lit(10, dtype=pl.Int64).pow(pl.col(EXPONENT).cast(pl.Int64))
    tolerance = pl.max_horizontal(unit, pl.col("total_minor") * TOLERANCE_PERCENT // 100)
    capped = ((above > 0) & (pl.col("total_minor") >= 0) & (above <= tolerance)).fill_null(
        value=False
    )
    mask = invoices.select(capped).to_series()
    if not mask.any():
        return invoices, PROBLEM.to_frame()
    notes = invoices.filter(mask).select(
        "page_id",
        "record_no",
        pl.lit(_REFUNDED).alias("field"),
        pl.lit(source).alias("path"),
        pl.lit("a little more is given back than the total: read as all of it").alias("reason"),
        pl.lit(None, dtype=pl.String).alias("example"),
    )
    whole = pl.when(capped).then("total_minor").otherwise(_REFUNDED).alias(_REFUNDED)
    return invoices.with_columns(whole), notes.cast(PROBLEM)


def _any_below_zero(frame: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether any amount is negative.

    Most pages have none, and need nothing of this module.
    """
    columns = [name for name in names if name in frame.columns]
    if not columns or frame.is_empty():
        return False
    return any(frame.select((pl.col(name) < 0).any() for name in columns).row(0))


def with_sale_of_lines(invoices: pl.DataFrame, lines: pl.DataFrame, name: str) -> pl.DataFrame:
    """Gives credits that name no sale themselves the one that their lines name.

    Args:
        invoices: With `kind` and `original_external_id`, in the order of the lines' `row`.
        lines: With `row`, and the id or number of a sale.
        name: The column with it. Where the lines of a credit name several, it has none.
    """
    of_lines = pl.when(_TAKES).then(agreed(invoices, lines, name))
    return invoices.with_columns(
        pl.coalesce("original_external_id", of_lines).alias("original_external_id")
    )
