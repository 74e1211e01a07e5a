"""From what is due and what is posted to the entries that make them equal."""

from typing import Final

import polars as pl

_KEY: Final = ["system", "account", "external_id", "member_id"]


def difference(due: pl.DataFrame, posted: pl.DataFrame) -> pl.DataFrame:
    """The entries to append so that posted equals due; a difference of 0 gives none.

    Args:
        due: Output of `loyalty.award.award`, for some members (all their invoices).
        posted: The last entry of every chain of the same members: the key, entry_no, due_after,
            currency, tier, program_version, event_at, net_minor. A chain whose invoice is no longer
            the member's is due 0.

    Returns:
        One row per entry, sorted by key: the key, entry_no, due_before, due_after, points, reason,
        breakdown, net_minor, currency, tier, program_version, event_at, page_id, record_no. A null
        `due_after` could not be computed.
    """
    last = posted.select(
        *_KEY,
        "entry_no",
        pl.col("due_after").alias("due_before"),
        pl.col("currency", "tier", "program_version", "event_at", "net_minor").name.prefix("last_"),
    )
    both = due.with_columns(pl.lit(value=True).alias("_owned")).join(
        last, on=_KEY, how="full", coalesce=True
    )
    owned = pl.col("_owned").is_not_null()
    facts = both.select(
        *_KEY,
        (pl.col("entry_no").fill_null(0) + 1).cast(pl.Int32).alias("entry_no"),
        pl.col("due_before").fill_null(0),
        pl.when(owned).then("due").otherwise(pl.lit(0)).alias("due_after"),
        _reason(owned).alias("reason"),
        pl.when(owned).then("breakdown").otherwise(pl.lit('{"base":0}')).alias("breakdown"),
        pl.when(owned).then("net_minor").otherwise(pl.lit(0)).alias("net_minor"),
        pl.coalesce("currency", "last_currency").alias("currency"),
        pl.coalesce("tier", "last_tier").alias("tier"),
        pl.coalesce("program_version", "last_program_version").alias("program_version"),
        pl.coalesce("issued_at", "last_event_at").alias("event_at"),
        "page_id",
        "record_no",
    )
    return (
        facts.with_columns((pl.col("due_after") - pl.col("due_before")).alias("points"))
        .filter(pl.col("points").is_null() | (pl.col("points") != 0))
        .sort("external_id", "member_id", "account", "system")
    )


def _reason(owned: pl.Expr) -> pl.Expr:
    return (
        # Points for a sale without an amount: a referrer's share of somebody else's sale, who never
        # had it.
        pl.when(~owned & (pl.col("last_net_minor") == 0))
        .then(pl.lit("referral"))
        .when(~owned)
        .then(pl.lit("moved"))
        .when(pl.col("entry_no").is_null())
        .then(pl.lit("award"))
        .when(pl.col("status") == "void")
        .then(pl.lit("void"))
        .when(pl.col("amount_refunded_minor") > 0)
        .then(pl.lit("refund"))
        .otherwise(pl.lit("edit"))
    )
