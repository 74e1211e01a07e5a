"""A restored copy uses no stored token and awards no webhook, until it goes live."""

from datetime import UTC, datetime

import pytest
from cryptography.fernet import Fernet

from sql import standby, webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.sync import AccountKey
from sql.tokens import StandbyError, TokenRows, TokenUnreadableError
from tests.support.books import Books

KEY = Fernet.generate_key()


def rows(dsn: str) -> TokenRows[str]:
    """Tokens that are texts."""
    expires_at = datetime(2026, 3, 1, tzinfo=UTC).isoformat()
    return TokenRows(
        dsn,
        AccountKey("xero", "books"),
        KEY,
        "seed",
        lambda token: {"token": token, "expires_at": expires_at},
        lambda values: str(values["token"]),
    )


def never(_: str | None) -> str:
    raise AssertionError("the vendor was asked")


def test_no_stored_token_is_used_until_it_goes_live(books: Books) -> None:
    """Neither the one that is stored, nor the vendor for another, nor a new consent."""
    rows(books.dsn).refresh(None, lambda _: "first")
    with connect(books.dsn) as connection:
        standby.begin(connection)
        connection.commit()
    with pytest.raises(StandbyError, match="twezah go-live"):
        rows(books.dsn).read()
    with pytest.raises(TokenUnreadableError, match="copy on standby"):
        rows(books.dsn).refresh("first", never)
    with pytest.raises(StandbyError):
        rows(books.dsn).refresh(None, never)
    with connect(books.dsn) as connection:
        assert standby.end(connection)
        connection.commit()
    assert rows(books.dsn).read() == "first"
    assert rows(books.dsn).refresh("first", lambda _: "second") == "second"


def test_no_webhook_is_awarded_until_it_goes_live(books: Books) -> None:
    """They are stored and wait; nobody is expected to listen."""
    with connect(books.dsn) as connection:
        endpoint = create_endpoint(connection, NewEndpoint("xero", "xero"))
        event = webhooks.NewEvent(
            endpoint.endpoint_no, "id:1", "sale", {}, b"{}", None, datetime.now(UTC)
        )
        assert webhooks.store_event(connection, event) is not None
        connection.commit()
        assert webhooks.any_endpoint(connection)
        assert webhooks.next_due_seconds(connection) is not None
        standby.begin(connection)
        assert not webhooks.any_endpoint(connection)
        assert webhooks.next_due_seconds(connection) is None
        assert webhooks.claim_events(connection, 10, run_id="run") == []
        standby.end(connection)
        assert len(webhooks.claim_events(connection, 10, run_id="run")) == 1
        connection.rollback()


def test_beginning_twice_and_ending_what_is_live_change_nothing(books: Books) -> None:
    with connect(books.dsn) as connection:
        assert not standby.end(connection)
        standby.begin(connection, "first")
        standby.begin(connection, "second")
        state = standby.read(connection)
        assert state is not None and state.reason == "first"
        connection.rollback()
