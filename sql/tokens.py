"""Rotating OAuth tokens: encrypted, replaced under a row lock, committed before they are used."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from cryptography.fernet import Fernet, InvalidToken

from sql import standby
from sql.db import DbConnection, connect
from sql.named_queries import query
from sql.sync import AccountKey

T = TypeVar("T")


class TokenUnreadableError(RuntimeError):
    """The stored token was encrypted with another key."""

    #: What an operator reads.
    MESSAGE: Final = (
        "The stored token was encrypted with another key: "
        "put the old key back (TWEZAH_SECRET_KEY) or connect anew."
    )


class StandbyError(TokenUnreadableError):
    """This is a restored copy: its tokens belong to the original, until `twezah go-live`."""


@dataclass(frozen=True)
class TokenRows(Generic[T]):
    """The token of one consent.

    Connections that began with the same credentials share it, also those of other accounts.

    When an operator changes the credentials in the block, the stored chain of tokens is no longer
    used.
    """

    dsn: str
    #: Account at the billing system.
    account: AccountKey
    #: Encrypts the tokens.
    key: bytes
    #: The credentials that the chain of tokens began with.
    seed: str
    #: Makes values of a token that JSON can hold; "expires_at" is ISO 8601.
    pack: Callable[[T], Mapping[str, Any]]
    #: Makes a token of such values.
    unpack: Callable[[Mapping[str, Any]], T]

    def read(self) -> T | None:
        """The stored token, None before the first refresh. Raises StandbyError."""
        with connect(self.dsn) as connection:
            _require_live(connection)
            stored = self._load(connection)
            connection.rollback()
            return stored

    def refresh(self, stale: T | None, renew: Callable[[T | None], T]) -> T:
        """Replaces the token; of several that want to, one asks the vendor, and all get its result.

        Raises StandbyError before the vendor is asked.
        """
        with connect(self.dsn) as connection, connection.transaction():
            _require_live(connection)
            connection.execute(
                query("tokens", "lock"), self.account.parameters(digest=self._digest())
            )
            held = self._load(connection)
            if held is not None and held != stale:
                return held
            fresh = renew(held)
            self._save(connection, fresh)
        return fresh

    def _load(self, connection: DbConnection) -> T | None:
        parameters = self.account.parameters(digest=self._digest())
        row = connection.execute(query("tokens", "read"), parameters).fetchone()
        if row is None:
            return None
        try:
            return self.unpack(json.loads(Fernet(self.key).decrypt(bytes(row[0]))))
        except InvalidToken as error:
            raise TokenUnreadableError(TokenUnreadableError.MESSAGE) from error

    def _save(self, connection: DbConnection, token: T) -> None:
        values = self.pack(token)
        parameters = self.account.parameters(
            token=Fernet(self.key).encrypt(json.dumps(dict(values)).encode()),
            digest=self._digest(),
            expires_at=datetime.fromisoformat(values["expires_at"]),
        )
        connection.execute(query("tokens", "save"), parameters)

    def _digest(self) -> str:
        return hashlib.sha256(b"twezah seed " + self.seed.encode()).hexdigest()[:16]


def _require_live(connection: DbConnection) -> None:
    state = standby.read(connection)
    if state is not None:
        raise StandbyError(state.to_text())
