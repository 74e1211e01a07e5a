"""The store transaction: invoices in if not older than ours, rejects, members marked, nothing else.

The caller owns the transaction: everything here becomes visible together, or not at all.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
from psycopg.errors import UniqueViolation

from loyalty.schema import UTC_US
from sql.copying import copy_in
from sql.db import Connection, read_frame
from sql.named import query
from sql.sync import Account

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
_REFERENCES: Final = ("page_id", "record_no", "sync_id")
_COLUMNS: Final = ("system", "account", *_FACTS.names(), *_REFERENCES)
_LINE_COLUMNS: Final = (
    "page_id", "record_no", "line_no", "sku", "item_external_id", "name", "quantity", "unit_price", "amount_minor",
)  # fmt: skip
_DOCUMENT: Final = ("system", "account", "external_id")
_MEMBERS: Final = pl.Schema({"customer_phone": pl.String(), "member_id": pl.Int64()})

#: Opens a short transaction of its own; see `with_members`.
Aside = Callable[[], AbstractContextManager[Connection]]


@dataclass
class Stored:
    """What became of the accepted records, and the members whose points are to be recomputed."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    voided: int = 0
    members: set[int] = field(default_factory=set)


def lock_account(connection: Connection, account: Account) -> None:
    """Until the transaction ends, nobody else stores invoices of this account."""
    connection.execute(query("store", "lock_account"), account.parameters())


def is_first_load(connection: Connection, account: Account) -> bool:
    """Whether nothing of the account was ever stored by a synchronisation."""
    row = connection.execute(query("store", "first_load"), account.parameters()).fetchone()
    return bool(row and row[0])


def store_invoices(
    connection: Connection,
    account: Account,
    sync_id: int,
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    *,
    into: Stored,
    expect_new: bool = False,
) -> None:
    """Stores accepted invoices (INVOICE with `member_id`, one row per external_id) and their lines (LINE).

    A row replaces the stored one only if it is not older and differs. `into` is added to. Where all are expected to be new,
    nothing is looked up unless the key says otherwise: 30 ms of each 20,000.
    """
    if invoices.is_empty():
        return
    found = invoices.sort("external_id").with_columns(pl.lit(sync_id).alias("sync_id"))
    found = _void_where_deleted(connection, account, found)
    if expect_new and _add_new(connection, found):
        stored, fresh, changed = _FACTS.to_frame(), found, found.clear()
    else:
        stored = _stored(connection, account, found["external_id"])
        is_new, is_changed = _compare(found, stored)
        fresh, changed = found.filter(is_new), found.filter(is_changed)
        copy_in(connection, "billing.invoice", fresh.select(_COLUMNS))
    if not changed.is_empty():
        _update(connection, changed.select(_COLUMNS))
    whole = fresh.height + changed.height == found.height
    place = ["page_id", "record_no"]
    kept = lines if whole else lines.join(pl.concat([fresh.select(place), changed.select(place)]), on=place, how="semi")
    copy_in(connection, "billing.invoice_line", kept.select(_LINE_COLUMNS).sort("page_id", "record_no", "line_no"))
    before = stored.filter(pl.col("external_id").is_in(changed["external_id"].implode()))
    touched = pl.concat([fresh["member_id"], changed["member_id"], before["member_id"]])
    into.members.update(touched.drop_nulls().unique().to_list())
    into.members.update(_supersede(connection, account, sync_id, fresh))
    into.new += fresh.height
    into.changed += changed.height
    into.unchanged += found.height - fresh.height - changed.height


def _void_where_deleted(connection: Connection, account: Account, found: pl.DataFrame) -> pl.DataFrame:
    """Versions of documents whose deletion is known, and is newer, are void as of the deletion.

    A webhook that waited may bring a document after a poll read that it is deleted.
    """
    row = connection.execute(query("store", "any_deleted"), account.parameters()).fetchone()
    if not (row and row[0]):
        return found
    parameters = account.parameters(ids=found["external_id"].to_list())
    rows = connection.execute(query("store", "deleted_before"), parameters).fetchall()
    schema = {"external_id": pl.String(), "_deleted_at": UTC_US}
    deleted = pl.DataFrame(rows, schema=schema, orient="row")
    newer = pl.col("_deleted_at") >= pl.col("updated_at")
    return (
        found.join(deleted, on="external_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(newer).then(pl.lit("void")).otherwise("status").alias("status"),
            pl.when(newer).then("_deleted_at").otherwise("updated_at").alias("updated_at"),
        )
        .drop("_deleted_at")
    )


def _add_new(connection: Connection, found: pl.DataFrame) -> bool:
    """Stores them if none is stored yet; returns whether it did."""
    try:
        with connection.transaction():
            copy_in(connection, "billing.invoice", found.select(_COLUMNS))
    except UniqueViolation:
        return False
    return True


def _supersede(connection: Connection, account: Account, sync_id: int, fresh: pl.DataFrame) -> set[int]:
    """Voids what webhooks had named by its number, now that the same document comes with its id; returns the members it was of."""
    known = fresh.filter(pl.col("invoice_number").is_not_null() & (pl.col("invoice_number") != pl.col("external_id")))
    if known.is_empty():
        return set()
    row = connection.execute(query("store", "named_by_number"), account.parameters()).fetchone()
    if row is None or not row[0]:
        return set()
    parameters = account.parameters(
        sync_id=sync_id, numbers=known["invoice_number"].to_list(), kinds=known["kind"].to_list()
    )
    return {row[0] for row in connection.execute(query("store", "supersede_numbers"), parameters) if row[0] is not None}


def with_members(invoices: pl.DataFrame, aside: Aside) -> pl.DataFrame:
    """`member_id` for every phone; unknown phones become members.

    New members are committed on the side at once, in order of phone: two accounts that store the same new customers in
    long transactions of different order would otherwise wait for each other. A member without sales is harmless.
    """
    phones = invoices["customer_phone"].drop_nulls().unique().sort()
    if phones.is_empty():
        return invoices.with_columns(pl.lit(None, dtype=pl.Int64).alias("member_id"))
    with aside() as own:
        erased = _of_erased(own, invoices)
        phones = phones if erased is None else _without(invoices, erased)["customer_phone"].drop_nulls().unique().sort()
        known = _members(own, phones)
        missing = phones.filter(~phones.is_in(known["customer_phone"].implode()))
        if missing.len():
            own.execute(query("store", "add_members"), {"phones": ",".join(missing)})
            known = pl.concat([known, _members(own, missing)])
    found = invoices.join(known, on="customer_phone", how="left", maintain_order="left")
    if erased is None:
        return found
    kept = found.join(erased, on=_DOCUMENT, how="left", maintain_order="left")
    return kept.with_columns(pl.coalesce("_erased_id", "member_id").alias("member_id")).drop("_erased_id")


def _of_erased(connection: Connection, invoices: pl.DataFrame) -> pl.DataFrame | None:
    """Documents among these of members whose personal data was removed: they stay theirs, and make no new member."""
    row = connection.execute(query("erasure", "any")).fetchone()
    if not (row and row[0]):
        return None
    ids = invoices["external_id"].drop_nulls().to_list()
    rows = connection.execute(query("erasure", "documents"), {"ids": ids}).fetchall()
    return pl.DataFrame(rows, schema=dict.fromkeys(_DOCUMENT, pl.String) | {"_erased_id": pl.Int64}, orient="row")


def _without(invoices: pl.DataFrame, some: pl.DataFrame) -> pl.DataFrame:
    return invoices.join(some, on=_DOCUMENT, how="anti")


def _members(connection: Connection, phones: pl.Series) -> pl.DataFrame:
    return read_frame(connection, query("store", "members"), {"phones": ",".join(phones)}, _MEMBERS)


def _stored(connection: Connection, account: Account, ids: pl.Series) -> pl.DataFrame:
    """What is stored of these documents: the facts, by external_id."""
    wanted = account.parameters(ids=json.dumps(ids.to_list()))
    return read_frame(connection, query("store", "stored_invoices"), wanted, _FACTS)


def _compare(found: pl.DataFrame, stored: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Masks over `found`: new; and not older than the stored row and different from it."""
    facts = [name for name in _FACTS.names() if name != "external_id"]
    renamed = stored.rename({name: f"_{name}" for name in facts}).with_columns(pl.lit(value=True).alias("_known"))
    joined = found.join(renamed, on="external_id", how="left", maintain_order="left")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"_{name}")) for name in facts)
    known = pl.col("_known").is_not_null()
    masks = joined.select(
        (~known).alias("new"), (known & differs & (pl.col("updated_at") >= pl.col("_updated_at"))).alias("changed")
    )
    return masks["new"], masks["changed"]


def _update(connection: Connection, changed: pl.DataFrame) -> None:
    connection.execute(query("store", "stage_changed"))
    connection.execute(query("store", "empty_stage"))
    copy_in(connection, "pg_temp.changed_invoice", changed)
    connection.execute(query("store", "drop_lines"))
    connection.execute(query("store", "update_changed"))


def void_deleted(
    connection: Connection, account: Account, sync_id: int, deletions: pl.DataFrame, *, into: Stored
) -> None:
    """Documents that the vendor deleted (external_id, deleted_at) earn nothing from now on.

    Those that are not stored are remembered: an older version of one may still arrive.
    """
    if deletions.is_empty():
        return
    parameters = account.parameters(
        sync_id=sync_id, ids=deletions["external_id"].to_list(), times=deletions["deleted_at"].to_list()
    )
    rows = connection.execute(query("store", "void_deleted"), parameters).fetchall()
    connection.execute(query("store", "remember_deleted"), parameters)
    into.voided += len(rows)
    into.members.update(row[0] for row in rows if row[0] is not None)


def unlisted(connection: Connection, account: Account, sync_id: int, listed: Sequence[str]) -> tuple[int, list[str]]:
    """How many documents of the account are not void, and those of them that are not `listed`."""
    parameters = account.parameters(sync_id=sync_id, listed=list(listed))
    row = connection.execute(query("store", "unlisted"), parameters).fetchone()
    return (row[0], row[1]) if row else (0, [])


def save_rejects(
    connection: Connection, account: Account, sync_id: int, rejects: pl.DataFrame, *, mapping: str | None = None
) -> None:
    """Opens a reject for every row of `rejects` (REJECT), by the mapping of that fingerprint.

    A record that is rejected again updates its open row.
    """
    if rejects.is_empty():
        return
    rows = rejects.unique(["stream", "record_key"], keep="last")
    names = {
        "streams": "stream", "keys": "record_key", "ids": "external_id", "reasons": "reason",
        "problems": "problems", "pages": "page_id", "records": "record_no",
    }  # fmt: skip
    parameters: dict[str, Any] = {parameter: rows[column].to_list() for parameter, column in names.items()}
    known = "customer_external_id" in rows.columns
    parameters["customers"] = rows["customer_external_id"].to_list() if known else [None] * rows.height
    whole = account.parameters(sync_id=sync_id, mapping=mapping) | parameters
    connection.execute(query("store", "save_rejects"), whole)


def has_open_rejects(connection: Connection, account: Account) -> bool:
    """Whether any record of the account is waiting to be accepted."""
    row = connection.execute(query("store", "open_rejects"), account.parameters()).fetchone()
    return bool(row and row[0])


def resolve_rejects(
    connection: Connection, account: Account, sync_id: int, external_ids: Sequence[str], *, awards: bool = False
) -> int:
    """Closes the open rejects of records that are accepted now (`awards`: those of the award step); returns how many."""
    parameters = account.parameters(sync_id=sync_id, ids=list(external_ids), awards=awards)
    return connection.execute(query("store", "resolve_rejects"), parameters).rowcount


def mark_dirty(connection: Connection, members: set[int]) -> None:
    """Asks for the members' points to be recomputed. Last in the transaction and in order, so that nobody deadlocks.

    The row is updated even if it is there already: that waits for an award in progress, which would otherwise clear the
    mark without having seen this transaction.
    """
    if members:
        connection.execute(query("store", "mark_dirty"), {"members": sorted(members)})
