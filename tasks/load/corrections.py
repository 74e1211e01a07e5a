"""Corrections that take points back are accepted where they can be understood.

The same record would be rejected if it were a new sale.

A void needs nothing but the document's id. A refund that leaves out the phone or the date of its
sale has those of the sale as it is stored. What still cannot be used is a class of reject of its
own (`sql.refused`).
"""

from dataclasses import replace
from typing import Final

import polars as pl

from connectors.kit.mapping import Mapped
from loyalty.schema import NEGATIVE_KINDS, PROBLEM
from sql import refused, store
from sql.db import DbConnection
from sql.sync import AccountKey

_PLACE: Final = ["page_id", "record_no"]
#: Fields that a correction may leave out where the sale is stored: they are taken from there.
_KNOWN_OF_THE_SALE: Final = ("customer_phone", "customer_external_id", "issued_at", "updated_at")
_TAKEN: Final = "the phone or the date is missing: taken from the sale as it is stored"
_VOID: Final = "a cancelled document that is not complete: its id was enough"
#: Documents that earn nothing any more.
VOIDED: Final = pl.Schema(
    {
        #: The document.
        "external_id": pl.String(),
        #: From when on; null: not known.
        "deleted_at": pl.Datetime("us", "UTC"),
        #: The record that voids it: its raw page, and its place there.
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
    }
)


def completed(connection: DbConnection, account: AccountKey, mapped: Mapped) -> Mapped:
    """Fills in what refunds, credits and lowered sales leave out, from the stored sale.

    Each one that could be completed loses its problems and gets a note.
    """
    if mapped.problems.is_empty():
        return mapped
    lacking = mapped.problems.group_by(_PLACE).agg(
        pl.col("field").is_in(_KNOWN_OF_THE_SALE).all().alias("_only")
    )
    rows = mapped.invoices.join(lacking.filter("_only"), on=_PLACE, how="semi")
    rows = rows.filter(pl.col("external_id").is_not_null() & pl.col("total_minor").is_not_null())
    if rows.is_empty():
        return mapped
    whole = pl.concat(
        [_of_the_sale(connection, account, rows), _of_the_customer(connection, account, rows)]
    )
    whole = whole.unique(_PLACE, keep="first", maintain_order=True)
    if whole.is_empty():
        return mapped
    notes = whole.select(
        *_PLACE,
        pl.lit("customer_phone").alias("field"),
        pl.lit("").alias("path"),
        pl.lit(_TAKEN).alias("reason"),
        pl.lit(None, dtype=pl.String).alias("example"),
    ).cast(PROBLEM)
    others = mapped.invoices.join(whole, on=_PLACE, how="anti", maintain_order="left")
    return replace(
        mapped,
        invoices=pl.concat([others, whole.select(mapped.invoices.columns)]),
        problems=mapped.problems.join(whole, on=_PLACE, how="anti", maintain_order="left"),
        notes=pl.concat([mapped.notes, notes]),
    )


def _of_the_sale(connection: DbConnection, account: AccountKey, rows: pl.DataFrame) -> pl.DataFrame:
    """Versions of stored sales that lower their amount.

    They must be of the same customer, as far as they name one.
    """
    stored = refused.standing(connection, account, rows["external_id"].to_list())
    if stored.is_empty():
        return rows.clear()
    renamed = stored.rename({name: f"_{name}" for name in stored.columns if name != "external_id"})
    both = rows.join(renamed, on="external_id", how="inner")
    left, before = (
        pl.col(f"{prefix}total_minor") - pl.col(f"{prefix}amount_refunded_minor").fill_null(0)
        for prefix in ("", "_")
    )
    same = (pl.col("currency") == pl.col("_currency")) & pl.col("status").is_in(("open", "paid"))
    whose = pl.col("customer_external_id").is_null() | pl.col("customer_external_id").eq_missing(
        pl.col("_customer_external_id")
    )
    sold = ~pl.any_horizontal(pl.col("kind", "_kind").is_in(NEGATIVE_KINDS))
    taking = both.filter(
        same & whose & sold & (left < before) & pl.col("_customer_phone").is_not_null()
    )
    dateless = pl.col("issued_at").is_null()
    return taking.with_columns(
        # Whether the time is known belongs to the date.
        pl.when(dateless).then("_time_known").otherwise("time_known").alias("time_known"),
        *(pl.coalesce(name, f"_{name}").alias(name) for name in _KNOWN_OF_THE_SALE),
    ).select(rows.columns)


def _of_the_customer(
    connection: DbConnection, account: AccountKey, rows: pl.DataFrame
) -> pl.DataFrame:
    """Credits that lack only a phone, of customers whose sales are all of one member."""
    bare = rows.filter(
        pl.col("kind").is_in(NEGATIVE_KINDS)
        & pl.col("customer_phone").is_null()
        & pl.all_horizontal(
            pl.col("customer_external_id", "issued_at", "updated_at", "status").is_not_null()
        )
    )
    if bare.is_empty():
        return bare
    phones = refused.phones_of_customers(
        connection, account, bare["customer_external_id"].unique().to_list()
    )
    members = pl.DataFrame(
        {"customer_external_id": list(phones), "_phone": list(phones.values())},
        schema={"customer_external_id": pl.String, "_phone": pl.String},
    )
    return (
        bare.join(members, on="customer_external_id", how="inner", maintain_order="left")
        .with_columns(pl.col("_phone").alias("customer_phone"))
        .select(rows.columns)
    )


def void_ones(mapped: Mapped, problems: pl.DataFrame) -> pl.DataFrame:
    """Rejected records that say that their document is void, and name it (VOIDED)."""
    if problems.is_empty():
        return VOIDED.to_frame()
    void = mapped.invoices.filter(
        (pl.col("status") == "void") & pl.col("external_id").is_not_null()
    )
    rejected = void.join(problems, on=_PLACE, how="semi")
    # A record without any time may be an older version: it counts where it stands last.
    last = mapped.invoices.sort(_PLACE).unique("external_id", keep="last").select(_PLACE)
    undated = rejected.filter(pl.col("updated_at").is_null()).join(last, on=_PLACE, how="semi")
    dated = rejected.filter(pl.col("updated_at").is_not_null())
    return pl.concat([dated, undated]).select(
        "external_id", pl.col("updated_at").alias("deleted_at"), "page_id", "record_no"
    )


def take_void_ones(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    voided: pl.DataFrame,
    *,
    into: store.Stored,
) -> pl.DataFrame:
    """Makes void those of the documents that are stored.

    Returns the places (page_id, record_no) of their records, which count as accepted.
    """
    if voided.is_empty():
        return voided.select(_PLACE)
    stored = refused.stored_ids(connection, account, voided["external_id"].unique().to_list())
    taken = voided.filter(pl.col("external_id").is_in(list(stored)))
    store.void_deleted(connection, account, sync_id, taken, into=into)
    refused.note(
        connection, account, sync_id, [(key, _VOID) for key in taken["external_id"].to_list()]
    )
    return taken.select(_PLACE)


def taking(invoices: pl.DataFrame, rejects: pl.DataFrame) -> list[tuple[int, int]]:
    """Places of rejected records that take points back by themselves.

    Credits, and totals below zero.
    """
    takes = pl.col("kind").is_in(NEGATIVE_KINDS) | (pl.col("total_minor") < 0)
    negative = invoices.filter(takes.fill_null(value=False)).join(rejects, on=_PLACE, how="semi")
    return [(int(page), int(record)) for page, record in negative.select(_PLACE).rows()]
