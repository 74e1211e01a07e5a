"""Corrections that were refused although the sale they correct was accepted.

Also reads what is known of such a sale, in order to accept the correction after all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query
from sql.sync import AccountKey

#: A stored document that earns: what a correction of it may leave out.
STANDING: Final = pl.Schema(
    {
        "external_id": pl.String(),
        "kind": pl.String(),
        "customer_external_id": pl.String(),
        "customer_phone": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "issued_at": UTC_US,
        "updated_at": UTC_US,
        "time_known": pl.Boolean(),
    }
)


@dataclass(frozen=True)
class RefusedCorrection:
    """A record that would have changed a sale in the ledger.

    `points_at_stake` None: it names no stored sale.
    """

    #: Id of the document at the billing system.
    external_id: str | None
    invoice_number: str | None
    #: Points that stay in the ledger until the corrections are accepted.
    points_at_stake: int | None
    #: Why, in one line.
    reason: str
    first_seen_at: datetime


@dataclass(frozen=True)
class AccountRefused:
    """The open ones of an account: how many, the points that stand, and the largest of them."""

    system: str
    #: Account at the billing system.
    account: str
    #: Refused corrections of the account.
    records: int
    #: Points that stay in the ledger until the corrections are accepted.
    points_at_stake: int
    #: Those with the most points at stake.
    largest: list[RefusedCorrection] = field(default_factory=list)


def standing(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> pl.DataFrame:
    """What is stored of these documents, where they earn or take (STANDING)."""
    wanted = account.parameters(ids=json.dumps(list(external_ids)))
    return read_frame(connection, query("refused", "standing"), wanted, STANDING)


def phones_of_customers(
    connection: DbConnection, account: AccountKey, customers: Sequence[str]
) -> Mapping[str, str]:
    """The phones of these customers of the account.

    Only where all of a customer's stored sales are one member's.
    """
    wanted = account.parameters(customers=list(customers))
    return dict(connection.execute(query("refused", "phones_of_customers"), wanted).fetchall())


def stored_ids(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> set[str]:
    """Those of the documents that are stored, void or not."""
    wanted = account.parameters(ids=list(external_ids))
    return {row[0] for row in connection.execute(query("refused", "stored_ids"), wanted).fetchall()}


def classify(
    connection: DbConnection,
    account: AccountKey,
    sync_id: int,
    taking: Sequence[tuple[int, int]] = (),
) -> int:
    """Marks the synchronisation's rejects that leave old points standing; how many are new.

    Args:
        connection: Whose transaction it is.
        account: Of the rejects.
        sync_id: The synchronisation that rejected them.
        taking: Places (page, record) of rejected records that take points back by themselves.
    """
    places = {"pages": [page for page, _ in taking], "records": [record for _, record in taking]}
    wanted = account.parameters(sync_id=sync_id, **places)
    return connection.execute(query("refused", "classify"), wanted).rowcount


def open_corrections(
    connection: DbConnection, account: AccountKey | None = None, *, limit: int = 20
) -> list[AccountRefused]:
    """Refused corrections that stand, per account that has any, each with its `limit` largest."""
    wanted = {"system": None, "account": None} if account is None else account.parameters()
    refused: dict[tuple[str, str], AccountRefused] = {}
    for system, name, *correction, records, points in connection.execute(
        query("refused", "open_corrections"), {**wanted, "limit": limit}
    ):
        of = refused.setdefault(
            (system, name), AccountRefused(system, name, int(records), int(points))
        )
        of.largest.append(RefusedCorrection(*correction))
    return list(refused.values())


def note(
    connection: DbConnection, account: AccountKey, sync_id: int, notes: Sequence[tuple[str, str]]
) -> None:
    """Keeps what was read otherwise than it is written: (document, note)."""
    if notes:
        columns = {"ids": [key for key, _ in notes], "notes": [text for _, text in notes]}
        connection.execute(query("refused", "note"), account.parameters(sync_id=sync_id, **columns))
