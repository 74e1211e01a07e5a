"""Webhook endpoints, and the life of an event.

An event is stored before it is acknowledged, claimed by a run, and then done or parked.

A claim is a lease: one that is not finished when its time is over is claimed again, so a killed run
loses nothing. `finish`, `fail` and `park` touch only what the run still holds.

Who claims holds `claiming` and listens to CHANNEL, on which whoever stores events gives a nudge;
where nobody holds it, the one who stores starts a run. A holder whose time is over is relieved by
the next, which waits for it.
"""

import hmac
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import psycopg
from cryptography.fernet import Fernet, InvalidToken
from psycopg.types.json import Jsonb

from sql import audit
from sql.db import DbConnection
from sql.named_queries import query
from sql.sealing import keyring
from sql.tokens import TokenUnreadableError

#: Kind of an event that is a vendor's verification of an endpoint that awaits one; nothing proves
#: it yet.
HANDSHAKE: Final = "handshake"
#: Postgres channel of the nudges.
CHANNEL: Final = "billing_webhook"
#: A claim that was not finished by then is another run's.
LEASE_SECONDS: Final = 300.0
#: The last of these attempts parks the event: with the waits between them, about ten hours.
ATTEMPTS_MAX: Final = 12
BACKOFF_SECONDS: Final = 5.0
BACKOFF_SECONDS_MAX: Final = 7200.0


@dataclass(frozen=True)
class Endpoint:
    """Where an account's webhooks come in. `secrets` are those active now, the newest first."""

    #: Number of the endpoint in the database.
    endpoint_no: int
    #: The unguessable part of its address.
    endpoint_id: str
    system: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: Account at the billing system.
    account: str | None
    #: What was set for this address, e.g. the signature scheme. No secrets.
    options: Mapping[str, Any]
    #: Only senders in these networks are heard; empty: all.
    allowed_networks: Sequence[str]
    #: Largest body, in bytes.
    body_bytes_max: int
    #: Rate limit of the endpoint.
    events_per_minute: int
    #: none, awaited, seen or confirmed.
    handshake: str
    #: From then on it answers 410; None: in use.
    disabled_at: datetime | None
    #: Reached without its id as well.
    is_default: bool
    #: Secrets in force, the newest first.
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True)
class NewEvent:
    """A verified delivery, as received. `headers` hold no signature and no credential."""

    #: Number of the endpoint in the database.
    endpoint_no: int
    #: Recognises a repeated delivery: the sender's event id, or a fingerprint.
    dedup_key: str
    kind: str
    #: Headers that reading it again needs; no signatures.
    headers: Mapping[str, str]
    #: As received.
    body: bytes = field(repr=False)
    source_ip: str | None
    #: When it arrived.
    received_at: datetime


@dataclass(frozen=True)
class ClaimedEvent:
    """An event that a run works on, with what its endpoint knows."""

    event_no: int
    #: Number of the endpoint in the database.
    endpoint_no: int
    system: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: Account at the billing system.
    account: str | None
    #: What was set for this address, e.g. the signature scheme. No secrets.
    options: Mapping[str, Any]
    #: Recognises a repeated delivery: the sender's event id, or a fingerprint.
    dedup_key: str
    kind: str
    headers: Mapping[str, str]
    #: As received.
    body: bytes = field(repr=False)
    #: When it arrived.
    received_at: datetime
    #: How often a run has claimed it, this time included.
    attempts: int


@dataclass(frozen=True)
class EventRow:
    """An event as the page "Webhooks" shows it."""

    event_no: int
    #: Name of the connection (its Prefect block).
    connection: str
    #: When it arrived.
    received_at: datetime
    #: What it is about, in the sender's words.
    kind: str
    #: received, claimed, failed, parked or done.
    state: str
    #: How often a run has claimed it.
    attempts: int
    #: Why it is not in the ledger, or what is to be known of one that is; None: nothing.
    reason: str | None
    #: Why it could not be used at first; None: it never failed.
    first_reason: str | None
    #: Ids of the documents that it brought or changed.
    documents: Sequence[str]
    #: Points that these documents give now.
    points: int


@dataclass(frozen=True)
class Backlog:
    """Events of one connection that are not in the ledger yet."""

    system: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: Events that are not in the ledger yet.
    waiting: int
    #: Events that were given up.
    parked: int
    #: When the oldest waiting one arrived.
    oldest_at: datetime | None


def endpoint_of(row: Sequence[Any], key: bytes) -> Endpoint:
    """The endpoint of a row of the query `endpoint`, secrets decrypted with the installation's key.

    Raises TokenUnreadableError where they were encrypted with another one.
    """
    try:
        secrets = [Fernet(key).decrypt(bytes(secret)).decode() for secret in row[-1]]
    except InvalidToken as error:
        raise TokenUnreadableError(TokenUnreadableError.MESSAGE) from error
    return Endpoint(*[*row[:-1], secrets])


def endpoint(connection: DbConnection, endpoint_id: str | None, key: bytes) -> Endpoint | None:
    """The endpoint of an address, the default one for None; None if there is none.

    A disabled endpoint is returned too, with `disabled_at`.
    """
    row = connection.execute(query("webhooks", "endpoint"), {"endpoint_id": endpoint_id}).fetchone()
    return None if row is None else endpoint_of(row, key)


def store_parameters(events: Sequence[NewEvent]) -> dict[str, Any]:
    """Parameters of the query `store`."""
    return {
        "endpoint_nos": [event.endpoint_no for event in events],
        "dedup_keys": [event.dedup_key for event in events],
        "kinds": [event.kind for event in events],
        "headers": [Jsonb(dict(event.headers)) for event in events],
        "body_bytes": [len(event.body) for event in events],
        "bodies": [keyring().pack(event.body) for event in events],
        "source_ips": [event.source_ip for event in events],
        "received_ats": [event.received_at for event in events],
    }


def store_event(connection: DbConnection, event: NewEvent) -> int | None:
    """Stores an event; its number, or None if it is known already.

    The caller commits, then acknowledges.
    """
    row = connection.execute(query("webhooks", "store"), store_parameters([event])).fetchone()
    return None if row is None else int(row[2])


def claim_events(
    connection: DbConnection,
    limit: int,
    *,
    run_id: str,
    lease_seconds: float = LEASE_SECONDS,
    busy: Collection[int] = (),
) -> list[ClaimedEvent]:
    """Up to `limit` events that are due, in order of arrival.

    They are for this run alone until the lease ends. The caller commits.

    Endpoints in `busy` are left out: the run has events of theirs under way.
    """
    parameters = {
        "limit": limit,
        "run_id": run_id,
        "lease_seconds": lease_seconds,
        "busy": list(busy),
    }
    rows = connection.execute(query("webhooks", "claim"), parameters).fetchall()
    opened = ([*row[:9], keyring().unpack(bytes(row[9])), *row[10:]] for row in rows)
    return sorted((ClaimedEvent(*row) for row in opened), key=lambda event: event.event_no)


def finish(
    connection: DbConnection,
    event_nos: Sequence[int],
    *,
    run_id: str,
    sync_id: int | None,
    reason: str | None = None,
    documents: Collection[tuple[int, str]] = (),
) -> int:
    """Marks events as in the ledger, or, with a reason, as of no concern to it.

    `documents` are pairs of an event's number and the id of a document that it brought. Returns how
    many of the events the run still held.
    """
    parameters = {
        "event_nos": list(event_nos),
        "run_id": run_id,
        "sync_id": sync_id,
        "reason": reason,
        "of_events": [event_no for event_no, _ in documents],
        "documents": [document for _, document in documents],
    }
    return connection.execute(query("webhooks", "finish"), parameters).rowcount


def fail(
    connection: DbConnection,
    event_nos: Sequence[int],
    *,
    run_id: str,
    reason: str,
    wait_seconds: float = 0.0,
) -> int:
    """Marks events to be tried again, each time later, not before `wait_seconds`.

    After ATTEMPTS_MAX attempts they are parked.
    """
    parameters = {
        "event_nos": list(event_nos), "run_id": run_id, "reason": reason,
        "wait_seconds": wait_seconds,
        "attempts_max": ATTEMPTS_MAX, "backoff_seconds": BACKOFF_SECONDS,
        "backoff_seconds_max": BACKOFF_SECONDS_MAX,
    }  # fmt: skip
    return connection.execute(query("webhooks", "fail"), parameters).rowcount


def park(connection: DbConnection, event_nos: Sequence[int], *, run_id: str, reason: str) -> int:
    """Parks events that cannot be used as they are: they wait for a replay."""
    parameters = {"event_nos": list(event_nos), "run_id": run_id, "reason": reason}
    return connection.execute(query("webhooks", "park"), parameters).rowcount


def replay(
    connection: DbConnection, *, event_nos: Sequence[int] | None = None, of: str | None = None
) -> int:
    """Makes parked and failed events due at once; returns how many.

    The ones of `event_nos`, or all of the connection `of`, or all.
    """
    parameters = {"event_nos": None if event_nos is None else list(event_nos), "connection": of}
    count = connection.execute(query("webhooks", "replay"), parameters).rowcount
    if count:
        audit.record(
            connection,
            "webhooks.replay",
            of or "webhooks",
            records=count,
            details={"events": "all" if event_nos is None else list(event_nos)[:100]},
        )
    return count


def next_due_seconds(connection: DbConnection) -> float | None:
    """Seconds until an event is due, not positive if one is; None if none waits."""
    row = connection.execute(query("webhooks", "next_due")).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def backlog(connection: DbConnection) -> list[Backlog]:
    """Waiting and parked events, per connection that has any."""
    return [Backlog(*row) for row in connection.execute(query("webhooks", "backlog")).fetchall()]


def states(connection: DbConnection) -> dict[str, int]:
    """How many events are in which state; each counts once, however often it was tried."""
    return dict(connection.execute(query("webhooks", "states")).fetchall())


def latest_no(connection: DbConnection) -> int:
    """The number of the latest event; 0 before the first."""
    row = connection.execute(query("webhooks", "latest_no")).fetchone()
    return int(row[0]) if row else 0


def latest(connection: DbConnection, limit: int, *, state: str | None = None) -> list[EventRow]:
    """The latest events, newest first; with `state`, those in it."""
    return _latest(connection, limit=limit, state=state)


def first_after(
    connection: DbConnection, endpoint_no: int, after_no: int, kind: str
) -> EventRow | None:
    """The event of that kind that arrived at an endpoint after another event; None: none yet."""
    rows = _latest(connection, limit=1, after=after_no, endpoint_no=endpoint_no, kind=kind)
    return rows[0] if rows else None


def _latest(connection: DbConnection, **wanted: Any) -> list[EventRow]:
    parameters = {"after": 0, "state": None, "endpoint_no": None, "kind": None, **wanted}
    rows = connection.execute(query("webhooks", "latest"), parameters).fetchall()
    return [EventRow(*row) for row in rows]


def nudge(connection: DbConnection) -> None:
    """Wakes whoever claims, once the transaction commits.

    Not in a transaction that stores: such commits are one at a time.
    """
    connection.execute(query("webhooks", "nudge"))


@contextmanager
def claiming(connection: DbConnection, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Held for as long as somebody claims events and listens to CHANNEL; False if another does.

    Vanishes with its holder.

    Needs a connection of its own, in autocommit mode. Whoever waits for the holder to leave is seen
    by it (`is_awaited`).
    """
    row = connection.execute(query("webhooks", "hold_claims")).fetchone()
    held = bool(row and row[0]) or (wait_seconds > 0 and _awaited(connection, wait_seconds))
    try:
        yield held
    finally:
        if held and not connection.closed:
            connection.execute(query("webhooks", "release_claims"))


def _awaited(connection: DbConnection, wait_seconds: float) -> bool:
    connection.execute(
        query("webhooks", "set_lock_timeout"), {"wait_ms": f"{round(wait_seconds * 1000)}ms"}
    )
    try:
        connection.execute(query("webhooks", "await_claims"))
    except psycopg.errors.LockNotAvailable:
        return False
    finally:
        connection.execute(query("webhooks", "set_lock_timeout"), {"wait_ms": "0"})
    return True


def is_awaited(connection: DbConnection) -> bool:
    """Whether somebody waits for the holder of `claiming` to leave."""
    row = connection.execute(query("webhooks", "claims_locked"), {"granted": False}).fetchone()
    return bool(row and row[0])


def any_endpoint(connection: DbConnection) -> bool:
    """Whether webhooks are expected, or sent, at all: then one run always listens."""
    row = connection.execute(query("webhooks", "any_endpoint")).fetchone()
    return bool(row and row[0])


def is_claimed(connection: DbConnection) -> bool:
    """Whether somebody holds `claiming`."""
    row = connection.execute(query("webhooks", "claims_locked"), {"granted": True}).fetchone()
    return bool(row and row[0])


def add_secret(
    connection: DbConnection, endpoint_no: int, secret: str, key: bytes, *, overlap_seconds: float
) -> int:
    """A further active secret; those before it end after `overlap_seconds`.

    Returns its number. The caller commits.
    """
    sealed = {"endpoint_no": endpoint_no, "secret": Fernet(key).encrypt(secret.encode())}
    row = connection.execute(query("webhooks", "add_secret"), sealed).fetchone()
    assert row is not None
    ending = {"endpoint_no": endpoint_no, "but": row[0], "overlap_seconds": overlap_seconds}
    connection.execute(query("webhooks", "expire_secrets"), ending)
    return int(row[0])


def had_secret(connection: DbConnection, endpoint_no: int, secret: str, key: bytes) -> bool:
    """Whether it is, or was once, a secret of the endpoint. Raises TokenUnreadableError."""
    rows = connection.execute(
        query("webhooks", "secrets_of"), {"endpoint_no": endpoint_no}
    ).fetchall()
    try:
        return any(
            hmac.compare_digest(Fernet(key).decrypt(bytes(stored)), secret.encode())
            for (stored,) in rows
        )
    except InvalidToken as error:
        raise TokenUnreadableError(TokenUnreadableError.MESSAGE) from error


def set_handshake(connection: DbConnection, endpoint_no: int, *, now: str, then: str) -> bool:
    """Moves the endpoint's handshake from `now` to `then`; False if it was elsewhere.

    The caller commits.
    """
    parameters = {"endpoint_no": endpoint_no, "from": now, "to": then}
    return connection.execute(query("webhooks", "set_handshake"), parameters).rowcount == 1
