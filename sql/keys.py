"""Keys of the HTTP API: made, listed, rotated and revoked.

The key is shown once; its SHA-256 is stored.

A key is 256 random bits, so that a plain hash of it can neither be guessed nor reversed.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sql.db import DbConnection
from sql.named_queries import query

#: What a key may be allowed to do.
SCOPES: Final = {
    "transactions:read": "read sales and the points they gave",
    "members:read": "read balances and histories of members",
    "points:spend": "spend points of members, hold them and give them back",
    "changes:read": "follow what changes for members",
    "members:write": "register members and change their phones",
    "members:merge": "merge members and undo it",
    "tiers:write": "set and end tiers of members",
    "referrals:write": "enter, correct and withdraw referrals",
    "codes:write": "enter codes of promotions for members",
    "lists:write": "put members on lists and take them off",
    "events:write": "tell what members did, and their birthdays",
    "status:read": "read the state of the integration",
    "sync:start": "start a synchronisation",
    "metrics:read": "read the metrics",
    "audit:read": "read the audit log",
}
DAYS: Final = 90
DAYS_MAX: Final = 366
OVERLAP_DAYS: Final = 7
PER_MINUTE: Final = 600
_KEY: Final = re.compile(r"^(twz_[a-z2-7]{10})_[A-Za-z0-9_-]{43}$")
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True)
class ApiKey:
    """A key as it is stored."""

    key_no: int
    #: The first characters of the key: they name it and open nothing.
    prefix: str
    #: SHA-256 of the whole key.
    digest: bytes = field(repr=False)
    name: str
    #: What the key may do.
    scopes: Sequence[str]
    #: Rate limit of the key.
    requests_per_minute: int
    created_at: datetime
    expires_at: datetime
    #: Number of the key that it replaces.
    rotated_from: int | None
    #: When it was last used, to the minute.
    last_used_at: datetime | None
    #: When it was withdrawn; None: it was not.
    revoked_at: datetime | None

    def opens(self, presented: str, now: datetime) -> bool:
        """Whether this is the key, and still in force."""
        same = hmac.compare_digest(digest_of(presented), self.digest)
        return same and self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True)
class KeyRow:
    """A key as an administrator sees it."""

    key_no: int
    #: The first characters of the key: they name it and open nothing.
    prefix: str
    name: str
    #: What the key may do.
    scopes: Sequence[str]
    #: Rate limit of the key.
    requests_per_minute: int
    created_at: datetime
    expires_at: datetime
    #: When it was last used, to the minute.
    last_used_at: datetime | None
    #: When it was withdrawn; None: it was not.
    revoked_at: datetime | None
    #: Prefix of the key that it replaces.
    replaces: str | None

    def state(self, now: datetime) -> str:
        """active, rotate soon (it ends within two weeks), expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        return "rotate soon" if self.expires_at - now < timedelta(days=14) else "active"


@dataclass(frozen=True)
class NewKey:
    """A key just made; `secret` is the whole key and is not to be had again."""

    key_no: int
    #: The first characters of the key: they name it and open nothing.
    prefix: str
    #: The whole key: shown once and not stored.
    secret: str = field(repr=False)
    expires_at: datetime


class UnknownKeyError(LookupError):
    """There is no key with that prefix that could be changed."""


def prefix_of(presented: str) -> str | None:
    """The public part of a key; None where it cannot be one of ours."""
    match = _KEY.match(presented)
    return None if match is None else match[1]


def digest_of(presented: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(presented.encode()).digest()


def create(
    connection: DbConnection,
    name: str,
    scopes: Sequence[str],
    *,
    days: int = DAYS,
    per_minute: int = PER_MINUTE,
    rotated_from: int | None = None,
) -> NewKey:
    """Makes a key; the caller commits.

    Raises ValueError for an unknown scope, no scope, or a life that is too long.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"{', '.join(unknown) or 'no scope'}: scopes are {', '.join(SCOPES)}")
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"a key lives for 1 to {DAYS_MAX} days")
    prefix = "twz_" + "".join(secrets.choice(_ALPHABET) for _ in range(10))
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    parameters = {
        "prefix": prefix, "digest": digest_of(secret), "name": name, "scopes": sorted(set(scopes)),
        "per_minute": per_minute, "days": days, "rotated_from": rotated_from,
    }  # fmt: skip
    row = connection.execute(query("keys", "create"), parameters).fetchone()
    assert row is not None
    return NewKey(row[0], prefix, secret, row[1])


def find(connection: DbConnection, prefix: str) -> ApiKey | None:
    """The key with this prefix, whatever its state."""
    return key_of(connection.execute(query("keys", "find"), {"prefix": prefix}).fetchone())


def key_of(row: Sequence[Any] | None) -> ApiKey | None:
    """The key of a row of the query `find`."""
    return None if row is None else ApiKey(row[0], row[1], bytes(row[2]), *row[3:])


def listed(connection: DbConnection) -> list[KeyRow]:
    """All keys, the oldest first."""
    return [KeyRow(*row) for row in connection.execute(query("keys", "list")).fetchall()]


def rotate(
    connection: DbConnection, prefix: str, *, days: int = DAYS, overlap: timedelta
) -> NewKey:
    """A new key with the same name, scopes and limit; the old one works for `overlap` longer.

    The caller commits.

    Raises UnknownKeyError where there is no such key in force.
    """
    old = find(connection, prefix)
    if old is None or old.revoked_at is not None or old.expires_at <= datetime.now(UTC):
        raise UnknownKeyError(f"There is no key {prefix} in force. `twezah keys list` shows all.")
    made = create(
        connection,
        old.name,
        old.scopes,
        days=days,
        per_minute=old.requests_per_minute,
        rotated_from=old.key_no,
    )
    connection.execute(
        query("keys", "end_after"), {"key_no": old.key_no, "seconds": overlap.total_seconds()}
    )
    return made


def revoke(connection: DbConnection, prefix: str) -> None:
    """The key opens nothing any more, from now on.

    Raises UnknownKeyError where there is none that does.
    """
    if connection.execute(query("keys", "revoke"), {"prefix": prefix}).rowcount == 0:
        raise UnknownKeyError(
            f"There is no key {prefix} that is not revoked. `twezah keys list` shows all."
        )
