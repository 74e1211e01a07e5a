"""OAuth2 token endpoints with each vendor's own rules of rotation."""

import base64
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import httpx

from simulator.clock import Now
from simulator.consent import Codes
from simulator.model import CLIENT_ID, CLIENT_SECRET
from simulator.registry import VENDORS

_REMEMBERED: Final = 200  # access tokens, the oldest are forgotten first
#: A one-time code that stands for the consent page, for clients that start from one.
AUTHORIZATION_CODE: Final = "sim-code"


def seed_refresh_token(vendor: str) -> str:
    """The refresh token that a fresh simulator accepts."""
    return f"sim-refresh-{vendor}"


@dataclass(slots=True)
class RefreshToken:
    """One refresh token and what became of it."""

    issued_at: datetime
    replaced_at: datetime | None = None


@dataclass(slots=True)
class TokenState:
    """Everything a vendor remembers about one consent; JSON-able through `dump`."""

    refresh: dict[str, RefreshToken] = field(default_factory=dict)
    access: dict[str, datetime] = field(default_factory=dict)  # expiry
    issued: int = 0


class Denied(Exception):
    """The token endpoint's refusal, with its OAuth error name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Grants:
    """Issues and checks one vendor's tokens.

    The vendors differ in when a refresh token is replaced, how long the old one is still taken, and
    whether there can be several: `system.Tokens`.
    """

    def __init__(
        self, vendor: str, seed: int, now: Now, access_seconds: float | None = None
    ) -> None:
        self.vendor, self._seed, self._now, self._lock = vendor, seed, now, Lock()
        self.rules = VENDORS[vendor].tokens
        self.access_seconds = (
            self.rules.access_seconds if access_seconds is None else access_seconds
        )
        self.state = TokenState(refresh={seed_refresh_token(vendor): RefreshToken(now())})
        self.refreshes = 0
        #: NetSuite: public keys by certificate id, nonces that were used, and what became of signed
        #:     requests.
        self.certificates: dict[str, str] = {}
        self.nonces: set[tuple[str, str]] = set()
        self.audit_trail: list[str] = []
        self.codes = Codes(now)
        self.scope = self.rules.scope

    def _new(self, kind: str) -> str:
        self.state.issued += 1
        digest = sha256(
            f"{self._seed}/{self.vendor}/{kind}/{self.state.issued}".encode()
        ).hexdigest()
        return f"sim-{kind}-{self.vendor}-{digest[:24]}"

    def issue_access(self) -> str:
        """A new access token, valid from now; also for tests that skip the token endpoint."""
        token = self._new("access")
        while len(self.state.access) >= _REMEMBERED:
            del self.state.access[next(iter(self.state.access))]
        self.state.access[token] = self._now() + timedelta(seconds=self.access_seconds)
        return token

    def grant(self, form: dict[str, str]) -> dict[str, Any]:
        """Answers a token request.

        Raises:
            Denied: With the OAuth error.
        """
        with self._lock:
            refresh: str | None
            match form.get("grant_type"):
                case "refresh_token":
                    refresh = self._exchange(form.get("refresh_token", ""))
                case "authorization_code":
                    refresh = self._redeem(form)
                case "client_credentials" if self.rules.client_credentials == "access":
                    refresh = None
                case "client_credentials" if self.rules.client_credentials != "refused":
                    refresh = self._issue_refresh()
                case _:
                    raise Denied("unsupported_grant_type")
            return self._answer(self.issue_access(), refresh)

    def _redeem(self, form: dict[str, str]) -> str:
        if form.get("code") != AUTHORIZATION_CODE:
            code = self.codes.redeem(form)
            if code is None:
                raise Denied("invalid_grant")
            self.scope = code.scope or self.scope
        if self.rules.single:
            self.state.refresh.clear()
        return self._issue_refresh()

    def _issue_refresh(self) -> str:
        token = self._new("refresh")
        self.state.refresh[token] = RefreshToken(self._now())
        return token

    def _exchange(self, token: str) -> str:
        known, instant = self.state.refresh.get(token), self._now()
        if known is None or not self._alive(known, instant):
            raise Denied("invalid_grant")
        self.refreshes += 1
        if instant - known.issued_at < self.rules.kept_for:
            return token
        if self.rules.single:
            self.state.refresh.clear()
        known.replaced_at = known.replaced_at or instant
        return self._issue_refresh()

    def _alive(self, known: RefreshToken, instant: datetime) -> bool:
        life = self.rules.refresh_seconds
        if life is not None and (instant - known.issued_at).total_seconds() >= life:
            return False
        if known.replaced_at is None:
            return True
        return instant - known.replaced_at < self.rules.grace

    def _answer(self, access: str, refresh: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": int(self.access_seconds),
        }
        if refresh is not None:
            answer["refresh_token"] = refresh
        return answer | dict(self.rules.answer(self.scope, self._now()))

    def check(self, request: httpx.Request) -> str:
        """Whether the bearer token is "valid", "expired" or "unknown"."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = scheme.lower() in self.rules.words
        expires_at = self.state.access.get(token.strip()) if known else None
        if expires_at is None:
            return "unknown"
        return "valid" if self._now() < expires_at else "expired"

    def upload_certificate(self, public_key: str) -> str:
        """Takes a public key (PEM) for signed assertions; returns the certificate's id."""
        key_id = sha256(public_key.encode()).hexdigest()[:32]
        self.certificates[key_id] = public_key
        return key_id

    def expire_access(self) -> None:
        """Lets every access token run out now."""
        for token in self.state.access:
            self.state.access[token] = self._now()

    def dump(self) -> dict[str, Any]:
        """The state as JSON-able values, for a simulator that is to survive a restart."""
        plain: dict[str, Any] = json.loads(
            json.dumps(asdict(self.state), default=datetime.isoformat)
        )
        return plain

    def load(self, dumped: dict[str, Any]) -> None:
        """Takes over what `dump` gave."""

        def at(text: str | None) -> datetime | None:
            return datetime.fromisoformat(text) if text else None

        refresh = {
            token: RefreshToken(datetime.fromisoformat(row["issued_at"]), at(row["replaced_at"]))
            for token, row in dumped["refresh"].items()
        }
        access = {
            token: datetime.fromisoformat(expiry) for token, expiry in dumped["access"].items()
        }
        self.state = TokenState(refresh, access, dumped["issued"])


def read_form(request: httpx.Request) -> dict[str, str]:
    """The fields of a form or JSON body; an unreadable body has none."""
    text = request.content.decode("utf-8", "replace")
    if "json" in request.headers.get("content-type", ""):
        try:
            fields = json.loads(text)
        except ValueError:
            return {}
        return (
            {str(name): str(value) for name, value in fields.items()}
            if isinstance(fields, dict)
            else {}
        )
    return dict(parse_qsl(text, keep_blank_values=True))


def basic_client(request: httpx.Request) -> bool:
    """Whether the client identified itself by HTTP Basic."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return False
    return scheme.lower() == "basic" and (unquote(name), unquote(secret)) == (
        CLIENT_ID,
        CLIENT_SECRET,
    )


def form_client(form: dict[str, str]) -> bool:
    """Whether the client identified itself in the body."""
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
