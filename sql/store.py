"""The store transaction: from accepted and rejected records to stored sales.

In: invoices and lines as mapped and validated (INVOICE, LINE), rejects (REJECT), deletions.
Out: rows of billing.invoice, billing.invoice_line and billing.reject, and the members whose points
are to be recomputed. A stored version is replaced only by a newer one (`sql.versions`). Points are
not computed here: members are marked, and the award step posts the difference.

The caller owns the transaction: everything here becomes visible together, or not at all.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import time
from typing import Any, Final

import polars as pl
from psycopg.errors import UniqueViolation

from loyalty.places import COLUMNS
from loyalty.schema import UTC_US
from loyalty.types import HOME_ZONE
from sql.copying import copy_in
from sql.db import DbConnection, read_frame
from sql.named_queries import query
from sql.reject_versions import newer_than_what_is_stored
from sql.stored_versions import (
    STORED_VERSION,
    newer_than_stored,
    stored_versions,
    version_pairs,
)
from sql.sync import AccountKey
from sql.versions import outlives, readings, with_plausible_times

_FACTS: Final = pl.Schema(
    {
        "external_id": pl.String(),
        "invoice_number": pl.String(),
        "kind": pl.String(),
        "customer_external_id": pl.String(),
        "member_id": pl.Int64(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "subtotal_minor": pl.Int64(),
        "tax_minor": pl.Int64(),
        "amount_paid_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "status": pl.String(),
        "issued_at": UTC_US,
        "updated_at": UTC_US,
        "reference_ids": pl.String(),
        "time_known": pl.Boolean(),
        "original_external_id": pl.String(),
        **COLUMNS,
    }
)
#: A record that could not be used; `problems` is JSON text.
REJECT: Final = pl.Schema(
    {
        "stream": pl.String(),
        "record_key": pl.String(),
        "external_id": pl.String(),
        "reason": pl.String(),
        "problems": pl.String(),
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "customer_external_id": pl.String(),
    }
)
#: As `REJECT`; `by_content`: the key says what the record holds, which tells it apart in its file
#: only.
#: And what the record says of its sale, where it says it.
REJECT_BY_CONTENT: Final = pl.Schema(
    {
        **REJECT,
        "by_content": pl.Boolean(),
        "kind": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "issued_at": UTC_US,
        "updated_at": UTC_US,
    }
)
_REFERENCES: Final = ("page_id", "record_no", "sync_id")
_COLUMNS: Final = ("system", "account", *_FACTS.names(), *_REFERENCES)
_LINE_COLUMNS: Final = (
    "page_id", "record_no", "line_no", "sku", "item_external_id", "name", "quantity", "unit_price",
    "amount_minor",
)  # fmt: skip
_DOCUMENT: Final = ("system", "account", "external_id")
_MEMBERS: Final = pl.Schema({"customer_phone": pl.String(), "member_id": pl.Int64()})

#: Documents named of those that were older than what is stored.
OLDER_SHOWN: Final = 10
#: A known deletion of a document, as a version of it (`sql.versions.Version`).
_GONE: Final = pl.Schema({name: kind for name, kind in STORED_VERSION.items() if name != "_status"})

#: Opens a short transaction of its own; see `with_members`.
Aside = Callable[[], AbstractContextManager[DbConnection]]


@dataclass
class Stored:
    """What became of the accepted records, and the members whose points are to be recomputed."""

    #: Sales that were stored for the first time.
    new: int = 0
    #: Sales of which a newer version was stored.
    changed: int = 0
    #: Versions that say what is stored.
    unchanged: int = 0
    #: Sales that the vendor deleted.
    voided: int = 0
    #: Versions, and deletions, that differ from what is stored and are older; some of them by name.
    older: int = 0
    #: Names of some of them.
    older_documents: list[str] = field(default_factory=list)
    #: Members whose points are to be recomputed.
    members: set[int] = field(default_factory=set)

    def leave_out(self, names: Iterable[str]) -> None:
        """Counts documents that are older than what is stored, and keeps the names of some."""
        for name in names:
            self.older += 1
            if len(self.older_documents) < OLDER_SHOWN and name not in self.older_documents:
                self.older_documents.append(name)


def lock_account(connection: DbConnection, account: AccountKey) -> None:
    """Locks the account: until the transaction ends, nobody else stores its invoices."""
    connection.execute(query("store", "lock_account"), account.parameters())


def is_first_load(connection: DbConnection, account: AccountKey) -> bool:
    """Whether nothing of the account was ever stored by a synchronisation."""
    row = connection.execute(query("store", "first_load"), account.parameters()).fetchone()
    return bool(row and row[0])


def store_invoices(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    *,
    into: Stored,
    zone: str = HOME_ZONE,
    expect_new: bool = False,
) -> None:
    """Stores accepted invoices and their lines.

    `invoices` is INVOICE with `member_id`, one row per external_id; `lines` is LINE; `zone` is the
    account's time zone.

    A row replaces the stored one only if it differs and `versions.supersedes` it. `into` is added
    to. Where all are expected to be new, nothing is looked up unless the key says otherwise: 30 ms
    of each 20,000.
    """
    if invoices.is_empty():
        return
    read = invoices.sort("external_id").with_columns(pl.lit(sync_id).alias("sync_id"))
    read = _void_where_deleted(connection, account, read)
    if expect_new and _add_new(connection, read):
        stored, fresh, changed = _FACTS.to_frame(), read, read.clear()
    else:
        stored = _stored(connection, account, read["external_id"])
        read = _with_earlier_times(read, stored, zone)
        fresh, changed, older = _compare(connection, account, read, stored)
        into.leave_out(older.select(pl.coalesce("invoice_number", "external_id")).to_series())
        into.unchanged -= older.height
        copy_in(connection, "billing.invoice", _columns(fresh))
    if not changed.is_empty():
        _update(connection, _columns(changed))
    if fresh.height + changed.height < read.height:
        place = ["page_id", "record_no"]
        written = pl.concat([fresh.select(place), changed.select(place)])
        lines = lines.join(written, on=place, how="semi")
    ordered = lines.select(_LINE_COLUMNS).sort("page_id", "record_no", "line_no")
    copy_in(connection, "billing.invoice_line", ordered)
    # A document may have changed its owner: both the former and the new one are recomputed.
    before = stored.filter(pl.col("external_id").is_in(changed["external_id"].implode()))
    touched = pl.concat([fresh["member_id"], changed["member_id"], before["member_id"]])
    into.members.update(touched.drop_nulls().unique().to_list())
    into.members.update(_supersede(connection, account, sync_id, pl.concat([fresh, changed])))
    into.new += fresh.height
    into.changed += changed.height
    into.unchanged += read.height - fresh.height - changed.height


def _void_where_deleted(
    connection: DbConnection, account: AccountKey, read: pl.DataFrame
) -> pl.DataFrame:
    """Versions of documents whose deletion is known, and is newer, are void as of the deletion.

    A webhook that waited may bring a document after a poll read that it is deleted.
    """
    row = connection.execute(query("store", "any_deleted"), account.parameters()).fetchone()
    if not (row and row[0]):
        return read
    wanted = account.parameters(ids=json.dumps(read["external_id"].to_list()))
    gone = read_frame(connection, query("store", "deleted_before"), wanted, _GONE)
    if gone.is_empty():
        return read
    both = read.join(gone, on="external_id", how="inner", maintain_order="left")
    outlived = pl.Series(
        [outlives(version, deletion) for version, deletion in version_pairs(connection, both)],
        dtype=pl.Boolean,
    )
    deleted = both.filter(~outlived).select(
        "external_id", pl.col("_updated_at").alias("_deleted_at")
    )
    is_gone = pl.col("_deleted_at").is_not_null()
    return (
        read.join(deleted, on="external_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(is_gone).then(pl.lit("void")).otherwise("status").alias("status"),
            pl.coalesce("_deleted_at", "updated_at").alias("updated_at"),
        )
        .drop("_deleted_at")
    )


def _add_new(connection: DbConnection, invoices: pl.DataFrame) -> bool:
    """Stores the invoices if none of them is stored yet; returns whether it did."""
    try:
        with connection.transaction():
            copy_in(connection, "billing.invoice", _columns(invoices))
    except UniqueViolation:
        return False
    return True


def _supersede(
    connection: DbConnection, account: AccountKey, sync_id: int, written: pl.DataFrame
) -> set[int]:
    """Voids what webhooks named by its number where the same document is known by its id.

    Returns the members it was of.

    Looked at from both sides, under the account's lock: a poll may have stored the id just before.
    """
    numbers = written["invoice_number"].drop_nulls().unique()
    if numbers.is_empty():
        return set()
    row = connection.execute(query("store", "named_by_number"), account.parameters()).fetchone()
    if row is None or not row[0]:
        return set()
    parameters = account.parameters(sync_id=sync_id, numbers=numbers.to_list())
    return {
        row[0]
        for row in connection.execute(query("store", "supersede_numbers"), parameters)
        if row[0] is not None
    }


def with_members(invoices: pl.DataFrame, aside: Aside) -> pl.DataFrame:
    """`member_id` for every phone; unknown phones become members.

    New members are committed on the side at once, in order of phone: two accounts that store the
    same new customers in long transactions of different order would otherwise wait for each other.
    A member without sales is harmless.
    """
    phones = invoices["customer_phone"].drop_nulls().unique().sort()
    if phones.is_empty():
        return invoices.with_columns(pl.lit(None, dtype=pl.Int64).alias("member_id"))
    with aside() as aside_connection:
        erased = _of_erased(aside_connection, invoices)
        phones = (
            phones
            if erased is None
            else _without(invoices, erased)["customer_phone"].drop_nulls().unique().sort()
        )
        members = _members(aside_connection, phones)
        missing = phones.filter(~phones.is_in(members["customer_phone"].implode()))
        if missing.len():
            aside_connection.execute(query("store", "add_members"), {"phones": ",".join(missing)})
            members = pl.concat([members, _members(aside_connection, missing)])
    owned = invoices.join(members, on="customer_phone", how="left", maintain_order="left")
    if erased is None:
        return owned
    owned = owned.join(erased, on=_DOCUMENT, how="left", maintain_order="left")
    return owned.with_columns(pl.coalesce("_erased_id", "member_id").alias("member_id")).drop(
        "_erased_id"
    )


def _of_erased(connection: DbConnection, invoices: pl.DataFrame) -> pl.DataFrame | None:
    """Documents of members whose personal data was removed; None if there are none.

    They stay with those members, and make no new member.
    """
    row = connection.execute(query("erasure", "any")).fetchone()
    if not (row and row[0]):
        return None
    ids = invoices["external_id"].drop_nulls().to_list()
    rows = connection.execute(query("erasure", "documents"), {"ids": ids}).fetchall()
    return pl.DataFrame(
        rows, schema=dict.fromkeys(_DOCUMENT, pl.String) | {"_erased_id": pl.Int64}, orient="row"
    )


def _without(invoices: pl.DataFrame, some: pl.DataFrame) -> pl.DataFrame:
    return invoices.join(some, on=_DOCUMENT, how="anti")


def _members(connection: DbConnection, phones: pl.Series) -> pl.DataFrame:
    return read_frame(connection, query("store", "members"), {"phones": ",".join(phones)}, _MEMBERS)


def _stored(connection: DbConnection, account: AccountKey, ids: pl.Series) -> pl.DataFrame:
    """What is stored of these documents: the facts, by external_id."""
    wanted = account.parameters(ids=json.dumps(ids.to_list()))
    return read_frame(connection, query("store", "stored_invoices"), wanted, _FACTS)


def _with_earlier_times(read: pl.DataFrame, stored: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Versions of sales that an older release stored by their day, with the time that it stored.

    They count as instants, as they did: reading them again, or their stored pages, must not change
    points by what we read otherwise now. A day that the vendor corrected is another one.
    """
    earlier = stored.filter(pl.col("time_known").is_null()).select(
        "external_id", pl.col("issued_at").alias("_earlier")
    )
    if earlier.is_empty():
        return read
    both = read.join(earlier, on="external_id", how="left", maintain_order="left")
    before = pl.col("_earlier").dt.convert_time_zone(zone)
    same_day = before.dt.date() == pl.col("issued_at").dt.convert_time_zone(zone).dt.date()
    kept = ((before.dt.time() == time.min) & same_day).fill_null(value=False)
    return both.with_columns(
        pl.when(kept).then("_earlier").otherwise("issued_at").alias("issued_at"),
        pl.when(~kept).then("time_known").alias("time_known"),
    ).drop("_earlier")


def _compare(
    connection: DbConnection, account: AccountKey, read: pl.DataFrame, stored: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Parts of `read`: new; different from the stored one and newer; different and older."""
    facts = [name for name in _FACTS.names() if name not in {"external_id", "updated_at"}]
    renamed = stored.rename({name: f"_{name}" for name in (*facts, "updated_at")})
    joined = read.join(
        renamed.with_columns(_is_stored=True), on="external_id", how="left", maintain_order="left"
    )
    is_stored = pl.col("_is_stored").is_not_null()
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"_{name}")) for name in facts)
    # A newer version without a difference is stored as well, for its time of change. Not where that
    # time is ours: then it is only the time of this reading.
    is_later = pl.col("updated_at") > pl.col("_updated_at")
    if "claimed_at" in read.columns:
        is_later = is_later & pl.col("claimed_at").is_null()
    masks = joined.select(
        (~is_stored).alias("new"),
        (is_stored & differs).alias("differs"),
        (is_stored & is_later).alias("later"),
    )
    fresh = read.filter(masks["new"])
    candidates = read.filter(masks["differs"] | masks["later"])
    wins = _supersede_stored(connection, account, candidates)
    differing = masks["differs"].filter(masks["differs"] | masks["later"])
    return fresh, candidates.filter(wins), candidates.filter(differing & ~wins)


def _supersede_stored(
    connection: DbConnection, account: AccountKey, candidates: pl.DataFrame
) -> pl.Series:
    """Which of the candidates, each stored in another version, are newer than that one."""
    if candidates.is_empty():
        return pl.Series([], dtype=pl.Boolean)
    stored = stored_versions(connection, account, candidates["external_id"])
    both = candidates.join(stored, on="external_id", how="left", maintain_order="left")
    return newer_than_stored(connection, both)


def _columns(invoices: pl.DataFrame) -> pl.DataFrame:
    """The columns that are written; `claimed_at` only where a row has one."""
    claims = (
        "claimed_at" in invoices.columns and invoices["claimed_at"].null_count() < invoices.height
    )
    return invoices.select(*_COLUMNS, *(["claimed_at"] if claims else []))


def _update(connection: DbConnection, changed: pl.DataFrame) -> None:
    connection.execute(query("store", "stage_changed"))
    connection.execute(query("store", "empty_stage"))
    copy_in(connection, "pg_temp.changed_invoice", changed)
    connection.execute(query("store", "drop_lines"))
    connection.execute(query("store", "update_changed"))


def void_deleted(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    deletions: pl.DataFrame,
    *,
    into: Stored,
) -> None:
    """Documents that the vendor deleted earn nothing from now on.

    `deletions` has external_id, deleted_at, page_id.

    One that is void already keeps the deletion's time as well, or an older open version that
    arrives later would bring the points back. Without a time of its own a deletion is as new as its
    page. Those that are not stored are remembered: an older version of one may still arrive.
    """
    if deletions.is_empty():
        return
    pages = readings(connection, deletions["page_id"])
    read = with_plausible_times(deletions, pages, "deleted_at").with_columns(
        record_no=pl.lit(None, dtype=pl.Int32)
    )
    read = read.join(pages, on="page_id", how="left", maintain_order="left")
    stored = stored_versions(connection, account, read["external_id"].unique())
    _remember_deleted(connection, account, sync_id, read.join(stored, on="external_id", how="anti"))
    both = read.join(stored, on="external_id", how="inner", maintain_order="left").with_columns(
        pl.coalesce("deleted_at", "fetched_at", "_updated_at").alias("updated_at")
    )
    wins = newer_than_stored(connection, both)
    is_void = pl.col("_status") == "void"
    into.leave_out(both.filter(~wins & (both["_status"] != "void"))["external_id"])
    gone = both.filter(wins).filter(~is_void | (pl.col("updated_at") > pl.col("_updated_at")))
    gone = gone.sort("updated_at", "page_id", nulls_last=True).unique(
        "external_id", keep="last", maintain_order=True
    )
    if gone.is_empty():
        return
    parameters = account.parameters(
        sync_id=sync_id,
        ids=gone["external_id"].to_list(),
        times=gone["updated_at"].to_list(),
        claims=gone["claimed_at"].to_list(),
        pages=gone["page_id"].to_list(),
    )
    rows = connection.execute(query("store", "void_deleted"), parameters).fetchall()
    into.voided += len(rows)
    into.members.update(row[0] for row in rows if row[0] is not None)


def _remember_deleted(
    connection: DbConnection, account: AccountKey, sync_id: int, gone: pl.DataFrame
) -> None:
    """Keeps the newest deletion of each document that is not stored."""
    if gone.is_empty():
        return
    dated = gone.with_columns(pl.coalesce("deleted_at", "fetched_at").alias("deleted_at"))
    newest_deletions = dated.sort("deleted_at", "page_id", nulls_last=False).unique(
        "external_id", keep="last", maintain_order=True
    )
    parameters = account.parameters(
        sync_id=sync_id,
        ids=newest_deletions["external_id"].to_list(),
        times=newest_deletions["deleted_at"].to_list(),
        pages=newest_deletions["page_id"].to_list(),
    )
    connection.execute(query("store", "remember_deleted"), parameters)


def unlisted(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    listed: Sequence[str],
    *,
    kinds: Sequence[str] | None = None,
) -> tuple[int, list[str]]:
    """How many documents of the account are not void, and which of them are not `listed`.

    `kinds`: documents of these kinds only.
    """
    wanted = None if kinds is None else list(kinds)
    parameters = account.parameters(sync_id=sync_id, listed=list(listed), kinds=wanted)
    row = connection.execute(query("store", "unlisted"), parameters).fetchone()
    return (row[0], row[1]) if row else (0, [])


def save_rejects(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    rejects: pl.DataFrame,
    *,
    mapping: str | None = None,
) -> None:
    """Opens a reject for every row of `rejects` (REJECT or REJECT_BY_CONTENT).

    `mapping` is the fingerprint of the mapping that rejected them.

    A record that is rejected again updates its open row.
    """
    if rejects.is_empty():
        return
    by_content = "by_content" in rejects.columns
    keys = ["stream", "record_key", *(["page_id"] if by_content else [])]
    rows = rejects.unique(keys, keep="last", maintain_order=True)
    names = {
        "streams": "stream", "keys": "record_key", "ids": "external_id", "reasons": "reason",
        "problems": "problems", "pages": "page_id", "records": "record_no",
    }  # fmt: skip
    parameters: dict[str, Any] = {
        parameter: rows[column].to_list() for parameter, column in names.items()
    }
    parameters["by_content"] = rows["by_content"].to_list() if by_content else [False] * rows.height
    optional = {
        "customers": "customer_external_id", "kinds": "kind", "currencies": "currency",
        "totals": "total_minor", "issued": "issued_at", "updated": "updated_at",
    }  # fmt: skip
    parameters |= {
        parameter: rows[column].to_list() if column in rows.columns else [None] * rows.height
        for parameter, column in optional.items()
    }
    whole = account.parameters(sync_id=sync_id, mapping=mapping) | parameters
    connection.execute(query("store", "save_rejects"), whole)


def has_open_rejects(connection: DbConnection, account: AccountKey) -> bool:
    """Whether any record of the account is waiting to be accepted."""
    row = connection.execute(query("store", "open_rejects"), account.parameters()).fetchone()
    return bool(row and row[0])


def resolve_rejects(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    external_ids: Sequence[str],
    *,
    awards: bool = False,
) -> int:
    """Closes the open rejects of records that are accepted now; returns how many.

    What is stored answers a reject of its own version and of older ones only.

    `awards`: rejects of the award step.
    """
    ids = list(external_ids)
    keep = [] if awards else newer_than_what_is_stored(connection, account, ids)
    parameters = account.parameters(sync_id=sync_id, ids=ids, awards=awards, keep=keep)
    return connection.execute(query("store", "resolve_rejects"), parameters).rowcount


def mark_dirty(connection: DbConnection, members: set[int]) -> None:
    """Marks members: the award step recomputes their points.

    Last in the transaction and in order, so that nobody deadlocks.

    The row is updated even if it is there already: that waits for an award in progress, which would
    otherwise clear the mark without having seen this transaction.
    """
    if members:
        connection.execute(query("store", "mark_dirty"), {"members": sorted(members)})
