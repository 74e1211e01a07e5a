"""The audit log: entries, its chain of hashes, and what was seen of Prefect's settings.

Most entries are written by triggers of the tables they are about (sql/migrations/0023_audit.sql);
`record` is for what no table shows.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from sql.db import DbConnection
from sql.named_queries import query

STATUSES: Final = ("success", "error", "pending")
_GENESIS: Final = bytes(32)
_ROWS_AT_ONCE: Final = 2_000


@dataclass(frozen=True)
class Entry:
    """One operation. `details` and `error` hold no secrets and no personal data."""

    #: Position in the chain, from 1, without gaps.
    entry_no: int
    #: When it was written, just before its transaction was committed.
    at: datetime
    #: Who acted, e.g. a user of the operating system or an API key.
    actor: str
    #: What was done, e.g. `points.adjust`.
    operation: str
    #: success, error, or pending: it began, and its end is an entry of its own.
    status: str
    #: What it was done to.
    subject: str
    system: str | None
    #: Account at the billing system.
    account: str | None
    #: Records processed.
    records: int | None
    #: Points posted by it; negative: taken.
    points: int | None
    #: Why it failed, without personal data; None: it did not.
    error: str | None
    #: Prefect flow run, or the command.
    run_id: str | None
    #: Further values, e.g. names of settings that changed.
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Pending:
    """A synchronisation that has begun and not ended."""

    #: System and account.
    subject: str
    started_at: datetime


@dataclass(frozen=True)
class Filter:
    """Which entries; None: all.

    `operation` includes those below it: key is key.create and key.revoke.
    """

    #: Entries from this instant on.
    since: datetime | None = None
    #: Entries before this instant.
    until: datetime | None = None
    actor: str | None = None
    #: An operation, or the group before its dot (`key`).
    operation: str | None = None
    status: str | None = None
    system: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Head:
    """The last entry of the chain.

    Whoever wrote it down elsewhere notices later that an earlier entry was changed, or that the
    end was cut off.
    """

    #: Position in the chain, from 1.
    entry_no: int
    #: Hash of that entry, over all entries before it.
    hash: str

    def to_text(self) -> str:
        """`17:3fa9...`, as it is noted and given to a later check."""
        return f"{self.entry_no}:{self.hash}"

    @classmethod
    def of(cls, text: str) -> "Head":
        """Raises ValueError where `text` is no head."""
        number, _, digest = text.strip().partition(":")
        if (
            not number.isdigit()
            or len(digest) != 2 * len(_GENESIS)
            or set(digest.lower()) - set("0123456789abcdef")
        ):
            raise ValueError("a head is NUMBER:HASH, as `twezah audit verify` prints it")
        return cls(int(number), digest.lower())


@dataclass(frozen=True)
class Verdict:
    """What a check of the chain found.

    `broken_no` is the first entry that is not as it was written; None: all are.
    """

    #: Entries that were read.
    entries: int
    #: The last entry of the chain; None: there is none.
    head: Head | None
    #: The first entry that does not fit; None: all do.
    broken_no: int | None = None
    #: What is wrong there, in words.
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return self.broken_no is None

    def to_text(self) -> str:
        """One line."""
        if self.ok and self.head is not None:
            return f"The audit log is whole: {self.entries} entries, head {self.head.to_text()}"
        return f"The audit log is broken at entry {self.broken_no}: {self.problem}"


def record(  # noqa: PLR0913  an entry names all it consists of
    connection: DbConnection,
    operation: str,
    subject: str,
    *,
    status: str = "success",
    details: Mapping[str, Any] | None = None,
    system: str | None = None,
    account: str | None = None,
    records: int | None = None,
    points: int | None = None,
    error: str | None = None,
    run_id: str | None = None,
) -> None:
    """Makes an entry that is written when the transaction is committed; the caller commits.

    The actor is `sql.actor.actor()`.
    """
    parameters = {
        "operation": operation, "subject": subject, "status": status,
        "details": Jsonb(dict(details or {})), "system": system,
        "account": account, "records": records, "points": points, "error": error, "run_id": run_id,
    }  # fmt: skip
    connection.execute(query("audit", "record"), parameters)


def entries(
    connection: DbConnection, wanted: Filter, *, limit: int, before: int | None = None
) -> list[Entry]:
    """Entries that fit the filter, newest first, from before the entry number `before`."""
    parameters = {**asdict(wanted), "limit": limit, "before": before}
    return [
        Entry(*row) for row in connection.execute(query("audit", "entries"), parameters).fetchall()
    ]


def counts(connection: DbConnection, *, hours: int) -> list[tuple[str, str, int, int, int]]:
    """(operation, status, entries, records, points) of the last hours."""
    return [
        (r[0], r[1], r[2], r[3], r[4])
        for r in connection.execute(query("audit", "counts"), {"hours": hours})
    ]


def head(connection: DbConnection) -> Head | None:
    """The last entry. None: somebody removed all entries, for a new database has one."""
    row = connection.execute(query("audit", "head")).fetchone()
    return None if row is None else Head(row[0], bytes(row[1]).hex())


def verify(connection: DbConnection, anchors: Sequence[Head] = ()) -> Verdict:
    """Reads the whole chain and computes every hash again.

    Needs constant memory, and does not use the database's own functions.

    Args:
        connection: Reads only; the state at one instant.
        anchors: Heads that were noted earlier: the chain must still hold them.
    """
    noted = {anchor.entry_no: anchor.hash for anchor in anchors}
    number, before = 0, _GENESIS
    for found_no, previous, digest, values in _chain(connection):
        problem = ""
        if found_no != number + 1:
            problem = f"entry {number + 1} is missing"
        elif not hmac.compare_digest(previous, before):
            problem = "it does not follow the entry before it"
        elif not hmac.compare_digest(digest, digest_of(previous, values)):
            problem = "it was changed after it was written"
        elif noted.pop(found_no, digest.hex()) != digest.hex():
            problem = "it is not the entry that was noted: the log was rewritten"
        if problem:
            return Verdict(number, None, number + 1, problem)
        number, before = found_no, digest
    if number == 0:
        return Verdict(0, None, 1, "the log is empty; its first entry is written when it is made")
    if noted:
        problem = f"the end is missing: entry {max(noted)} was noted, the last one is {number}"
        return Verdict(number, None, number + 1, problem)
    return Verdict(number, Head(number, before.hex()))


def digest_of(previous: bytes, values: Sequence[str | None]) -> bytes:
    """The hash of an entry, from the hash before it and its columns as text."""
    content = b"".join(_field(value) for value in values)
    return hashlib.sha256(previous + content).digest()


def _field(value: str | None) -> bytes:
    if value is None:
        return b"-\n"
    text = value.encode()
    return b"%d:%b\n" % (len(text), text)


def _chain(connection: DbConnection) -> Iterator[tuple[int, bytes, bytes, list[str | None]]]:
    with connection.cursor("audit_chain") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query("audit", "chain"))
        for found_no, previous, digest, values in cursor:
            yield found_no, bytes(previous), bytes(digest), values


def pending(connection: DbConnection) -> list[Pending]:
    """Synchronisations that are under way, the latest first."""
    return [Pending(*row) for row in connection.execute(query("audit", "pending")).fetchall()]


def seen(connection: DbConnection) -> dict[tuple[str, str], dict[str, Any]]:
    """The settings as last seen, by kind and name; locked until the transaction ends."""
    connection.execute(query("audit", "lock_seen"))
    return {
        (kind, name): state
        for kind, name, state in connection.execute(query("audit", "seen")).fetchall()
    }


def save_seen(
    connection: DbConnection, kind: str, name: str, state: Mapping[str, Any] | None
) -> None:
    """Remembers a setting as it is now; None: it is gone. The caller commits."""
    parameters = {"kind": kind, "name": name, "state": Jsonb(dict(state or {}))}
    connection.execute(query("audit", "forget_seen" if state is None else "save_seen"), parameters)
