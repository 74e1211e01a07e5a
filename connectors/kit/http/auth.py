"""How requests prove who we are: OAuth 2 tokens, or a signature.

A token store keeps a rotated token before it is used, so that none is lost.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import msgspec

from connectors.kit.errors import ConnectorError, CredentialsRejected, Transient, UnexpectedShape
from connectors.kit.spec import Account, AssertionAuth, Grant, RequestAuth, TokenAuth

#: A token this close to its end is renewed before it is used.
EXPIRY_MARGIN = timedelta(seconds=60)
#: How long a token lives whose answer does not say.
_DEFAULT_LIFE_SECONDS = 1800
#: Error codes that say nothing about the credentials: trying later may help (RFC 6749, 4.1.2.1).
_PASSING_CODES = ("temporarily_unavailable", "server_error", "slow_down")
#: A longer life counts as this: for tokens that never end some vendors write a number that no
#: calendar holds.
_LONGEST_LIFE_SECONDS = 365 * 86_400


@dataclass(frozen=True)
class Token:
    """A live token pair; neither secret shows in its repr. `expires_at` is UTC."""

    access_token: str = field(repr=False)
    #: "" where the way of proving ourselves has none.
    refresh_token: str = field(repr=False)
    expires_at: datetime
    #: The scopes granted, as the vendor writes them.
    scope: str = ""


class TokenStore(Protocol):
    """Keeps the one live token of an account, for all processes.

    `sql.tokens` is the one in use.
    """

    def read(self) -> Token | None:
        """The stored token, None before the first refresh."""

    def refresh(self, stale: Token | None, renew: Callable[[Token | None], Token]) -> Token:
        """Replaces the token under a lock, committed before it is returned.

        Where the stored token is no longer `stale`, another process renewed it meanwhile, and it
        is returned as it is. Vendors accept a rotated refresh token once.

        Args:
            stale: The token to replace, None where there is none.
            renew: Is given the stored token and fetches a new one.
        """


def sign_basic(request: httpx.Request, user: str, secret: str) -> httpx.Request:
    """The request, with user and secret as HTTP Basic (RFC 7617)."""
    return next(httpx.BasicAuth(user, secret).sync_auth_flow(request))


def basic_form(account: Account, url: str, refresh_token: str) -> httpx.Request:
    """Client id and secret as HTTP Basic, the rest as a form (QuickBooks, Xero)."""
    secret = account.client_secret.get_secret_value()
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    request = httpx.Request("POST", url, data=form, headers={"accept": "application/json"})
    return sign_basic(request, account.client_id, secret)


def form_body(account: Account, url: str, refresh_token: str) -> httpx.Request:
    """Everything in a form, client id and secret as well (Sage Intacct)."""
    form = {
        "grant_type": "refresh_token",
        "client_id": account.client_id,
        "client_secret": account.client_secret.get_secret_value(),
        "refresh_token": refresh_token,
    }
    return httpx.Request("POST", url, data=form, headers={"accept": "application/json"})


def client_credentials(username: str = "", *, scope: str = "", basic: bool = False) -> Grant:
    """The application acts for itself, or for a user of the company, without a consent.

    There is no refresh token: a new token is asked for each time.

    Args:
        username: The user it acts for (Sage Intacct); "" where the vendor wants none.
        scope: What is asked for; "" where the vendor wants none.
        basic: Whether client id and secret go as HTTP Basic (PayPal), and not into the form.
    """

    def grant(account: Account, url: str, _refresh_token: str) -> httpx.Request:
        secret = account.client_secret.get_secret_value()
        form = {
            "grant_type": "client_credentials",
            **({} if basic else {"client_id": account.client_id, "client_secret": secret}),
            **({"username": username} if username else {}),
            **({"scope": scope} if scope else {}),
        }
        request = httpx.Request("POST", url, data=form, headers={"accept": "application/json"})
        return sign_basic(request, account.client_id, secret) if basic else request

    return grant


def json_body(account: Account, url: str, refresh_token: str) -> httpx.Request:
    """Everything in a JSON body, the redirect URI as well (FreshBooks)."""
    body = {
        "grant_type": "refresh_token",
        "client_id": account.client_id,
        "client_secret": account.client_secret.get_secret_value(),
        "refresh_token": refresh_token,
        "redirect_uri": account.redirect_uri,
    }
    return httpx.Request("POST", url, json=body, headers={"accept": "application/json"})


def refresh_token(grant: Grant, *, word: str = "Bearer") -> Callable[[Account], TokenAuth]:
    """The `auth` of systems that know only consents (OAuth 2), whose tokens `grant` renews.

    `word` stands before the token in the header `authorization`.
    """
    return lambda _: TokenAuth(grant, word=word)


#: Sends one request that `Grant` built for a refresh token, and returns its answer.
Ask = Callable[[Grant, str], httpx.Response]


class Session(Protocol):
    """What one client proves itself with; shared by its threads."""

    def sign(self, request: httpx.Request) -> Token | None:
        """Adds the proof to the request; returns the token used, if any.

        Raises:
            CredentialsRejected: If there is no usable token, and none can be fetched.
        """

    def current(self, *, renew: bool) -> Token | None:
        """The token in use, a new one with `renew`; None where requests carry no token.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """

    def renewed(self, refused: Token | None) -> bool:
        """Whether there is now another proof than the one the vendor refused.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """


def open_session(
    account: Account,
    auth: TokenAuth | AssertionAuth | RequestAuth,
    tokens: TokenStore,
    ask: Ask,
    now: Callable[[], datetime],
) -> Session:
    """The session that fits the account's way of proving itself."""
    if isinstance(auth, RequestAuth):
        return SignedSession(account, auth, now)
    if isinstance(auth, AssertionAuth):
        signed = auth.grant
        auth = TokenAuth(
            lambda account, url, _: signed(account, url, now()), seeded=False, refused=auth.refused
        )
    return TokenSession(account, auth, tokens, ask, now)


class SignedSession:
    """Requests that carry their own proof."""

    def __init__(self, account: Account, auth: RequestAuth, now: Callable[[], datetime]) -> None:
        self._account = account
        self._auth = auth
        self._now = now

    def sign(self, request: httpx.Request) -> None:
        """Signs the request."""
        self._auth.sign(self._account, request, self._now())

    def current(self, *, renew: bool) -> None:
        """There is no token."""

    def renewed(self, refused: Token | None) -> bool:  # noqa: ARG002  the protocol's
        """False: there is only one proof."""
        return False


class TokenSession:
    """The OAuth 2 token in use by one client."""

    def __init__(
        self,
        account: Account,
        auth: TokenAuth,
        tokens: TokenStore,
        ask: Ask,
        now: Callable[[], datetime],
    ) -> None:
        self._auth = auth
        self._account = account
        self._tokens = tokens
        self._ask = ask
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None

    def sign(self, request: httpx.Request) -> Token:
        """Sends the token, behind the vendor's word for it."""
        token = self.token()
        request.headers[self._auth.header] = f"{self._auth.word} {token.access_token}".lstrip()
        return token

    def current(self, *, renew: bool) -> Token:
        """The token in use.

        With `renew` it is renewed even while it is good: that proves that it can be.
        """
        token = self.token()
        return self.replace(token) if renew else token

    def renewed(self, refused: Token | None) -> bool:
        """Renews the token that was refused."""
        if refused is not None:
            self.replace(refused)
        return refused is not None

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
        """A token other than the one the vendor refused.

        Several threads that were refused with the same token renew it once.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """
        with self._lock:
            if self._token is None or self._token.access_token == refused.access_token:
                self._token = self._tokens.refresh(refused, self._renew)
            return self._token

    def _renew(self, stored: Token | None) -> Token:
        """Tries the stored refresh token first, then the one in the block.

        After a new consent only the one in the block works.
        """
        if not self._auth.seeded:
            return self._read(self._ask(self._auth.grant, ""), "")
        seed = self._account.refresh_token.get_secret_value()
        candidates = dict.fromkeys([stored.refresh_token if stored else seed, seed])
        refused: ConnectorError | None = None
        for refresh_token in filter(None, candidates):
            try:
                return self._read(self._ask(self._auth.grant, refresh_token), refresh_token)
            except CredentialsRejected as error:
                refused = refused or error
        raise refused or self._auth.refused(
            self._account.system, "token", "there is no refresh token"
        )

    def _read(self, answer: httpx.Response, refresh_token: str) -> Token:
        """The token in an answer; `refresh_token` stays in force where the vendor rotates none.

        Raises:
            Transient: The vendor has no token for now.
            CredentialsRejected: The vendor refuses.
            UnexpectedShape: The answer has no token.
        """
        system = self._account.system
        call = f"{answer.request.method} {answer.request.url.host}{answer.request.url.path}"
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise Transient(
                system, "token", "no token for now", call=call, status=answer.status_code
            )
        body = _json(answer.content)
        access = body.get("access_token")
        code = _refusal(body)
        if code in _PASSING_CODES:
            raise Transient(
                system, "token", f"no token for now ({code})", call=call, status=answer.status_code
            )
        # Some vendors refuse with status 200.
        if answer.status_code >= 400 or (code and not access):
            reason = code or "no reason given"
            raise self._auth.refused(system, "token", reason, call=call, status=answer.status_code)
        if not isinstance(access, str) or not access:
            raise UnexpectedShape(
                system,
                "token",
                "the answer has no access_token",
                call=call,
                status=answer.status_code,
            )
        rotated = body.get("refresh_token")
        return Token(
            access,
            rotated if isinstance(rotated, str) and rotated else refresh_token,
            token_end(body, self._now().astimezone(UTC)),
            str(body.get("scope") or ""),
        )


def _refusal(body: dict[str, Any]) -> str:
    """The error code in a token answer; "" where there is none.

    It is a text (RFC 6749, 5.2), or stands inside an object or a list.
    """
    nested = body.get("response")
    error = body.get("error") or body.get("errors")
    if not error and isinstance(nested, dict):
        error = nested.get("error") or nested.get("errors")
    if isinstance(error, list):
        error = error[0] if error else None
    if isinstance(error, dict):
        error = next(
            (error[name] for name in ("code", "type", "error", "errno") if error.get(name)),
            "unknown",
        )
    return str(error)[:60] if error else ""


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def token_end(body: dict[str, Any], now: datetime) -> datetime:
    """When a token ends: `expires_in` seconds from now, or at the moment `expires_at`, UTC."""
    seconds: Any = body.get("expires_in")
    if seconds is None:
        try:
            moment = datetime.fromisoformat(body.get("expires_at") or "")
            seconds = (moment - now).total_seconds()
        except (TypeError, ValueError):  # none, no text, or a time without a zone
            seconds = None
    return now + timedelta(seconds=_life(seconds))


def _life(seconds: Any) -> float:
    try:
        return min(max(0.0, float(seconds)), _LONGEST_LIFE_SECONDS)
    except (TypeError, ValueError):
        return _DEFAULT_LIFE_SECONDS
