"""Proofs made with a key of our own: OAuth 1.0a signatures and signed assertions.

Keys never show in an error.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from connectors.kit.errors import CredentialsRejected, Misconfigured
from connectors.kit.spec import Account, AssertionAuth, RequestAuth

# Importing cryptography takes time, and most systems do not need it: functions import what they
# use.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    SigningKey = RSAPrivateKey | EllipticCurvePrivateKey

#: A private key in PEM form, with its kind and its body.
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.*?)-----END \1-----", re.DOTALL)
#: JWT algorithms by the size of the curve in bits.
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def oauth1_hmac_sha256(
    request: httpx.Request,
    *,
    consumer: tuple[str, str],
    token: tuple[str, str] | None = None,
    realm: str = "",
    now: datetime,
    nonce: str | None = None,
    in_query: bool = False,
) -> None:
    """Signs a request in place: OAuth 1.0a with HMAC-SHA256.

    The query is signed, a JSON body is not.

    Args:
        request: What is about to be sent, with its final URL.
        consumer: Key and secret of the application.
        token: Id and secret of the token; None where the application's own are enough
            ("one-legged").
        realm: The account; "": none is sent.
        now: The time, UTC.
        nonce: A random one if not given; none may be used twice.
        in_query: Whether the signature goes into the query, instead of a header.
    """
    from oauthlib.oauth1 import (
        SIGNATURE_HMAC_SHA256,
        SIGNATURE_TYPE_AUTH_HEADER,
        SIGNATURE_TYPE_QUERY,
        Client,
    )

    signer = Client(
        consumer[0],
        client_secret=consumer[1],
        resource_owner_key=token[0] if token else None,
        resource_owner_secret=token[1] if token else None,
        signature_method=SIGNATURE_HMAC_SHA256,
        signature_type=SIGNATURE_TYPE_QUERY if in_query else SIGNATURE_TYPE_AUTH_HEADER,
        realm=realm or None,
        nonce=nonce,
        timestamp=str(int(now.timestamp())),
    )
    url, headers, _ = signer.sign(str(request.url), http_method=cast("Any", request.method))
    if in_query:
        request.url = httpx.URL(url)
    else:
        request.headers["authorization"] = headers["Authorization"]


def private_key(text: str) -> "SigningKey":
    """A private key from its PEM text, whose line breaks a form may have lost.

    Raises:
        ValueError: If it is none, is protected by a password, or is neither RSA nor of a NIST
            curve. The message holds no part of it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _PEM.search(text)
    if pem is None:
        raise ValueError("it is not a private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    if "ENCRYPTED" in pem[0]:
        raise ValueError("it is protected by a password: store it without one")
    body = re.sub(r"\\[nr]|\s", "", pem[2])
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    try:
        key = load_pem_private_key(
            f"-----BEGIN {pem[1]}-----\n{lines}\n-----END {pem[1]}-----\n".encode(),
            password=None,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it cannot be read: a part of it is missing or changed") from None
    if isinstance(key, RSAPrivateKey) or (
        isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES
    ):
        return key
    raise ValueError("it is neither an RSA key nor one of the curves P-256, P-384 and P-521")


def assertion(
    key: "SigningKey",
    claims: Mapping[str, Any],
    *,
    key_id: str,
    now: datetime,
    life: timedelta = timedelta(minutes=5),
) -> str:
    """A signed JWT, with `iat` and `exp` added.

    RSA keys sign with PS256, elliptic curves with ES256, ES384 or ES512.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from joserfc import jwt
    from joserfc.jwk import ECKey, RSAKey

    signer: RSAKey | ECKey
    if isinstance(key, RSAPrivateKey):
        algorithm, signer = "PS256", RSAKey.import_key(key)
    else:
        algorithm, signer = _CURVES[key.curve.name], ECKey.import_key(key)
    times = {"iat": int(now.timestamp()), "exp": int((now + life).timestamp())}
    header = {"alg": algorithm, "kid": key_id}
    return jwt.encode(header, {**claims, **times}, signer, algorithms=[algorithm])


def token_based(account: Account, *, realm: str, refused: type[CredentialsRejected]) -> RequestAuth:
    """Signed requests (OAuth 1.0a).

    The account's secrets are consumer_key, consumer_secret, token_id and token_secret.

    Raises:
        Misconfigured: If one of them is missing.
    """
    names = ("consumer_key", "consumer_secret", "token_id", "token_secret")
    _needed(account, **{name: account.secret(name) for name in names})

    def sign(account: Account, request: httpx.Request, now: datetime) -> None:
        consumer = (account.secret("consumer_key"), account.secret("consumer_secret"))
        token = (account.secret("token_id"), account.secret("token_secret"))
        oauth1_hmac_sha256(request, consumer=consumer, token=token, realm=realm, now=now)

    return RequestAuth(sign, refused)


def machine_to_machine(
    account: Account, *, default_scope: str, refused: type[CredentialsRejected]
) -> AssertionAuth:
    """Tokens for signed assertions (OAuth 2, JWT bearer).

    Needs the account's client_id, the options certificate_id and scope, and the secret private_key.

    Raises:
        Misconfigured: If one of them is missing, or the key cannot be used.
    """
    certificate = str(account.options.get("certificate_id") or "")
    _needed(account, client_id=account.client_id, certificate_id=certificate)
    try:
        key = private_key(account.secret("private_key"))
    except ValueError as error:
        raise Misconfigured(
            account.system, "connect", f"the private key cannot be used: {error}"
        ) from None

    def grant(account: Account, url: str, now: datetime) -> httpx.Request:
        scope = account.options.get("scope") or default_scope
        claims = {"iss": account.client_id, "scope": scope, "aud": url}
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion(key, claims, key_id=certificate, now=now),
        }
        return httpx.Request("POST", url, data=form, headers={"accept": "application/json"})

    return AssertionAuth(grant, refused)


def _needed(account: Account, **values: str) -> None:
    missing = [name.replace("_", " ") for name, value in values.items() if not value]
    if missing:
        raise Misconfigured(account.system, "connect", f"fill in {' and '.join(missing)}")
