"""Sales that came by webhook.

They are stored by a kind of synchronisation of their own. What an earlier event announced of a
document is remembered here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey


@dataclass(frozen=True)
class EventCount:
    """Events of one run in one state, and how long they took from arrival, in seconds."""

    #: done, failed, parked or claimed.
    state: str
    #: How many events.
    events: int
    #: Half of the events were in the ledger within so many seconds.
    seconds_p50: float | None
    #: 99 % of the events were in the ledger within so many seconds.
    seconds_p99: float | None


@dataclass(frozen=True)
class Parked:
    """Events that were given up for one reason."""

    system: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: Why, in one line.
    reason: str
    #: How many events.
    events: int
    #: When the oldest of them arrived.
    oldest_at: datetime
    #: Number of the newest of them.
    latest_no: int


def begin(
    connection: DbConnection, account: AccountKey, run_id: str, streams: Sequence[str]
) -> int:
    """Begins a synchronisation of what webhooks bring; interrupted polls stay as they are.

    Returns its number.
    """
    states = {name: {"since": None, "until": None, "complete": True} for name in streams}
    parameters = account.parameters(run_id=run_id, streams=Jsonb(states))
    row = connection.execute(query("webhook_documents", "begin"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def latest(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> dict[str, datetime]:
    """When the latest event about each of these documents happened, where one was noted."""
    return dict(
        connection.execute(
            query("webhook_documents", "latest"), account.parameters(ids=list(external_ids))
        ).fetchall()
    )


def note(
    connection: DbConnection, account: AccountKey, documents: Mapping[str, tuple[datetime, bool]]
) -> None:
    """Remembers when the latest event about each document happened.

    Remembers as well whether the event named the document by its number.
    """
    if not documents:
        return
    parameters = account.parameters(
        ids=list(documents),
        times=[at for at, _ in documents.values()],
        by_number=[by_number for _, by_number in documents.values()],
    )
    connection.execute(query("webhook_documents", "note"), parameters)


def ids_of_numbers(
    connection: DbConnection, account: AccountKey, numbers: Sequence[str]
) -> dict[str, list[str]]:
    """The ids of stored documents with these printed numbers, where they are not the same."""
    parameters = account.parameters(numbers=list(numbers))
    return dict(
        connection.execute(query("webhook_documents", "ids_of_numbers"), parameters).fetchall()
    )


def lists_lack_numbers(connection: DbConnection, account: AccountKey) -> bool:
    """Whether the account's lists have ids and no numbers.

    A document that an event named by its number cannot be found among such rows.
    """
    row = connection.execute(
        query("webhook_documents", "lists_lack_numbers"), account.parameters()
    ).fetchone()
    return bool(row and row[0])


def not_void(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> set[str]:
    """Which of the documents are stored and not void."""
    return _which(connection, "not_void", account, external_ids)


def void_documents(
    connection: DbConnection, account: AccountKey, external_ids: Sequence[str]
) -> set[str]:
    """Which of the documents are stored as void."""
    return _which(connection, "void_documents", account, external_ids)


def _which(
    connection: DbConnection, name: str, account: AccountKey, external_ids: Sequence[str]
) -> set[str]:
    """Those of the ids that the query `name` finds."""
    parameters = account.parameters(ids=list(external_ids))
    rows = connection.execute(query("webhook_documents", name), parameters).fetchall()
    return {row[0] for row in rows}


def event_counts(connection: DbConnection, run_id: str) -> list[EventCount]:
    """What became of the events that a run claimed last."""
    return [
        EventCount(*row)
        for row in connection.execute(
            query("webhook_documents", "latencies"), {"run_id": run_id}
        ).fetchall()
    ]


def parked(connection: DbConnection, *, limit: int) -> list[Parked]:
    """Why events are parked, the most frequent reason first."""
    return [
        Parked(*row)
        for row in connection.execute(
            query("webhook_documents", "parked"), {"limit": limit}
        ).fetchall()
    ]
