"""Decides which of two versions of a document counts.

The vendor's time of change decides, as far as it can be trusted.

A vendor's clock may run ahead or be set back, and local times repeat an hour when the clocks
change. So the order in which we read has the last word where it is certain. See `supersedes`.
"""

from datetime import timedelta
from typing import Final, NamedTuple

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query

#: A time of change further ahead of our clock than this, when it was fetched, is not believed.
AHEAD_MAX: Final = timedelta(minutes=5)
#: How raw pages were read: when they were asked for and when they had arrived; `is_read` is 1 where
#: the vendor was asked for its state of that moment. A webhook or a file may be as old as it likes.
READING: Final = pl.Schema(
    {"page_id": pl.Int64(), "asked_at": UTC_US, "fetched_at": UTC_US, "is_read": pl.Int8()}
)
_FIELDS: Final = (
    "updated_at",
    "claimed_at",
    "page_id",
    "record_no",
    "asked_at",
    "fetched_at",
    "is_read",
)
_TIMES: Final = ("updated_at", "claimed_at", "asked_at", "fetched_at")
#: Stands for a time of change that is missing, in a record that is rejected for it.
_NEVER: Final = -(2**62)


class Version(NamedTuple):
    """One version of a document; times in microseconds since 1970, None where nobody knows.

    `claimed_at` is set where `updated_at` is not the vendor's: the vendor's cannot be right.
    `page_id` is None for what comes without a page, now: a deletion told by a webhook, or by a list
    of what exists.
    """

    #: Time of change.
    updated_at: int
    #: The vendor's time of change where it cannot be right.
    claimed_at: int | None
    #: Raw page; None: it came without one.
    page_id: int | None
    #: Position in that page; None: of a deletion.
    record_no: int | None
    #: When the page was asked for.
    asked_at: int | None
    #: When the page had arrived.
    fetched_at: int | None
    #: 1: the vendor was asked for its state; 0: a webhook or a file.
    is_read: int | None


def supersedes(version: Version, stored: Version) -> bool:
    """Whether `version` replaces `stored`; also where it is the same record, mapped again.

    1. The same record of the same page is the same version: it may be mapped otherwise by now.
    2. What the vendor answered when it was asked after the other one had arrived is newer, whatever
       the times of change say.
    3. Where one of the times cannot be right, what was fetched later is newer.
    4. Otherwise the time of change decides, and of equal ones what was fetched later.
    """
    if version.page_id is not None and version[2:4] == stored[2:4]:
        return True
    if _is_read_after(version, stored):
        return True
    if _is_read_after(stored, version):
        return False
    is_later = version.page_id is None or stored.page_id is None or version.page_id > stored.page_id
    if (
        version.page_id == stored.page_id
    ):  # two records of one page: a deletion counts more than a record
        is_later = stored.record_no is not None
    if (
        version.claimed_at is not None
        or stored.claimed_at is not None
        or version.updated_at == stored.updated_at
    ):
        return is_later
    return version.updated_at > stored.updated_at


def outlives(version: Version, deletion: Version) -> bool:
    """Whether `version` shows that a deleted document is there again.

    The vendor was asked for it after the deletion had arrived, or changed it later.
    """
    return _is_read_after(version, deletion) or version.updated_at > deletion.updated_at


def _is_read_after(later: Version, earlier: Version) -> bool:
    """Whether the vendor was asked for `later` only after `earlier` had arrived.

    The numbers of pages count up as they are stored.
    """
    if not later.is_read or later.page_id is None or earlier.page_id is None:
        return False
    if later.asked_at is None or earlier.fetched_at is None:
        return False
    return later.page_id > earlier.page_id and later.asked_at > earlier.fetched_at


def readings(connection: DbConnection, page_ids: pl.Series) -> pl.DataFrame:
    """How these pages were read (READING)."""
    wanted = page_ids.drop_nulls().unique().sort().to_list()
    if not wanted:
        return READING.to_frame()
    parameters = {"pages": ",".join(map(str, wanted))}
    return read_frame(connection, query("store", "readings"), parameters, READING)


def with_plausible_times(frame: pl.DataFrame, pages: pl.DataFrame, column: str) -> pl.DataFrame:
    """`frame` (with `page_id`) without impossible times in `column`.

    `claimed_at` holds the vendor's own time where it was impossible.

    A time that lies ahead of our clock, when its page had arrived, becomes the time of that
    arrival.
    """
    fetched_at = frame.select("page_id").join(
        pages, on="page_id", how="left", maintain_order="left"
    )["fetched_at"]
    is_ahead = frame[column] > fetched_at + AHEAD_MAX
    none = pl.lit(None, dtype=UTC_US)
    if not is_ahead.any():
        return frame.with_columns(none.alias("claimed_at"))
    return frame.with_columns(
        pl.when(is_ahead).then(pl.col(column)).otherwise(none).alias("claimed_at"),
        pl.when(is_ahead).then(fetched_at).otherwise(pl.col(column)).alias(column),
    )


def newest(invoices: pl.DataFrame, pages: pl.DataFrame) -> pl.DataFrame:
    """Of several versions of a document the one that counts, in the order of ids.

    All rows have an `external_id`.
    """
    if invoices["external_id"].n_unique() == invoices.height:
        return invoices
    ordered = invoices.sort("page_id", "record_no").with_row_index("_row")
    repeated = ordered.filter(pl.col("external_id").is_duplicated())
    best: dict[str, tuple[int, Version]] = {}
    rows = repeated.join(pages, on="page_id", how="left", maintain_order="left")
    for name, row, version in zip(rows["external_id"], rows["_row"], versions(rows), strict=True):
        if name not in best or supersedes(version, best[name][1]):
            best[name] = (row, version)
    kept = pl.Series([row for row, _ in best.values()], dtype=pl.UInt32)
    once = ~pl.col("external_id").is_duplicated()
    return ordered.filter(once | pl.col("_row").is_in(kept.implode())).drop("_row")


def versions(frame: pl.DataFrame, prefix: str = "") -> list[Version]:
    """The rows of a frame that has the fields of Version, each after `prefix`."""
    columns = {name: pl.col(f"{prefix}{name}") for name in _FIELDS}
    columns |= {name: columns[name].dt.epoch("us") for name in _TIMES}
    columns["updated_at"] = columns["updated_at"].fill_null(_NEVER)
    return [Version(*row) for row in frame.select(**columns).select(_FIELDS).iter_rows()]
