"""How a WooCommerce shop checks a key.

HTTPS: HTTP Basic, or the key in the query. HTTP: OAuth 1.0a with one leg, whose signature is over
the method, the address and the sorted parameters, with the consumer secret and `&` as key.
"""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

import httpx

#: The key that a fresh simulator has; it may read.
CONSUMER_KEY: Final = "ck_simulated"
CONSUMER_SECRET: Final = "cs_simulated"
_MINUTES_MAX: Final = 15
_PARAMETERS: Final = (
    "oauth_consumer_key",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_signature",
    "oauth_signature_method",
)
_DIGESTS: Final = {"HMAC-SHA1": hashlib.sha1, "HMAC-SHA256": hashlib.sha256}
#: What the shop answers to a request without any proof.
NOBODY: Final = "nobody"


class Keys:
    """Checks proofs and remembers the nonces that were used."""

    def __init__(self) -> None:
        self._nonces: set[str] = set()

    def refusal(self, request: httpx.Request, now: datetime) -> str | None:
        """Why a request is refused: a message of the shop's, or NOBODY; None where it may pass."""
        if request.url.scheme == "https":
            return self._plain(request)
        return self._signed(request, now)

    def _plain(self, request: httpx.Request) -> str | None:
        key, secret = _basic(request)
        params = request.url.params
        if not key:
            key, secret = params.get("consumer_key", ""), params.get("consumer_secret", "")
        if not key:
            return NOBODY
        if key != CONSUMER_KEY:
            return "Consumer key is invalid."
        return None if secret == CONSUMER_SECRET else "Consumer secret is invalid."

    def _signed(self, request: httpx.Request, now: datetime) -> str | None:
        params = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        proof = {name: params.get(name, "") for name in _PARAMETERS} | _header(request)
        if not any(proof.values()):
            return NOBODY  # Basic is not looked at without TLS
        if lacking := [name for name in _PARAMETERS if not proof.get(name)]:
            return f"Missing OAuth parameters: {', '.join(lacking)}"
        if proof["oauth_consumer_key"] != CONSUMER_KEY:
            return "Consumer key is invalid."
        signed = {**params, **proof}
        signed.pop("oauth_signature")
        digest = _DIGESTS.get(proof["oauth_signature_method"])
        if digest is None:
            return "Invalid signature - signature method is invalid."
        mac = hmac.new(f"{CONSUMER_SECRET}&".encode(), _base(request, signed).encode(), digest)
        expected = base64.b64encode(mac.digest()).decode()
        if not hmac.compare_digest(expected, proof["oauth_signature"]):
            return "Invalid signature - provided signature does not match."
        stamp = proof["oauth_timestamp"]
        if not stamp.isdigit() or abs(now.timestamp() - int(stamp)) > _MINUTES_MAX * 60:
            return "Invalid timestamp."
        if proof["oauth_nonce"] in self._nonces:
            return "Invalid nonce - nonce has already been used."
        self._nonces.add(proof["oauth_nonce"])
        return None


def _basic(request: httpx.Request) -> tuple[str, str]:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


def _header(request: httpx.Request) -> dict[str, str]:
    """The parameters of a header `OAuth name="value", ...`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "oauth":
        return {}
    pairs = (part.strip().partition("=") for part in text.split(","))
    return {name: unquote(value.strip('"')) for name, _, value in pairs if name != "realm"}


def _base(request: httpx.Request, params: dict[str, str]) -> str:
    """The signed text: method, address without query, and the parameters in order."""
    address = str(request.url.copy_with(query=None, fragment=None))
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in params.items())
    query = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((request.method.upper(), _encoded(address), _encoded(query)))


def _encoded(text: str) -> str:
    return quote(text, safe="~")
