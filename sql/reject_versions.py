"""Rejected versions of documents beside those that are stored: which of the two is newer.

A webhook may bring an old version of a document after a newer one was read. An old version that can
be used answers no reject of a newer one; an old version that cannot be used is no news.
"""

import json
from collections.abc import Sequence
from typing import Final

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query
from sql.stored_versions import STORED_VERSION, newer_than_stored, stored_versions
from sql.sync import AccountKey
from sql.versions import readings

#: An open reject of a document.
_OPEN: Final = pl.Schema(
    {
        "reject_id": pl.Int64(),
        "external_id": pl.String(),
        #: As it was rejected last; null: the record does not say.
        "updated_at": UTC_US,
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
    }
)
_PLACE: Final = ("page_id", "record_no")


def newer_than_what_is_stored(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> list[int]:
    """Open rejects of these documents that are of a newer version than the stored one."""
    rejects = _open(connection, account, external_ids)
    if rejects.is_empty():
        return []
    both = _beside_stored(connection, account, rejects)
    newer = newer_than_stored(connection, both)
    # The same record, mapped again, is accepted now.
    same = both.select(
        (pl.col("page_id") == pl.col("_page_id")) & (pl.col("record_no") == pl.col("_record_no"))
    ).to_series()
    numbers: list[int] = both.filter(newer & ~same.fill_null(value=False))["reject_id"].to_list()
    return numbers


def outdated(connection: DbConnection, account: AccountKey, rejects: pl.DataFrame) -> pl.DataFrame:
    """Those of `rejects` (REJECT_BY_CONTENT) that a newer version has made no news.

    It is stored, or rejected itself. A record that does not say when it was changed is always news.

    Returns external_id, page_id, record_no.
    """
    dated = rejects.filter(pl.all_horizontal(pl.col("external_id", "updated_at").is_not_null()))
    dated = dated.select("external_id", "updated_at", *_PLACE)
    ids = dated["external_id"].unique().to_list()
    if not ids:
        return dated.drop("updated_at")
    known = _open(connection, account, ids).drop_nulls("updated_at")
    other = known.select(
        "external_id",
        pl.lit("rejected").alias("_status"),
        pl.col("updated_at").alias("_updated_at"),
        pl.lit(None, UTC_US).alias("_claimed_at"),
        *(pl.col(name).alias(f"_{name}") for name in _PLACE),
    )
    beside = [
        _beside_stored(connection, account, dated),
        dated.join(_with_readings(connection, other), on="external_id", maintain_order="left"),
    ]
    old = [both.filter(~newer_than_stored(connection, both)) for both in beside]
    return pl.concat([each.select("external_id", *_PLACE) for each in old]).unique(
        maintain_order=True
    )


def _open(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> pl.DataFrame:
    wanted = account.parameters(ids=json.dumps(list(external_ids)))
    return read_frame(connection, query("rejects", "open_versions"), wanted, _OPEN)


def _beside_stored(
    connection: DbConnection, account: AccountKey, rejects: pl.DataFrame
) -> pl.DataFrame:
    stored = stored_versions(connection, account, rejects["external_id"].unique())
    return rejects.join(stored, on="external_id", how="inner", maintain_order="left")


def _with_readings(connection: DbConnection, other: pl.DataFrame) -> pl.DataFrame:
    """Versions with how their pages were read (STORED_VERSION)."""
    pages = readings(connection, other["_page_id"]).rename(lambda name: f"_{name}")
    read = other.join(pages, on="_page_id", how="left", maintain_order="left")
    return read.select(pl.col(name).cast(kind) for name, kind in STORED_VERSION.items())
