"""Days and instants: where a sale stands among others if it tells its day only.

Accounting systems date a document by the day. Such a sale has `time_known` false, and `issued_at`
is the beginning of its day. What was in force at any moment of that day counts for it. Within the
day the document's number decides, as a number: 9 comes before 10.
"""

from typing import Final

import polars as pl

#: How long a day lasts for a sale that tells no time.
DAY: Final = pl.duration(days=1)
_TICK: Final = pl.duration(microseconds=1)
#: Numbers of more digits are compared by their last ones, so that the sale stays in its day.
_DIGITS: Final = 10


def day_only() -> pl.Expr:
    """Whether the sale tells its day only; a sale that does not say counts as an instant."""
    return (~pl.col("time_known")).fill_null(value=False)


def in_its_day() -> pl.Expr:
    """An instant in the day of the sale.

    A day is that of the account. Its middle lies in the same day of most other time zones.
    """
    issued = pl.col("issued_at")
    return pl.when(day_only()).then(issued + pl.duration(hours=12)).otherwise(issued)


def with_order(history: pl.DataFrame) -> pl.DataFrame:
    """Adds `ordered_at`, by which sales are ordered, and `latest_at`, when it was at the latest.

    Both are `issued_at` where the time is known. Else `ordered_at` is the beginning of the day and
    the document's number in microseconds, and `latest_at` is the end of the day.
    """
    issued = pl.col("issued_at")
    if not history["time_known"].eq(other=False).any():
        return history.with_columns(issued.alias("ordered_at"), issued.alias("latest_at"))
    number = pl.coalesce(
        pl.col("invoice_number").str.extract(r"(\d+)\D*$", 1),
        pl.col("external_id").str.extract(r"^(\d+)$", 1),
        pl.lit("0"),
    )
    place = pl.duration(microseconds=number.str.slice(-_DIGITS).cast(pl.Int64))
    unit = pl.Datetime("us", "UTC")
    return history.with_columns(
        pl.when(day_only()).then(issued + place).otherwise(issued).cast(unit).alias("ordered_at"),
        pl.when(day_only()).then(issued + DAY - _TICK).otherwise(issued).cast(unit)
        .alias("latest_at"),
    )  # fmt: skip
