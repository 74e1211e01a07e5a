"""Receivers of outgoing webhooks, and the life of a message to one.

A message is queued when its change is published, claimed by whoever sends, and then delivered,
tried again later, or parked until somebody replays it. A claim is a lease: what a killed sender
held is due again when it is over. So a message may arrive twice; its id is the same.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken

from sql import audit
from sql.changes import KINDS
from sql.db import DbConnection
from sql.named_queries import query
from sql.tokens import TokenUnreadableError

#: Before the second, third, ... attempt, in seconds; a third is added or taken by chance. The
#: schedule of Standard Webhooks: about three days and three hours together.
WAITS_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: A message that was not accepted for so long is parked, also if its receiver was never reached.
LONGEST: Final = timedelta(days=5)
#: A claim that was not settled by then is due again.
LEASE_SECONDS: Final = 60.0
#: After so many failures in a row, a receiver rests before the next attempt, each time for longer.
FAILURES_MAX: Final = 3
REST_SECONDS: Final = 5.0
REST_SECONDS_MAX: Final = 300.0
#: The longest rest that a receiver may ask for with Retry-After.
ASKED_SECONDS_MAX: Final = 3_600.0
#: For how long accepted messages are kept.
KEEP_DAYS: Final = 90
ERROR_CHARACTERS_MAX: Final = 300
_PREFIX_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class ReceiverRow:
    """A receiver in a list."""

    #: Number of the receiver in the database.
    receiver_no: int
    name: str
    url: str
    #: Kinds of changes that it is told; empty: all.
    kinds: Sequence[str]
    created_at: datetime
    #: From then on it is told nothing; None: in use.
    ended_at: datetime | None
    end_reason: str | None
    #: Attempts that failed since the last success.
    failures: int
    #: When the first of them was; None: the last one succeeded.
    failing_since: datetime | None
    #: Why the last attempt failed that did.
    last_error: str | None
    last_delivered_at: datetime | None
    #: How many secrets sign.
    secrets: int
    #: Messages that are still tried.
    waiting: int
    #: Messages that were given up.
    parked: int
    #: Since when the oldest waiting one is tried.
    oldest_at: datetime | None

    @property
    def state(self) -> str:
        """In a few words."""
        if self.ended_at is not None:
            return "ended"
        if not self.secrets:
            return "needs its secret"
        return "failing" if self.failing_since is not None else "in use"


@dataclass(frozen=True)
class ReadyReceiver:
    """A receiver to which something may be sent now."""

    #: Number of the receiver in the database.
    receiver_no: int
    #: What the ids of its messages begin with.
    message_prefix: str
    url: str
    #: Attempts that failed since the last success.
    failures: int


@dataclass(frozen=True)
class ClaimedMessage:
    """A change that is to be sent to a receiver."""

    change_no: int
    #: How often it was sent, this time included.
    attempts: int
    kind: str
    member_id: int
    balance_points: int
    #: When the change was entered.
    happened_at: datetime
    data: dict[str, Any]

    def message_id(self, receiver: ReadyReceiver) -> str:
        """The same at every attempt."""
        return f"msg_{receiver.message_prefix}_{self.change_no}"

    def body(self) -> bytes:
        """The message as JSON: type, timestamp and data."""
        data = {
            "change_no": self.change_no,
            "member_id": self.member_id,
            "balance_points": self.balance_points,
            **self.data,
        }
        return message_body(self.kind, self.happened_at, data)


@dataclass(frozen=True)
class DeliveryTimes:
    """Messages that a receiver accepted in some time, and seconds from the change to it."""

    #: Name of the receiver.
    name: str
    delivered: int
    #: Half of the messages were accepted within so many seconds.
    seconds_p50: float
    #: 95 % of the messages were accepted within so many seconds.
    seconds_p95: float


def message_body(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    """The body of a message as Standard Webhooks recommend it."""
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": kind, "timestamp": stamp, "data": data}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def set_receiver(
    connection: DbConnection, name: str, url: str, kinds: Sequence[str] = ()
) -> tuple[int, bool]:
    """Makes the receiver, or changes the one of this name, which is in use again.

    Returns its number, and whether it is new. The caller has checked the URL, and commits. Raises
    ValueError for a kind that does not exist.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"{', '.join(unknown)}: kinds of changes are {', '.join(KINDS)}")
    prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(12))
    parameters = {
        "name": name, "message_prefix": prefix, "url": url, "kinds": sorted(set(kinds)),
    }  # fmt: skip
    row = connection.execute(query("receivers", "set_receiver"), parameters).fetchone()
    assert row is not None
    return int(row[0]), bool(row[1])


def end_receiver(connection: DbConnection, receiver_no: int) -> None:
    """It is told nothing more, by an operator's will; what waits for it is dropped.

    The caller commits.
    """
    connection.execute(
        query("receivers", "end_receiver"),
        {"receiver_no": receiver_no, "reason": "ended by an operator"},
    )
    connection.execute(query("receivers", "drop_deliveries"), {"receiver_no": receiver_no})


def gone(connection: DbConnection, receiver_no: int) -> None:
    """It answered 410: it is told nothing more; what waits is parked. The caller commits."""
    reason = "it answered HTTP 410: it wants no more messages"
    connection.execute(
        query("receivers", "end_receiver"), {"receiver_no": receiver_no, "reason": reason}
    )


def receivers(connection: DbConnection) -> list[ReceiverRow]:
    """All receivers by name, also ended ones."""
    return [
        ReceiverRow(*row) for row in connection.execute(query("receivers", "receivers")).fetchall()
    ]


def receiver(connection: DbConnection, name: str) -> ReceiverRow | None:
    """The receiver of this name."""
    return next((row for row in receivers(connection) if row.name == name), None)


def secrets_of(connection: DbConnection, receiver_no: int, key: bytes) -> list[str]:
    """The secrets that sign now, the newest first.

    Raises TokenUnreadableError where they were encrypted with another key.
    """
    rows = connection.execute(
        query("receivers", "secrets"), {"receiver_no": receiver_no}
    ).fetchall()
    try:
        return [Fernet(key).decrypt(bytes(row[0])).decode() for row in rows]
    except InvalidToken as error:
        raise TokenUnreadableError(TokenUnreadableError.MESSAGE) from error


def add_secret(
    connection: DbConnection, receiver_no: int, secret: str, key: bytes, *, overlap_seconds: float
) -> None:
    """Signs with this secret from now on, and with the ones before for a while longer.

    The caller commits.
    """
    row = connection.execute(
        query("receivers", "add_secret"),
        {"receiver_no": receiver_no, "secret": Fernet(key).encrypt(secret.encode())},
    ).fetchone()
    assert row is not None
    connection.execute(
        query("receivers", "expire_secrets"),
        {"receiver_no": receiver_no, "but": row[0], "overlap_seconds": overlap_seconds},
    )


def ready(connection: DbConnection) -> list[ReadyReceiver]:
    """Receivers for which something is due, and which do not rest."""
    return [
        ReadyReceiver(*row) for row in connection.execute(query("receivers", "ready")).fetchall()
    ]


def claim(connection: DbConnection, receiver_no: int, limit: int) -> list[ClaimedMessage]:
    """Up to `limit` messages that are due, for this sender alone until the lease ends.

    The caller commits.
    """
    parameters = {"receiver_no": receiver_no, "limit": limit, "lease_seconds": LEASE_SECONDS}
    rows = connection.execute(query("receivers", "claim"), parameters).fetchall()
    return sorted((ClaimedMessage(*row) for row in rows), key=lambda message: message.change_no)


def accept(connection: DbConnection, receiver_no: int, changes: Sequence[int], status: int) -> None:
    """The receiver accepted these. The caller commits."""
    parameters = {"receiver_no": receiver_no, "changes": list(changes), "status": status}
    connection.execute(query("receivers", "accept"), parameters)


def fail(
    connection: DbConnection, receiver_no: int, message: ClaimedMessage, *,
    status: int | None, error: str, asked_seconds: float | None,
) -> str:  # fmt: skip
    """The receiver did not accept a message, which is tried again later, or parked.

    Returns its state. The caller commits.

    Args:
        connection: To the ledger.
        receiver_no: Who did not accept it.
        message: The message.
        status: The answer; None: none came.
        error: Why, for an operator.
        asked_seconds: How long the receiver asks to wait.
    """
    last = message.attempts > len(WAITS_SECONDS)
    wait = None if last else WAITS_SECONDS[message.attempts - 1] * _chance()
    asked = None if asked_seconds is None else min(asked_seconds, ASKED_SECONDS_MAX)
    text = error[:ERROR_CHARACTERS_MAX]
    row = connection.execute(
        query("receivers", "fail"),
        {
            "receiver_no": receiver_no, "change_no": message.change_no, "status": status,
            "error": text, "longest": LONGEST,
            "wait_seconds": None if wait is None else max(wait, asked or 0),
        },
    ).fetchone()  # fmt: skip
    connection.execute(
        query("receivers", "note_failure"),
        {
            "receiver_no": receiver_no, "error": text, "asked_seconds": asked,
            "failures_max": FAILURES_MAX, "rest_seconds": REST_SECONDS,
            "rest_seconds_max": REST_SECONDS_MAX,
        },
    )  # fmt: skip
    return str(row[0]) if row else "delivered"


def _chance() -> float:
    return 2 / 3 + secrets.randbelow(667) / 1_000


def release(connection: DbConnection, receiver_no: int, changes: Sequence[int]) -> None:
    """Gives claimed messages back that were not sent. The caller commits."""
    parameters = {"receiver_no": receiver_no, "changes": list(changes)}
    connection.execute(query("receivers", "release"), parameters)


def park_old(connection: DbConnection) -> int:
    """Parks what failing receivers did not accept for too long; returns how many.

    The caller commits.
    """
    return connection.execute(query("receivers", "park_old"), {"longest": LONGEST}).rowcount


def replay(connection: DbConnection, name: str | None = None) -> int:
    """Makes parked and failed messages due at once, of one receiver or of all; how many.

    The caller commits.
    """
    count = connection.execute(query("receivers", "replay"), {"name": name}).rowcount
    if count:
        subject = f"receiver {name}" if name else "receivers"
        audit.record(connection, "receiver.replay", subject, records=count)
    return count


def forget(connection: DbConnection, days: int = KEEP_DAYS) -> int:
    """Removes accepted messages of long ago; returns how many. The caller commits."""
    return connection.execute(query("receivers", "forget"), {"days": days}).rowcount


def times(connection: DbConnection, since: datetime) -> list[DeliveryTimes]:
    """Per receiver, of the messages that were accepted since."""
    rows = connection.execute(query("receivers", "times"), {"since": since}).fetchall()
    return [DeliveryTimes(*row) for row in rows]
