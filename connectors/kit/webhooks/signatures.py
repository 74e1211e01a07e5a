"""Signature schemes of webhooks: what is signed, with which key, and where the signature is."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import SecretStr

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Reason = Literal[
    "no secret to check with", "signature missing", "signature does not match", "timestamp missing", "timestamp is not a number",
    "timestamp too old", "timestamp in the future", "header given twice", "message id missing", "body too large", "address not known",
]  # fmt: skip

#: A sender that rotates its secret signs twice; more than this is no sender.
_SIGNATURES_MAX: Final = 16
_SECRETS_MAX: Final = 8
_TOLERANCE_SECONDS: Final = 300


class Unusable(ValueError):
    """A secret that cannot be one of this scheme. The message holds no part of it."""


@dataclass(frozen=True)
class Delivery:
    """One request as received; header names in lower case, `url` as the operator registered it."""

    headers: Mapping[str, str]
    body: bytes
    url: str | None = None
    #: The query of the address as received, undecoded; some schemes sign it.
    query: str = ""

    def header(self, name: str) -> str:
        """The header's value, "" where there is none."""
        return self.headers.get(name.lower(), "")


def delivery(
    headers: Headers,
    body: bytes,
    url: str | None,
    query: str = "",
    *,
    only: Iterable[str] = (),
) -> Delivery:
    """Headers in lower case.

    Raises:
        ValueError: If one of the names in `only` is given twice: a proxy or a forger put a second
            value beside the sender's.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    watched = {name.lower() for name in only}
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if key in watched and key in found:
            raise ValueError("a header is given twice")
        found[key] = value
    return Delivery(found, body, url, query)


@dataclass(frozen=True, eq=False)
class Scheme:
    """How a delivery proves where it comes from.

    `signatures` reads the signatures out of a delivery, `content` builds the signed bytes (None:
    something is missing), `key` turns the secret's text into the key and raises Unusable, `sign`
    computes the text of a signature. `stamp` reads the timestamp, where the scheme signs one.
    `headers` may be given once only. `message_id` is the sender's id of a delivery, the same on
    every retry, "" where the scheme has none; `id_headers` are those that it looks at.
    """

    headers: tuple[str, ...]
    signatures: Callable[[Delivery], Sequence[str]]
    content: Callable[[Delivery], bytes | None]
    encoding: Literal["base64", "hex"]
    key: Callable[[str], bytes]
    stamp: Callable[[Delivery], str | None] | None = None
    tolerance_seconds: int = _TOLERANCE_SECONDS
    id_headers: tuple[str, ...] = ()
    message_id: Callable[[Delivery], str] = lambda _: ""
    asymmetric: Callable[[str, Delivery, bytes], bool] | None = None
    lacking: Reason = "address not known"


def matching(scheme: Scheme, secrets: Sequence[SecretStr], received: Delivery) -> int | Reason:
    """The place of the first secret that fits one of the signatures, or why none does.

    All are compared, in constant time.
    """
    usable = list(_usable(scheme, secrets[:_SECRETS_MAX]))
    if not usable:
        return "no secret to check with"
    given = [one for one in scheme.signatures(received) if one]
    if not given:
        return "signature missing"
    content = scheme.content(received)
    if content is None:
        return scheme.lacking
    found: int | None = None
    for number, text, key in usable:
        expected = (
            _encoded(scheme, hmac.digest(key, content, hashlib.sha256)) if key is not None else ""
        )
        for signature in given[:_SIGNATURES_MAX]:
            if key is None:
                fits = scheme.asymmetric is not None and scheme.asymmetric(
                    text, _with(received, signature), content
                )
            else:
                said = signature.lower() if scheme.encoding == "hex" else signature
                fits = hmac.compare_digest(expected.encode(), said.encode("utf-8", "replace"))
            if fits and found is None:
                found = number
    return "signature does not match" if found is None else found


def _usable(
    scheme: Scheme, secrets: Sequence[SecretStr]
) -> Iterable[tuple[int, str, bytes | None]]:
    for number, secret in enumerate(secrets):
        text = secret.get_secret_value().strip()
        if scheme.asymmetric is not None and text.startswith(_PUBLIC):
            yield number, text, None
            continue
        try:
            yield number, text, scheme.key(text)
        except Unusable:
            continue


def _with(received: Delivery, signature: str) -> Delivery:
    return Delivery({**received.headers, _CANDIDATE: signature}, received.body)


def _encoded(scheme: Scheme, digest: bytes) -> str:
    return digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()


def text_key(secret: str) -> bytes:
    """The secret's text itself is the key."""
    if not secret:
        raise Unusable("it is empty")
    return secret.encode()


# Standard Webhooks (https://www.standardwebhooks.com).
_SYMMETRIC: Final = "whsec_"
_PUBLIC: Final = "whpk_"
_CANDIDATE: Final = ":candidate"
#: The same three headers, by the specification and as Svix, which many services send with, calls
#: them.
_PREFIXES: Final = ("webhook-", "svix-")
_ID, _STAMP, _SIGNATURE = "id", "timestamp", "signature"


def _standard(received: Delivery, part: str) -> str:
    """One of the three headers.

    The message id decides which names count, so that nobody mixes two sets.

    An id that somebody adds to a copy would make it a new message; with it, the copy has no
    signature.
    """
    prefix = next((one for one in _PREFIXES if received.header(one + _ID)), _PREFIXES[0])
    return received.header(prefix + part)


def standard_key(secret: str) -> bytes:
    """The bytes behind `whsec_`, 24 to 64 of them, in base64; missing padding is no matter."""
    text = secret.removeprefix(_SYMMETRIC)
    if not text:
        raise Unusable("it is empty")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("it is not base64 (behind whsec_)") from None
    if not 16 <= len(key) <= 128:
        raise Unusable("it has less than 16 or more than 128 bytes; 24 to 64 are usual")
    return key


def _standard_content(received: Delivery) -> bytes | None:
    message_id = _standard(received, _ID)
    # With a dot in it, what belongs to the id and what to the timestamp would be a matter of
    # opinion.
    if not message_id or "." in message_id:
        return None
    return f"{message_id}.{_standard(received, _STAMP)}.".encode() + received.body


def _ed25519(public: str, received: Delivery, content: bytes) -> bool:
    """Whether the candidate is a `v1a` signature of this content."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    version, _, signature = received.header(_CANDIDATE).partition(":")
    if version != "v1a":
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(
            base64.b64decode(public.removeprefix(_PUBLIC), validate=True)
        )
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _standard_signatures(received: Delivery) -> list[str]:
    """`v1,<base64>` parted by spaces; other versions are not ours.

    The version of asymmetric ones goes along.
    """
    found = []
    for token in _standard(received, _SIGNATURE).split(" ")[:_SIGNATURES_MAX]:
        version, comma, signature = token.partition(",")
        if comma and version == "v1":
            found.append(signature)
        elif comma and version == "v1a":
            found.append(f"v1a:{signature}")
    return found


def standard_webhooks(tolerance_seconds: int = _TOLERANCE_SECONDS) -> Scheme:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature`, or the same with `svix-`.

    HMAC-SHA256 (`v1`, secrets `whsec_...`) or Ed25519 (`v1a`, `whpk_...`).
    """
    return Scheme(
        headers=tuple(prefix + part for prefix in _PREFIXES for part in (_ID, _STAMP, _SIGNATURE)),
        signatures=_standard_signatures,
        content=_standard_content,
        encoding="base64",
        key=standard_key,
        stamp=lambda received: _standard(received, _STAMP) or None,
        tolerance_seconds=tolerance_seconds,
        id_headers=tuple(prefix + _ID for prefix in _PREFIXES),
        message_id=lambda received: _standard(received, _ID),
        asymmetric=_ed25519,
        lacking="message id missing",
    )


def plain_hmac(
    header: str,
    encoding: Literal["base64", "hex"] = "base64",
    *,
    prefix: str = "",
    timestamp_header: str = "",
    id_header: str = "",
    tolerance_seconds: int = _TOLERANCE_SECONDS,
    content: Callable[[Delivery], bytes | None] | None = None,
) -> Scheme:
    """HMAC-SHA256 in a header of its own, the secret's text as key.

    Args:
        header: Where the signature is.
        encoding: How it is written.
        prefix: What stands before it, e.g. "sha256=".
        timestamp_header: If given, seconds since 1970 are in this header, and `timestamp.body` is
            signed; else the body.
        id_header: If given, this header has an id that is the same on every retry.
        tolerance_seconds: How far the timestamp may be from our clock.
        content: What is signed instead.
    """

    def signatures(received: Delivery) -> list[str]:
        said = received.header(header).strip()
        if not said.lower().startswith(prefix.lower()):
            return []
        return [said[len(prefix) :].strip()]

    def stamped(received: Delivery) -> bytes:
        return f"{received.header(timestamp_header).strip()}.".encode() + received.body

    def stamp(received: Delivery) -> str | None:
        return received.header(timestamp_header).strip() or None

    signed = content or (stamped if timestamp_header else lambda received: received.body)
    once = (header, *filter(None, (timestamp_header, id_header)))
    return Scheme(
        once,
        signatures,
        signed,
        encoding,
        text_key,
        stamp if timestamp_header else None,
        tolerance_seconds,
        id_headers=(id_header,) if id_header else (),
        message_id=lambda received: received.header(id_header) if id_header else "",
    )


_PART = re.compile(r"\s*([A-Za-z0-9_]{1,16})\s*=\s*([^,]*?)\s*")


def timestamped_list(
    header: str, *, version: str = "v1", tolerance_seconds: int = _TOLERANCE_SECONDS
) -> Scheme:
    """`t=<seconds>,v1=<hex>[,v1=<hex>]` in one header, `t.body` signed, the whole secret's text as key (Stripe, Wave)."""

    def parts(received: Delivery) -> list[tuple[str, str]]:
        listed = received.header(header).split(",")[: 2 * _SIGNATURES_MAX]
        return [(found[1], found[2]) for one in listed if (found := _PART.fullmatch(one))]

    def stamp(received: Delivery) -> str | None:
        return next((value for name, value in parts(received) if name == "t"), None)

    return Scheme(
        (header,),
        lambda received: [value for name, value in parts(received) if name == version],
        lambda received: f"{stamp(received)}.".encode() + received.body,
        "hex",
        text_key,
        stamp,
        tolerance_seconds,
    )


def url_and_body(received: Delivery) -> bytes | None:
    """The registered address, and behind it the body (Square)."""
    return received.url.encode() + received.body if received.url and received.body else None
