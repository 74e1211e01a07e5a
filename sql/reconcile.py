"""What is stored of an account, to be held against what its billing system says."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query
from sql.sync import AccountKey

#: A document as both sides know it.
DOCUMENT: Final = pl.Schema(
    {
        "external_id": pl.String(),
        "invoice_number": pl.String(),
        "kind": pl.String(),
        "status": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "issued_at": UTC_US,
    }
)


def documents(
    connection: DbConnection,
    account: AccountKey,
    since: datetime,
    until: datetime,
    listed: Sequence[str],
) -> pl.DataFrame:
    """The stored documents dated from `since` until before `until`, and those named: DOCUMENT."""
    parameters = account.parameters(since=since, until=until, listed=list(listed))
    return read_frame(connection, query("reconcile", "documents"), parameters, DOCUMENT)


def rejected(
    connection: DbConnection, account: AccountKey, listed: Sequence[str]
) -> dict[str, str]:
    """Of the documents named, the reasons of those that are rejected."""
    parameters = account.parameters(listed=list(listed))
    return dict(connection.execute(query("reconcile", "rejected"), parameters).fetchall())
