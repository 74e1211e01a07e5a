"""What the lines of a document say of the whole document."""

import polars as pl


def agreed(invoices: pl.DataFrame, lines: pl.DataFrame, name: str) -> pl.Series:
    """Per document the one value that its lines name; null where they name none, or several.

    Args:
        invoices: In the order of the lines' `row`.
        lines: With `row`, and the value.
        name: The column with it.
    """
    values = lines.select("row", name).drop_nulls().unique()
    values = values.filter(pl.len().over("row") == 1)
    places = invoices.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
    return places.join(values, on="row", how="left", maintain_order="left")[name]
