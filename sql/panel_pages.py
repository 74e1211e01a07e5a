"""What the pages of Prefect's UI show of the ledger.

These are the connections as they are now, and synchronisations over time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sql.db import DbConnection
from sql.named_queries import query


@dataclass(frozen=True)
class AccountState:
    """How far an account has come.

    `complete_up_to`: everything that changed at the vendor before it is here.

    `corrections` were refused, so that `points_at_stake` stand that should not.
    """

    #: When the last run was stored; None: none was.
    last_success_at: datetime | None
    #: Every change before this instant is stored.
    complete_up_to: datetime | None
    #: Records that wait to be accepted.
    open_rejects: int
    #: Corrections that were refused.
    corrections: int = 0
    #: Points that stay in the ledger until the corrections are accepted.
    points_at_stake: int = 0


@dataclass(frozen=True)
class LastAttempt:
    """How the latest run of a connection ended: succeeded or failed."""

    #: succeeded, failed or interrupted.
    outcome: str
    finished_at: datetime
    #: Prefect flow run, or the command.
    run_id: str
    #: Why it failed, without personal data; None: it did not.
    error: str | None


@dataclass(frozen=True)
class Address:
    """An address for webhooks that is in use."""

    #: Name of the connection (its Prefect block).
    connection: str
    system: str
    #: The unguessable part of its address.
    endpoint_id: str
    #: none, awaited, seen or confirmed.
    handshake: str
    #: Reached without its id as well.
    is_default: bool
    #: Whether a secret is in force.
    has_secret: bool
    #: When the last event arrived.
    last_event_at: datetime | None


@dataclass(frozen=True)
class Totals:
    """A connection's attempts in some time, or ("") those of all.

    Response times in milliseconds; None: nothing was asked.
    """

    #: Name of the connection (its Prefect block).
    connection: str
    succeeded: int
    failed: int
    interrupted: int
    #: Records that were read.
    records: int
    #: Sales that were stored for the first time.
    new_sales: int
    #: Sales of which a newer version was stored.
    changed_sales: int
    #: Records that could not be used.
    rejected: int
    #: Ledger entries posted for the connection's sales, by whichever run or webhook.
    entries: int
    #: Their sum; negative: it takes.
    points: int
    #: Requests to the billing system.
    calls: int
    #: Requests that failed for good.
    failed_calls: int
    #: Requests that were told to slow down.
    throttled: int
    #: Half of the requests were answered within so many milliseconds.
    response_ms_p50: int | None
    #: 95 % of the requests were answered within so many milliseconds.
    response_ms_p95: int | None


@dataclass(frozen=True)
class Slot:
    """A system's attempts in a slot of time. Response times are those of all systems."""

    #: Beginning of the span of time.
    at: datetime
    system: str
    succeeded: int
    failed: int
    #: New and changed sales.
    sales: int
    #: What it adds to the balance; negative: takes.
    points: int
    #: Half of the requests were answered within so many milliseconds.
    response_ms_p50: int | None
    #: 95 % of the requests were answered within so many milliseconds.
    response_ms_p95: int | None


@dataclass(frozen=True)
class Failure:
    """An attempt that did not succeed."""

    at: datetime
    #: Name of the connection (its Prefect block).
    connection: str
    #: failed or interrupted.
    outcome: str
    #: Prefect flow run, or the command.
    run_id: str
    #: Why it failed, without personal data; None: it did not.
    error: str


@dataclass(frozen=True)
class WebhookTotals:
    """A connection's webhooks that arrived in some time; seconds from arrival to the ledger."""

    #: Name of the connection (its Prefect block).
    connection: str
    #: Events that arrived.
    received: int
    #: Events that are in the ledger.
    done: int
    #: Events that were given up.
    parked: int
    #: Half of the events were in the ledger within so many seconds.
    seconds_p50: float | None
    #: 95 % of the events were in the ledger within so many seconds.
    seconds_p95: float | None


def accounts(connection: DbConnection) -> dict[tuple[str, str], AccountState]:
    """By system and account, where anything is known."""
    rows = connection.execute(query("panel_pages", "accounts")).fetchall()
    return {(system, account): AccountState(*state) for system, account, *state in rows}


def last_attempts(connection: DbConnection, names: Sequence[str]) -> dict[str, LastAttempt]:
    """The latest attempt of each connection."""
    rows = connection.execute(
        query("panel_pages", "last_attempts"), {"connections": list(names)}
    ).fetchall()
    return {name: LastAttempt(*attempt) for name, *attempt in rows}


def addresses(connection: DbConnection) -> list[Address]:
    """Where webhooks are received."""
    return [
        Address(*row) for row in connection.execute(query("panel_pages", "addresses")).fetchall()
    ]


def totals(
    connection: DbConnection, since: datetime, names: Mapping[tuple[str, str], str]
) -> list[Totals]:
    """All together first, as "", then per connection; `names` are those of (system, account).

    None where nothing ran.
    """
    parameters = {
        "since": since,
        "names": list(names.values()),
        "systems": [system for system, _ in names],
        "accounts": [account for _, account in names],
    }
    return [
        Totals(*row)
        for row in connection.execute(query("panel_pages", "totals"), parameters).fetchall()
    ]


def over_time(connection: DbConnection, since: datetime, step: timedelta) -> list[Slot]:
    """Per slot of time and system, from `since` on; slots without an attempt are left out."""
    rows = connection.execute(
        query("panel_pages", "over_time"), {"since": since, "step": step}
    ).fetchall()
    return [Slot(*row) for row in rows]


def last_failures(connection: DbConnection, since: datetime, limit: int) -> list[Failure]:
    """The latest first."""
    return [
        Failure(*row)
        for row in connection.execute(
            query("panel_pages", "last_failures"), {"since": since, "limit": limit}
        ).fetchall()
    ]


def webhooks_over(connection: DbConnection, since: datetime) -> list[WebhookTotals]:
    """Per connection, of those that arrived since."""
    return [
        WebhookTotals(*row)
        for row in connection.execute(
            query("panel_pages", "webhooks_over"), {"since": since}
        ).fetchall()
    ]
