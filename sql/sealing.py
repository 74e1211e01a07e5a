"""Bodies as they are stored: packed with zstd, then sealed (AES-256-GCM) with a key of a keyring.

The first key of the keyring seals; every key opens what it sealed, so a key can be replaced while
everything goes on. A sealed body begins with MAGIC and the number of its key. What earlier versions
stored is packed only, and is opened as well.

This is the only place that knows that form: whatever stores or reads a body goes through it.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sql.db import DbConnection
from sql.named_queries import query

__all__ = ["KeyMissingError", "Keyring", "SealedWith", "key_id", "keyring", "use"]
#: How a sealed body begins.
MAGIC: Final = b"TWZ\x01"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = len(MAGIC) + _ID_BYTES
#: A process that only seals asks for its keys again after so long: the old one may be dropped.
REFRESH_SECONDS: Final = 600.0
#: A key that is missing is asked for again after so long: keys may come from a command.
ASK_AGAIN_SECONDS: Final = 5.0
#: Bodies sealed anew by one transaction.
_AT_ONCE: Final = 200
#: What holds bodies: table -> its key.
TABLES: Final = {"raw_page": "page_id", "webhook_event": "event_no"}


class KeyMissingError(RuntimeError):
    """A stored body was sealed with a key that the keyring does not hold, or was changed."""


def key_id(key: bytes) -> bytes:
    """The number by which a sealed body names its key; it reveals nothing of the key."""
    return hashlib.sha256(b"twezah key id" + key).digest()[:_ID_BYTES]


class Keyring:
    """Keys of 32 bytes; the first one seals."""

    def __init__(self, load: Callable[[], Sequence[bytes]]) -> None:
        """`load` returns the keys. It is asked again when a body names a key that is not known."""
        self._load = load
        #: Replaced as a whole, the first one seals: threads share it.
        self._ciphers: dict[bytes, AESGCM] = {}
        self._asked_at = 0.0
        #: Numbers of keys that are not there, and until when nobody asks for them again.
        self._missing_until: dict[bytes, float] = {}

    def refresh(self) -> None:
        """Asks for the keys again: one may have been made since."""
        self._asked_at = time.monotonic()
        keys = self._load()
        if not keys:
            raise KeyMissingError("there is no key for stored data: see docs/privacy.md")
        self._ciphers = {key_id(key): AESGCM(_derived(key)) for key in keys}

    def _first(self) -> tuple[bytes, AESGCM]:
        """The key in use: its number, and its cipher."""
        if not self._ciphers:
            self.refresh()
        elif time.monotonic() - self._asked_at > REFRESH_SECONDS:
            with contextlib.suppress(Exception):  # who keeps the keys is away: these still hold
                self.refresh()
        return next(iter(self._ciphers.items()))

    @property
    def current(self) -> bytes:
        """How a body begins that is sealed with the first key."""
        return MAGIC + self._first()[0]

    def seal(self, packed: bytes) -> bytes:
        """A packed body, sealed with the first key."""
        number, cipher = self._first()
        head, nonce = MAGIC + number, os.urandom(_NONCE_BYTES)
        return head + nonce + cipher.encrypt(nonce, packed, head)

    def open(self, stored: bytes) -> bytes:
        """The packed body. Raises KeyMissingError."""
        if not stored.startswith(MAGIC):
            return stored
        head, nonce = stored[:_HEAD_BYTES], stored[_HEAD_BYTES : _HEAD_BYTES + _NONCE_BYTES]
        number = head[len(MAGIC) :]
        cipher = self._cipher(number)
        if cipher is None:
            raise KeyMissingError(
                f"stored data is sealed with key {number.hex()}, which is not in the keyring: put "
                "it back (docs/privacy.md)"
            )
        try:
            return cipher.decrypt(nonce, stored[_HEAD_BYTES + _NONCE_BYTES :], head)
        except InvalidTag:
            raise KeyMissingError("a stored body was changed after it was sealed") from None

    def _cipher(self, number: bytes) -> AESGCM | None:
        """Of the key with this number. One that is missing is not asked for at every body."""
        if number not in self._ciphers and time.monotonic() >= self._missing_until.get(number, 0):
            self.refresh()
            if number not in self._ciphers:
                self._missing_until[number] = time.monotonic() + ASK_AGAIN_SECONDS
        return self._ciphers.get(number)

    def pack(self, body: bytes) -> bytes:
        """A body as received, packed and sealed."""
        return self.seal(zstandard.compress(body, level=1))

    def unpack(self, stored: bytes) -> bytes:
        """The body as received. Raises KeyMissingError."""
        return zstandard.ZstdDecompressor().decompress(self.open(stored))


def _derived(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"twezah stored bodies").derive(key)


_rings: list[Keyring] = []


def use(load: Callable[[], Sequence[bytes]]) -> None:
    """Says where this process has its keys from, before anything is stored. The first call counts."""
    if not _rings:
        _rings.append(Keyring(load))


def keyring() -> Keyring:
    """The keyring of this process. Raises KeyMissingError where nobody said where it is."""
    if not _rings:
        raise KeyMissingError("this process was not told where its keys are (sql.sealing.use)")
    return _rings[0]


@dataclass(frozen=True)
class SealedWith:
    """How many bodies a key has sealed."""

    #: The key's number, in hexadecimal; None: bodies of earlier versions, which are not sealed.
    key: str | None
    #: How many.
    bodies: int


def sealed_with(connection: DbConnection) -> list[SealedWith]:
    """Per key, how many bodies it sealed."""
    rows = connection.execute(query("sealing", "sealed_with"), {"magic": MAGIC}).fetchall()
    return [SealedWith(*row) for row in rows]


def reseal(connection: DbConnection, ring: Keyring) -> Iterator[int]:
    """Seals all bodies with the first key of the keyring that are not yet.

    Some at a time: yields how many by now. Commits. Whatever else reads or stores bodies goes on.

    Raises:
        KeyMissingError: At the end, after all others, if no key opens some: they stay as they are.
    """
    ring.refresh()
    count, closed, why = 0, 0, ""
    for table in TABLES:
        after = 0
        while True:
            parameters = {"after": after, "limit": _AT_ONCE, "head": ring.current}
            rows = connection.execute(
                query("sealing", f"other_{table}"), parameters, binary=True
            ).fetchall()
            for number, stored in rows:
                try:
                    packed = ring.open(stored)
                except KeyMissingError as error:
                    closed, why = closed + 1, str(error)
                    continue
                sealed = {"number": number, "body": ring.seal(packed)}
                connection.execute(query("sealing", f"replace_{table}"), sealed)
                count += 1
            connection.commit()
            if rows:
                yield count
            if len(rows) < _AT_ONCE:
                break
            after = rows[-1][0]
    if closed:
        message = f"{closed} stored bodies cannot be read: {why}"
        raise KeyMissingError(message)
