"""How long vendors say that a token lives."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from connectors.kit.http.auth import TokenSession, basic_form
from connectors.kit.spec import Account, TokenAuth
from tests.contract.conftest import MemoryTokens

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "lives"),
    [
        ("3600", timedelta(hours=1)),
        ("null", timedelta(minutes=30)),
        ('"soon"', timedelta(minutes=30)),
        ("-5", timedelta(0)),
        ("9999999999999", timedelta(days=365)),
        ('"Infinity"', timedelta(days=365)),
    ],
)
def test_a_life_that_no_calendar_holds_is_a_year(said: str, lives: timedelta) -> None:
    def ask(_grant: object, _refresh_token: str) -> httpx.Response:
        body = b'{"access_token": "a", "refresh_token": "r", "expires_in": %s}' % said.encode()
        return httpx.Response(
            200, content=body, request=httpx.Request("POST", "https://vendor.test/token")
        )

    connection = Account("xero", "A", "", "", "id", SecretStr("s"), SecretStr("r"))
    session = TokenSession(connection, TokenAuth(basic_form), MemoryTokens(), ask, lambda: NOW)
    assert session.token().expires_at == NOW + lives
