"""The vendors' consent pages, and the one-time codes they give out."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from html import escape
from threading import Lock
from typing import Final, Literal

import httpx

from simulator.clock import Now
from simulator.model import CLIENT_ID
from simulator.registry import VENDORS
from simulator.system import ConsentPage

#: FreshBooks documents five minutes; the others' codes live about as long.
CODE_SECONDS: Final = 300
_REMEMBERED: Final = 200

#: What the page does: shows its two buttons, or answers for the person.
Decision = Literal["ask", "allow", "deny"]


@dataclass(frozen=True, slots=True)
class Code:
    """What a code was given for."""

    issued_at: datetime
    redirect_uri: str
    challenge: str
    scope: str


class Codes:
    """One vendor's codes: each is good for one exchange, for five minutes, at the redirect URI it was sent to."""

    def __init__(self, now: Now) -> None:
        self._now, self._lock = now, Lock()
        self._codes: dict[str, Code] = {}

    def issue(self, redirect_uri: str, challenge: str = "", scope: str = "") -> str:
        """A new code."""
        with self._lock:
            while len(self._codes) >= _REMEMBERED:
                del self._codes[next(iter(self._codes))]
            code = f"sim-code-{secrets.token_hex(16)}"
            self._codes[code] = Code(self._now(), redirect_uri, challenge, scope)
            return code

    def redeem(self, form: Mapping[str, str]) -> Code | None:
        """What the exchange grants, None where it is refused; the code is gone either way."""
        with self._lock:
            known = self._codes.pop(form.get("code", ""), None)
        if known is None or self._now() - known.issued_at >= timedelta(seconds=CODE_SECONDS):
            return None
        if form.get("redirect_uri") != known.redirect_uri:
            return None
        proven = (
            not known.challenge or challenge_of(form.get("code_verifier", "")) == known.challenge
        )
        return known if proven else None


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier, RFC 7636."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def authorize(
    vendor: str, codes: Codes, request: httpx.Request, decision: Decision, account: str
) -> httpx.Response:
    """The consent page, or where it sends the browser.

    `account` is what some vendors name in the callback.
    """
    consent = VENDORS[vendor].consent
    assert consent is not None
    params = dict(request.url.params)
    wrong = _wrong(consent, params)
    if (
        wrong
    ):  # shown to the person: a vendor does not send a browser to an address it does not trust
        return httpx.Response(
            400, html=f"<!doctype html><title>{vendor}</title><h1>Error</h1><p>{escape(wrong)}</p>"
        )
    chosen = params.get("decision", decision)
    if chosen == "ask":
        return _page(vendor, request)
    target, state = httpx.URL(params["redirect_uri"]), params.get("state", "")
    asked = params.get("scope", "").split(consent.scope_separator)
    unknown = set(filter(None, asked)) - set(consent.scopes)
    if unknown or chosen == "deny":
        error = "invalid_scope" if unknown else "access_denied"
        return _back(target.copy_merge_params({"error": error, "state": state}))
    challenge = params.get("code_challenge", "") if consent.pkce else ""
    answer = {
        "code": codes.issue(params["redirect_uri"], challenge, params.get("scope", "")),
        "state": state,
    }
    told = {consent.account_param: account} if consent.account_param else {}
    return _back(target.copy_merge_params(answer | told))


def _wrong(consent: ConsentPage, params: Mapping[str, str]) -> str:
    if params.get("client_id") != CLIENT_ID:
        return "unauthorized_client: unknown client_id"
    if params.get("response_type") != "code":
        return "unsupported_response_type"
    target = httpx.URL(params.get("redirect_uri", ""))
    local = target.host in ("localhost", "127.0.0.1")
    if (
        not target.host
        or target.scheme not in ("http", "https")
        or (target.scheme == "http" and not local)
    ):
        return "invalid redirect_uri: it is not one of this application's"
    if consent.https_only and target.scheme != "https":
        return "invalid redirect_uri: it must be https"
    if "code_challenge" in params and params.get("code_challenge_method") != "S256":
        return "invalid_request: code_challenge_method"
    return ""


def _page(vendor: str, request: httpx.Request) -> httpx.Response:
    links = "".join(
        f'<p><a id="{what}" href="{escape(str(request.url.copy_merge_params({"decision": what})))}">{text}</a></p>'
        for what, text in (("allow", "Allow access"), ("deny", "Cancel"))
    )
    return httpx.Response(
        200, html=f"<!doctype html><title>{vendor}</title><h1>Connect to Água Twezah?</h1>{links}"
    )


def _back(target: httpx.URL) -> httpx.Response:
    return httpx.Response(302, headers={"location": str(target)})
