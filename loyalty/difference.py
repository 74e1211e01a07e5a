"""From what is due and what is posted to the entries that make them equal."""

from typing import Final

import polars as pl

from loyalty.schema import UTC_US

_KEY: Final = ["system", "account", "external_id", "member_id"]
#: The last entry of every chain of the ledger, as `sql.ledger.posted` reads it.
POSTED: Final = pl.Schema(
    {
        #: The sale, and the member: the key of a chain.
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        #: How many entries the chain has.
        "entry_no": pl.Int32(),
        #: Points posted by all of them.
        "due_after": pl.Int64(),
        #: As they were with the last entry.
        "currency": pl.String(),
        "tier": pl.String(),
        "program_version": pl.Int32(),
        #: The sale's own instant then.
        "event_at": UTC_US,
        #: The amount that earned then.
        "net_minor": pl.Int64(),
    }
)
#: An entry to append to the ledger.
ENTRY: Final = pl.Schema(
    {
        #: The sale, and the member: the key of a chain.
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        #: Its place in the chain, from 1.
        "entry_no": pl.Int32(),
        #: Points posted before.
        "due_before": pl.Int64(),
        #: Points due now; null: they cannot be computed.
        "due_after": pl.Int64(),
        #: Why: `award`, `edit`, `refund`, `void`, `moved` (to another member), `referral` or
        #: `duplicate` (another system's document of the same sale counts).
        "reason": pl.String(),
        #: JSON, points per rule.
        "breakdown": pl.String(),
        #: The amount that earns; 0 where the sale is not the member's any more.
        "net_minor": pl.Int64(),
        "currency": pl.String(),
        #: The tier, and the version of the program, that it was computed by.
        "tier": pl.String(),
        "program_version": pl.Int32(),
        #: The sale's own instant.
        "event_at": UTC_US,
        #: The raw record that the sale was read from; null where it is not the member's any more.
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        #: `due_after` less `due_before`; null where that is.
        "points": pl.Int64(),
    }
)


def difference(due: pl.DataFrame, posted: pl.DataFrame) -> pl.DataFrame:
    """The entries to append so that posted equals due; a difference of 0 gives none.

    Args:
        due: Output of `loyalty.award.award`, for some members (all their invoices).
        posted: POSTED of the same members. A chain whose invoice is no longer the member's is due
            0.

    Returns:
        ENTRY, sorted by key.
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
        .when(pl.col("counted_at").is_not_null())
        .then(pl.lit("duplicate"))
        .when(pl.col("status") == "void")
        .then(pl.lit("void"))
        .when(_given_back())
        .then(pl.lit("refund"))
        .otherwise(pl.lit("edit"))
    )


def _given_back() -> pl.Expr:
    """Whether less of the sale counts than before, because some of it was given back.

    The billing system says so at the sale, or credit documents do. Of a sale that was given back in
    part a later correction of its tier is none.
    """
    back = pl.col("amount_refunded_minor").fill_null(0) + pl.col("credited_minor").fill_null(0)
    less = (pl.col("net_minor").abs() < pl.col("last_net_minor").abs()).fill_null(value=True)
    return (back > 0) & less
