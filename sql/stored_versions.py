"""Versions of documents beside those that are stored."""

import json
from collections.abc import Iterator
from typing import Final

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query
from sql.sync import AccountKey
from sql.versions import AHEAD_MAX, READING, Version, readings, supersedes, versions

#: How new a stored version is; its columns beside those of another version of the document.
STORED_VERSION: Final = pl.Schema(
    {
        "external_id": pl.String(),
        "_status": pl.String(),
        "_updated_at": UTC_US,
        "_claimed_at": UTC_US,
        "_page_id": pl.Int64(),
        "_record_no": pl.Int32(),
        **{f"_{name}": kind for name, kind in READING.items() if name != "page_id"},
    }
)
#: Two versions of one document: the one that was read now, and the other one.
VersionPair = tuple[Version, Version]


def stored_versions(connection: DbConnection, account: AccountKey, ids: pl.Series) -> pl.DataFrame:
    """How new what is stored of these documents is (STORED_VERSION)."""
    wanted = account.parameters(ids=json.dumps(ids.to_list()), ahead_max=AHEAD_MAX)
    return read_frame(connection, query("store", "stored_versions"), wanted, STORED_VERSION)


def newer_than_stored(connection: DbConnection, both: pl.DataFrame) -> pl.Series:
    """Which rows' versions replace the stored one beside them (see `version_pairs`)."""
    pairs = version_pairs(connection, both)
    return pl.Series([supersedes(version, stored) for version, stored in pairs], dtype=pl.Boolean)


def version_pairs(connection: DbConnection, both: pl.DataFrame) -> Iterator[VersionPair]:
    """Per row the version that was read now, and the other one of the same document.

    The columns of the other one begin with "_". How the pages of the first one were read is looked
    up, unless the row says so.
    """
    if "claimed_at" not in both.columns:
        both = both.with_columns(pl.lit(None, dtype=UTC_US).alias("claimed_at"))
    if "fetched_at" not in both.columns:
        pages = readings(connection, both["page_id"])
        both = both.join(pages, on="page_id", how="left", maintain_order="left")
    return zip(versions(both), versions(both, "_"), strict=True)
