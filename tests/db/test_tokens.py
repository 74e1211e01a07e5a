"""Rotating tokens: one renewal for all who ask at the same time.

They are encrypted, and bound to the credentials they began with.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet

from sql.sync import AccountKey
from sql.tokens import TokenRows, TokenUnreadableError
from tests.support.books import Books

KEY = Fernet.generate_key()


@dataclass(frozen=True)
class Token:
    """As much of a token as a test needs."""

    refresh_token: str
    expires_at: datetime = datetime(2026, 3, 1, tzinfo=UTC)


def pack(token: Token) -> Mapping[str, Any]:
    return asdict(token) | {"expires_at": token.expires_at.isoformat()}


def unpack(values: Mapping[str, Any]) -> Token:
    return Token(values["refresh_token"], datetime.fromisoformat(values["expires_at"]))


def rows(
    books: Books, seed: str = "id secret first", key: bytes = KEY, account: str = "books"
) -> TokenRows[Token]:
    return TokenRows(books.dsn, AccountKey("xero", account), key, seed, pack, unpack)


def test_before_the_first_there_is_none(books: Books) -> None:
    assert rows(books).read() is None


def test_what_is_renewed_is_kept(books: Books) -> None:
    given: list[Token | None] = []

    def renew(held: Token | None) -> Token:
        given.append(held)
        return Token(f"refresh {len(given)}")

    first = rows(books).refresh(None, renew)
    assert rows(books).read() == first
    second = rows(books).refresh(first, renew)
    assert rows(books).read() == second == Token("refresh 2")
    assert given == [None, first]
    assert books.rows("SELECT refresh_count FROM billing.connector_token") == [(2,)]


def test_two_at_once_ask_the_vendor_once(books: Books) -> None:
    stale = rows(books).refresh(None, lambda _: Token("old"))
    calls: list[Token | None] = []
    together = threading.Barrier(2)

    def renew(held: Token | None) -> Token:
        calls.append(held)
        time.sleep(0.3)
        return Token("new")

    def one(_: int) -> Token:
        together.wait(timeout=10)
        return rows(books).refresh(stale, renew)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [Token("new")] * 2
    assert calls == [stale]


def test_also_where_there_was_none(books: Books) -> None:
    calls: list[Token | None] = []

    def renew(held: Token | None) -> Token:
        calls.append(held)
        time.sleep(0.3)
        return Token("new")

    with ThreadPoolExecutor(2) as pool:
        assert (
            list(pool.map(lambda _: rows(books).refresh(None, renew), range(2)))
            == [Token("new")] * 2
        )
    assert calls == [None]


def test_consents_do_not_wait_for_each_other(books: Books) -> None:
    def renew(_: Token | None) -> Token:
        return rows(books, seed="id secret other", account="other").refresh(
            None, lambda _: Token("of the other")
        )

    assert rows(books).refresh(None, renew) == Token("of the other")


def test_accounts_of_one_consent_share_its_token(books: Books) -> None:
    """A single-use refresh token renewed for one account would otherwise be lost to the other."""
    first = rows(books, account="first").refresh(None, lambda _: Token("new"))
    assert rows(books, account="second").read() == first
    renewed = rows(books, account="second").refresh(first, lambda _: Token("newer"))
    assert rows(books, account="first").refresh(first, lambda _: Token("never")) == renewed


def test_a_renewed_token_is_committed_before_it_is_used(books: Books) -> None:
    fresh = rows(books).refresh(None, lambda _: Token("new"))
    with psycopg.connect(books.dsn) as another:
        assert another.execute("SELECT count(*) FROM billing.connector_token").fetchone() == (1,)
    assert fresh == Token("new")


def test_a_renewal_that_fails_keeps_the_old_one_and_lets_others_in(books: Books) -> None:
    stale = rows(books).refresh(None, lambda _: Token("old"))

    def refused(_: Token | None) -> Token:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        rows(books).refresh(stale, refused)
    assert rows(books).read() == stale
    assert rows(books).refresh(stale, lambda _: Token("new")) == Token("new")


def test_new_credentials_begin_a_new_chain(books: Books) -> None:
    old = rows(books).refresh(None, lambda _: Token("old"))
    reconnected = rows(books, seed="id secret second")
    assert reconnected.read() is None
    given: list[Token | None] = []

    def renew(held: Token | None) -> Token:
        given.append(held)
        return Token("new")

    assert reconnected.refresh(None, renew) == Token("new")
    assert given == [None]
    assert rows(books).read() == old, "the credentials of before have their own chain"
    assert reconnected.read() == Token("new")


def test_another_key_is_said_and_nothing_is_lost(books: Books) -> None:
    held = rows(books).refresh(None, lambda _: Token("old"))
    other = rows(books, key=Fernet.generate_key())
    with pytest.raises(TokenUnreadableError, match="TWEZAH_SECRET_KEY"):
        other.read()
    with pytest.raises(TokenUnreadableError):
        other.refresh(None, lambda _: Token("lost"))
    assert rows(books).read() == held


def test_another_key_with_new_credentials_connects_anew(books: Books) -> None:
    rows(books).refresh(None, lambda _: Token("old"))
    anew = rows(books, seed="id secret second", key=Fernet.generate_key())
    assert anew.refresh(None, lambda _: Token("new")) == Token("new")
    assert anew.read() == Token("new")


def test_nothing_secret_is_readable_in_the_table(books: Books) -> None:
    rows(books, seed="id hunter2-secret hunter3-refresh").refresh(
        None, lambda _: Token("hunter4-rotated")
    )
    ((text,),) = books.rows(
        "SELECT t::text || encode(token_encrypted, 'escape') FROM billing.connector_token t"
    )
    assert "hunter" not in text
    ((cipher,),) = books.rows("SELECT token_encrypted FROM billing.connector_token")
    assert b"hunter4-rotated" in Fernet(KEY).decrypt(bytes(cipher))
