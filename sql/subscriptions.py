"""What became of the subscriptions of webhooks that the program makes at billing systems."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from sql.db import DbConnection, connect
from sql.named_queries import query


class SubscriptionsBusyError(RuntimeError):
    """Another process looks after the same subscriptions and did not end in time."""


@dataclass(frozen=True)
class SubscriptionState:
    """What the last check of a connection's subscriptions came to; the table has the words."""

    #: Name of the connection (its Prefect block).
    connection: str
    system: str
    #: One of the words that the table's comment explains, e.g. "subscribed".
    state: str
    #: What is wrong and who must act; "": nothing.
    detail: str
    #: The vendor's ids of those that the program made, and whose secret is stored.
    vendor_ids: Sequence[str]
    #: When the first of them ends; None: they do not end.
    expires_at: datetime | None
    #: The settings of the check.
    basis: str
    #: When it was, UTC.
    checked_at: datetime
    #: When the next one is due, UTC.
    next_at: datetime


@contextmanager
def exclusive(dsn: str, key: str, *, wait_seconds: float) -> Iterator[None]:
    """Holds a lock that vanishes with its holder.

    Args:
        dsn: The ledger.
        key: What is locked: a connection, or a system.
        wait_seconds: How long another holder is waited for.

    Raises:
        SubscriptionsBusyError: It did not end in time.
    """
    with connect(dsn) as connection:
        connection.autocommit = True
        try:
            wait_ms = f"{max(1, round(wait_seconds * 1000))}ms"
            connection.execute(query("webhooks", "set_lock_timeout"), {"wait_ms": wait_ms})
            try:
                connection.execute(query("subscriptions", "lock"), {"key": key})
            except psycopg.errors.LockNotAvailable:
                raise SubscriptionsBusyError(
                    f"another process looks after the webhook subscriptions of {key}"
                ) from None
            finally:
                connection.execute(query("webhooks", "set_lock_timeout"), {"wait_ms": "0"})
            try:
                yield
            finally:
                if not connection.closed:
                    connection.execute(query("subscriptions", "unlock"), {"key": key})
        finally:
            if not connection.closed:
                connection.autocommit = False


def read(db: DbConnection, connection: str) -> SubscriptionState | None:
    """The last check of a connection; None: there was none."""
    row = db.execute(query("subscriptions", "read"), {"connection": connection}).fetchone()
    return None if row is None else SubscriptionState(*row)


def read_all(db: DbConnection) -> dict[str, SubscriptionState]:
    """The last check of each connection that had one, by its name."""
    rows = db.execute(query("subscriptions", "all")).fetchall()
    return {row[0]: SubscriptionState(*row) for row in rows}


def addresses(db: DbConnection, connection: str) -> list[str]:
    """The ids of a connection's addresses in use, without a look at their events."""
    rows = db.execute(query("subscriptions", "addresses"), {"connection": connection}).fetchall()
    return [str(row[0]) for row in rows]


def save(db: DbConnection, state: SubscriptionState) -> None:
    """Keeps what a check came to; the caller commits."""
    db.execute(query("subscriptions", "save"), {**vars(state), "vendor_ids": [*state.vendor_ids]})


def add_id(db: DbConnection, connection: str, vendor_id: str) -> None:
    """Remembers a subscription whose secret is stored; the caller commits both together."""
    values = {"connection": connection, "vendor_id": vendor_id}
    db.execute(query("subscriptions", "add_id"), values)
