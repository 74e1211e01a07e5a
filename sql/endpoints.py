"""Webhook endpoints as an administrator sees them: made, listed, rotated, disabled."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from sql.db import DbConnection
from sql.named_queries import query

#: 192 random bits: an address that nobody finds by trying.
_ID_BYTES = 24
BODY_BYTES_MAX = 2**20


@dataclass(frozen=True)
class NewEndpoint:
    """What an endpoint is made of. `account` None: the events name it. No networks: all."""

    system: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: Account at the billing system; None: the events name it.
    account: str | None = None
    #: What was set for this address, e.g. the signature scheme. No secrets.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Only senders in these networks are heard; empty: all.
    allowed_networks: Sequence[str] = ()
    #: Largest body, in bytes.
    body_bytes_max: int = BODY_BYTES_MAX
    #: Rate limit of the endpoint.
    events_per_minute: int = 60_000
    #: Reached without its id as well.
    is_default: bool = False
    #: none, awaited, seen or confirmed.
    handshake: str = "none"


@dataclass(frozen=True)
class Made:
    """An endpoint just made."""

    #: Number of the endpoint in the database.
    endpoint_no: int
    #: The unguessable part of its address.
    endpoint_id: str


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint in a list. `secrets` is how many are active.

    `options` count before `block_options`, which the block says.
    """

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
    #: What the connection's block says; `options` count before it.
    block_options: Mapping[str, Any]
    #: Only senders in these networks are heard; empty: all.
    allowed_networks: Sequence[str]
    #: Reached without its id as well.
    is_default: bool
    #: none, awaited, seen or confirmed.
    handshake: str
    created_at: datetime
    #: From then on it answers 410; None: in use.
    disabled_at: datetime | None
    #: How many secrets are in force.
    secrets: int
    #: How many events were stored.
    events: int
    last_event_at: datetime | None


def create_endpoint(connection: DbConnection, wanted: NewEndpoint) -> Made:
    """Makes an endpoint without a secret; the caller adds one and commits.

    Raises psycopg.errors.UniqueViolation where `is_default` and there is a default one already.
    """
    # (On the command line, what begins with a dash is taken for an option.)
    endpoint_id = next(
        candidate
        for candidate in iter(lambda: secrets.token_urlsafe(_ID_BYTES), "")
        if not candidate.startswith("-")
    )
    parameters = {
        "endpoint_id": endpoint_id, "system": wanted.system, "connection": wanted.connection,
        "account": wanted.account,
        "options": Jsonb(dict(wanted.options)), "allowed_networks": list(wanted.allowed_networks),
        "body_bytes_max": wanted.body_bytes_max, "events_per_minute": wanted.events_per_minute,
        "is_default": wanted.is_default, "handshake": wanted.handshake,
    }  # fmt: skip
    row = connection.execute(query("webhooks", "create_endpoint"), parameters).fetchone()
    assert row is not None
    return Made(int(row[0]), endpoint_id)


def endpoints(connection: DbConnection) -> list[EndpointRow]:
    """All endpoints, the oldest first."""
    return [
        EndpointRow(*row) for row in connection.execute(query("webhooks", "endpoints")).fetchall()
    ]


def set_options(
    connection: DbConnection,
    endpoint_no: int,
    options: Mapping[str, Any],
    block_options: Mapping[str, Any],
) -> None:
    """How its deliveries are signed and read from now on: as was said of it, and as its block says.

    The caller commits.
    """
    values = {
        "endpoint_no": endpoint_no,
        "options": Jsonb(dict(options)),
        "block_options": Jsonb(dict(block_options)),
    }
    connection.execute(query("webhooks", "set_options"), values)


def disable_endpoint(connection: DbConnection, endpoint_id: str) -> bool:
    """It answers 410 from now on; False if there is none in use with this id.

    The caller commits.
    """
    return (
        connection.execute(
            query("webhooks", "disable_endpoint"), {"endpoint_id": endpoint_id}
        ).rowcount
        == 1
    )


def await_handshake(connection: DbConnection, endpoint_no: int) -> None:
    """The vendor's verification may come (again). The caller commits."""
    connection.execute(query("webhooks", "await_handshake"), {"endpoint_no": endpoint_no})
