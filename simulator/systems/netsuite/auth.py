"""How NetSuite lets requests in: OAuth 1.0a signatures (TBA), and tokens for signed assertions (machine to machine)."""

import base64
import hashlib
import hmac
import json
import re
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from simulator.model import ACCOUNTS, CLIENT_ID
from simulator.oauth import Grants

TOKEN_PATH: Final = "/services/rest/auth/oauth2/v1/token"
CONSUMER: Final = ("sim-consumer-key", "sim-consumer-secret")
TOKEN: Final = ("sim-token-id", "sim-token-secret")
SKEW: Final = timedelta(minutes=5)
ASSERTION_LIFE: Final = timedelta(minutes=60)
_SCOPES: Final = {"rest_webservices", "restlets", "suite_analytics"}
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: Final = {"256": "secp256r1", "384": "secp384r1", "512": "secp521r1"}


def tba_refusal(request: httpx.Request, grants: Grants, now: datetime) -> str | None:
    """What the Login Audit Trail says of a signed request that is refused; None: it is let in, and its nonce spent."""
    header = request.headers["authorization"].removeprefix("OAuth ")
    given = {name: unquote(value) for name, value in re.findall(r'\s*(\w+)="([^"]*)"', header)}
    if given.get("realm") != ACCOUNTS["netsuite"]:
        return "WrongRealm"
    if given.get("oauth_consumer_key") != CONSUMER[0]:
        return "consumer_key_unknown"
    if given.get("oauth_token") != TOKEN[0]:
        return "token_rejected"
    if given.get("oauth_signature_method") != "HMAC-SHA256" or given.get("oauth_version") != "1.0":
        return "signature_method_rejected"
    stamp, nonce = given.get("oauth_timestamp", ""), given.get("oauth_nonce", "")
    if not stamp.isdigit() or abs(int(stamp) - now.timestamp()) > SKEW.total_seconds():
        return "timestamp_refused"
    if not nonce or (stamp, nonce) in grants.nonces:
        return "nonce_used"
    given.pop("realm")
    if not hmac.compare_digest(given.pop("oauth_signature", ""), signature(request, given)):
        return "signature_invalid"
    grants.nonces.add((stamp, nonce))
    return None


def signature(
    request: httpx.Request,
    oauth: dict[str, str],
    *,
    consumer_secret: str = CONSUMER[1],
    token_secret: str = TOKEN[1],
) -> str:
    """RFC 5849, with HMAC-SHA256: method, address and all parameters but those of a JSON body."""
    pairs = [*parse_qsl(request.url.query.decode(), keep_blank_values=True), *oauth.items()]
    params = "&".join(
        f"{name}={value}"
        for name, value in sorted((_pct(name), _pct(value)) for name, value in pairs)
    )
    address = str(request.url.copy_with(query=None, fragment=None))
    text = "&".join((request.method.upper(), _pct(address), _pct(params)))
    key = f"{_pct(consumer_secret)}&{_pct(token_secret)}"
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def _pct(text: str) -> str:
    return quote(text, safe="~")


def assertion_refusal(
    form: dict[str, str], address: str, grants: Grants, now: datetime
) -> str | None:
    """The OAuth error for a token request; None: a token may be given."""
    if (
        form.get("grant_type") != "client_credentials"
        or form.get("client_assertion_type") != _ASSERTION_TYPE
    ):
        return "invalid_request"
    try:
        head, payload, signed = form.get("client_assertion", "").split(".")
        header, claims = _decoded(head), _decoded(payload)
        mark = base64.urlsafe_b64decode(signed + "==")
    except ValueError:
        return "invalid_request"
    certificate = grants.certificates.get(str(header.get("kid")))
    if certificate is None or header.get("typ") != "JWT":
        return "invalid_client"
    if not _authentic(str(header.get("alg")), certificate, f"{head}.{payload}".encode(), mark):
        return "invalid_client"
    return None if _sound(claims, address, now) else "invalid_grant"


def _decoded(part: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(part + "=="))
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  to the caller it is one of many unreadable texts
    return value


def _authentic(algorithm: str, certificate: str, text: bytes, mark: bytes) -> bool:
    """Whether the signature fits; RS256 is not accepted."""
    key, kind, size = load_pem_public_key(certificate.encode()), algorithm[:2], algorithm[2:]
    digest = _HASHES.get(size)
    try:
        if kind == "PS" and digest and isinstance(key, rsa.RSAPublicKey):
            key.verify(mark, text, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        elif (
            kind == "ES"
            and digest
            and isinstance(key, ec.EllipticCurvePublicKey)
            and key.curve.name == _CURVES[size]
        ):
            half = len(mark) // 2
            numbers = int.from_bytes(mark[:half]), int.from_bytes(mark[half:])
            key.verify(utils.encode_dss_signature(*numbers), text, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _sound(claims: dict[str, Any], address: str, now: datetime) -> bool:
    issued, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(ends, int) or claims.get("iss") != CLIENT_ID:
        return False
    scope = claims.get("scope")
    scopes = scope if isinstance(scope, list) else re.split(r"[ ,]+", str(scope or ""))
    in_time = (
        issued - SKEW.total_seconds()
        <= now.timestamp()
        < ends
        <= issued + ASSERTION_LIFE.total_seconds()
    )
    return (
        in_time
        and claims.get("aud") == address
        and set(scopes) <= _SCOPES
        and "rest_webservices" in scopes
    )
