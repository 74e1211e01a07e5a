"""Sales of members who withdrew their consent: they earn nothing, and take nothing back."""

from typing import Final

import polars as pl

from loyalty.inputs import SALE, SETTLED
from loyalty.schema import UTC_US

#: When members took no part, as `loyalty.withdrawn_span` of the database says it.
WITHDRAWN: Final = pl.Schema(
    {
        #: The member who earns.
        "member_id": pl.Int64(),
        #: Sales from this instant on...
        "withdrawn_from": UTC_US,
        #: ...until before this one; null: still.
        "withdrawn_until": UTC_US,
    }
)


def settled_without_consent(history: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """SETTLED of the documents of HISTORY that fall into a span of WITHDRAWN: all of each.

    A refund of an earlier sale that the billing system enters at that sale still counts, because
    the sale's own date decides.
    """
    if withdrawn.is_empty():
        return SETTLED.to_frame()
    issued = pl.col("issued_at")
    inside = (issued >= pl.col("withdrawn_from")) & (
        pl.col("withdrawn_until").is_null() | (issued < pl.col("withdrawn_until"))
    )
    return (
        history.join(withdrawn, on="member_id")
        .filter(inside)
        .unique(SALE)
        .select(
            *SALE,
            pl.col("total_minor").alias("settled_minor"),
            pl.lit(None, pl.String).alias("counted_at"),
        )
        .cast(SETTLED)
    )
