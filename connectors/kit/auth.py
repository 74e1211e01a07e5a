"""OAuth 2: tokens, the ways vendors renew them, and the store that keeps a rotated one before it is used."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import msgspec

from connectors.kit.errors import ConnectorError, CredentialsRejected, Transient, UnexpectedShape
from connectors.kit.spec import Connection

#: A token this close to its end is renewed before it is used.
EXPIRY_MARGIN = timedelta(seconds=60)
_DEFAULT_LIFE_SECONDS = 1800


@dataclass(frozen=True)
class Token:
    """A live token pair; neither secret shows in its repr. `expires_at` is UTC."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: datetime
    scope: str = ""


class TokenStore(Protocol):
    """Keeps the one live token of a connection, for all processes."""

    def read(self) -> Token | None:
        """The stored token, None before the first refresh."""

    def refresh(self, stale: Token | None, renew: Callable[[Token | None], Token]) -> Token:
        """Replaces the token under a lock, committed before it is returned.

        Where the stored token is no longer `stale`, someone else renewed it meanwhile and it is returned as it is.
        """


def basic_form(connection: Connection, url: str, refresh_token: str) -> httpx.Request:
    """QuickBooks, Xero: client id and secret as HTTP Basic, the rest as a form."""
    secret = connection.client_secret.get_secret_value()
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    request = httpx.Request("POST", url, data=form, headers={"accept": "application/json"})
    return next(httpx.BasicAuth(connection.client_id, secret).sync_auth_flow(request))


def json_body(connection: Connection, url: str, refresh_token: str) -> httpx.Request:
    """FreshBooks: everything in a JSON body, the redirect URI as well."""
    body = {
        "grant_type": "refresh_token",
        "client_id": connection.client_id,
        "client_secret": connection.client_secret.get_secret_value(),
        "refresh_token": refresh_token,
        "redirect_uri": connection.redirect_uri,
    }
    return httpx.Request("POST", url, json=body, headers={"accept": "application/json"})


class Session:
    """The token in use by one client, shared by its threads."""

    def __init__(
        self,
        connection: Connection,
        tokens: TokenStore,
        ask: Callable[[str], httpx.Response],
        now: Callable[[], datetime],
    ) -> None:
        """`ask` sends one renewal request for a refresh token and returns its answer."""
        self._connection = connection
        self._tokens = tokens
        self._ask = ask
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None

    def token(self) -> Token:
        """A token that is not about to expire.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """
        with self._lock:
            held = self._token or self._tokens.read()
            if held is None or held.expires_at - EXPIRY_MARGIN <= self._now():
                held = self._tokens.refresh(held, self._renew)
            self._token = held
            return held

    def replace(self, refused: Token) -> Token:
        """Another token than the one the vendor refused; several threads that were refused renew once.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """
        with self._lock:
            if self._token is None or self._token.access_token == refused.access_token:
                self._token = self._tokens.refresh(refused, self._renew)
            return self._token

    def _renew(self, stored: Token | None) -> Token:
        """The stored refresh token first, then the one in the block: after a new consent only that one works."""
        seed = self._connection.refresh_token.get_secret_value()
        tried = [token for token in dict.fromkeys([stored.refresh_token if stored else seed, seed]) if token]
        refused: ConnectorError | None = None
        for refresh_token in tried:
            try:
                return self._read(self._ask(refresh_token), refresh_token)
            except CredentialsRejected as error:
                refused = refused or error
        raise refused or CredentialsRejected(self._connection.system, "token", "there is no refresh token")

    def _read(self, answer: httpx.Response, refresh_token: str) -> Token:
        system = self._connection.system
        call = f"{answer.request.method} {answer.request.url.host}{answer.request.url.path}"
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise Transient(system, "token", "no token for now", call=call, status=answer.status_code)
        body = _json(answer.content)
        if answer.status_code >= 400:
            code = body.get("error") if isinstance(body.get("error"), str) else "no reason given"
            raise CredentialsRejected(system, "token", str(code)[:60], call=call, status=answer.status_code)
        access = body.get("access_token")
        if not isinstance(access, str) or not access:
            raise UnexpectedShape(
                system, "token", "the answer has no access_token", call=call, status=answer.status_code
            )
        rotated = body.get("refresh_token")
        return Token(
            access,
            rotated if isinstance(rotated, str) and rotated else refresh_token,
            self._now().astimezone(UTC) + timedelta(seconds=_life(body.get("expires_in"))),
            str(body.get("scope") or ""),
        )


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _life(seconds: Any) -> float:
    try:
        return max(0.0, float(seconds))
    except (TypeError, ValueError):
        return _DEFAULT_LIFE_SECONDS
