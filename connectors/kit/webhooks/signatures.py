"""Signature schemes of webhooks: what is signed, with which key, and where the signature is."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from pydantic import SecretStr

from connectors.kit.webhooks.bodies import BadBody, opened, optional_word, word

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

#: Headers as received: a mapping, or pairs where names may repeat.
Headers = Mapping[str, str] | Iterable[tuple[str, str]]
#: Why a delivery is refused. These words are counted and shown, so there is a fixed set of them.
Reason = Literal[
    "no secret to check with", "signature missing", "signature does not match", "timestamp missing",
    "timestamp is not a number", "timestamp too old", "timestamp in the future",
    "header given twice", "message id missing", "body too large", "address not known",
    "certificate not known", "certificate not valid",
]  # fmt: skip

#: Signatures of one delivery that are looked at. A sender that rotates its secret signs twice.
_SIGNATURES_MAX: Final = 16
#: Secrets that are tried.
_SECRETS_MAX: Final = 8
#: How far a signed timestamp may be from our clock.
_TOLERANCE_SECONDS: Final = 300


class Unusable(ValueError):
    """A secret that this scheme cannot use. The message holds no part of it."""


@dataclass(frozen=True)
class Delivery:
    """One request as received."""

    #: Names in lower case.
    headers: Mapping[str, str]
    body: bytes
    #: The address as the operator registered it at the sender; None where it is not known.
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
    """A request as a `Delivery`.

    Args:
        headers: As received.
        body: As received.
        url: As registered with the sender.
        query: Of the address as received, undecoded.
        only: Headers that may come once only. A second value would come from a proxy or a forger.

    Raises:
        ValueError: If one of those comes twice.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    watched = {name.lower() for name in only}
    values: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if key in watched and key in values:
            raise ValueError("a header is given twice")
        values[key] = value
    return Delivery(values, body, url, query)


@dataclass(frozen=True, eq=False)
class Scheme:
    """How a delivery proves where it comes from: HMAC-SHA256, and where it is in the request."""

    #: Headers that may come once only.
    headers: tuple[str, ...]
    #: Reads the signatures out of a delivery.
    signatures: Callable[[Delivery], Sequence[str]]
    #: Builds the signed bytes; None where something is missing (see `lacking`).
    content: Callable[[Delivery], bytes | None]
    #: How a signature is written.
    encoding: Literal["base64", "hex"]
    #: Turns the secret's text into the key; raises Unusable.
    key: Callable[[str], bytes]
    #: Reads the timestamp, where the scheme signs one.
    stamp: Callable[[Delivery], str | None] | None = None
    tolerance_seconds: int = _TOLERANCE_SECONDS
    #: Headers that `message_id` looks at.
    id_headers: tuple[str, ...] = ()
    #: The sender's id of a delivery, the same on every retry; "" where the scheme has none.
    message_id: Callable[[Delivery], str] = lambda _: ""
    #: Checks a signature with a public key, given as text, and the signed bytes. The signature is
    #: in the header `_CANDIDATE` of the delivery.
    asymmetric: Callable[[str, Delivery, bytes], bool] | None = None
    #: Why a delivery is refused of which `content` cannot be built.
    lacking: Reason = "address not known"
    #: Nothing is signed: `signatures` are the secret itself, as often as the delivery holds it.
    #: Each must be one of ours.
    in_clear: bool = False
    #: Whether a secret is a public key, for `asymmetric`.
    is_public: Callable[[str], bool] = lambda text: text.startswith(_PUBLIC)
    #: Of deliveries that are signed with a certificate: where it is; None where the address that
    #: the delivery names is not one of the vendor's.
    certificate_address: Callable[[Delivery], str | None] | None = None
    #: Of those: the place of the secret that fits, or why none does; from the secrets, the
    #: delivery, the certificate (PEM) and the time.
    certified: Callable[[Sequence[str], Delivery, bytes, datetime], int | Reason] | None = None


def matching(scheme: Scheme, secrets: Sequence[SecretStr], received: Delivery) -> int | Reason:
    """The place of the first secret that fits one of the signatures, or why none does.

    All are compared, each in constant time, so that the time tells nothing about which one fits.
    """
    usable = list(_usable(scheme, secrets[:_SECRETS_MAX]))
    if not usable:
        return "no secret to check with"
    if scheme.in_clear:
        return _matching_in_clear(usable, scheme.signatures(received))
    signatures = [signature for signature in scheme.signatures(received) if signature]
    if not signatures:
        return "signature missing"
    content = scheme.content(received)
    if content is None:
        return scheme.lacking
    fitting_no: int | None = None
    for number, text, key in usable:
        expected = (
            _encoded(scheme, hmac.digest(key, content, hashlib.sha256)) if key is not None else ""
        )
        for signature in signatures[:_SIGNATURES_MAX]:
            if key is None:
                fits = scheme.asymmetric is not None and scheme.asymmetric(
                    text, _with(received, signature), content
                )
            else:
                written = signature.lower() if scheme.encoding == "hex" else signature
                fits = hmac.compare_digest(expected.encode(), written.encode("utf-8", "replace"))
            if fits and fitting_no is None:
                fitting_no = number
    return "signature does not match" if fitting_no is None else fitting_no


def _matching_in_clear(
    usable: Sequence[tuple[int, str, bytes | None]], values: Sequence[str]
) -> int | Reason:
    """The place of the oldest secret that the values hold, or why one of them is none of ours."""
    if not values:
        return "signature missing"
    oldest_no = 0
    # During a rotation some values are the old secret, so there can be as many as secrets.
    for value in set(values):
        fitting = [
            number
            for number, text, _ in usable
            if hmac.compare_digest(text.encode(), value.encode("utf-8", "replace"))
        ]
        if not fitting:
            return "signature does not match"
        oldest_no = max(oldest_no, fitting[0])
    return oldest_no


def matching_certified(
    scheme: Scheme,
    secrets: Sequence[SecretStr],
    received: Delivery,
    certificate: bytes | None,
    now: datetime,
) -> int | Reason:
    """As `matching`, for deliveries that are signed with a certificate (PEM)."""
    usable = list(_usable(scheme, secrets[:_SECRETS_MAX]))
    if not usable:
        return "no secret to check with"
    if not any(scheme.signatures(received)):
        return "signature missing"
    if certificate is None or scheme.certified is None:
        return "certificate not known"
    texts = [text for _, text, _ in usable]
    fitting = scheme.certified(texts, received, certificate, now)
    return usable[fitting][0] if isinstance(fitting, int) else fitting


def _usable(
    scheme: Scheme, secrets: Sequence[SecretStr]
) -> Iterable[tuple[int, str, bytes | None]]:
    for number, secret in enumerate(secrets):
        text = secret.get_secret_value().strip()
        if scheme.asymmetric is not None and scheme.is_public(text):
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

    The names of the message id's header decide which set counts, so that two sets are never mixed.
    A forger who adds an id of the other set to a copy makes a message without a signature.
    """
    prefix = next(
        (candidate for candidate in _PREFIXES if received.header(candidate + _ID)), _PREFIXES[0]
    )
    return received.header(prefix + part)


def standard_key(secret: str) -> bytes:
    """The bytes behind `whsec_`, 24 to 64 of them, in base64 with or without padding."""
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


def standard_signature(
    secrets: Sequence[str], message_id: str, timestamp_seconds: int, body: bytes
) -> str:
    """The header `webhook-signature` of a message that we send: one `v1,<base64>` per secret.

    Raises Unusable if a secret is no `whsec_` one, ValueError if the id has a dot.
    """
    if not message_id or "." in message_id:
        raise ValueError("an id of a message has no dot")
    content = f"{message_id}.{timestamp_seconds}.".encode() + body
    digests = (hmac.digest(standard_key(secret), content, hashlib.sha256) for secret in secrets)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def _standard_content(received: Delivery) -> bytes | None:
    message_id = _standard(received, _ID)
    # With a dot in the id, nobody could tell where the id ends and the timestamp begins.
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
    """The signatures of the versions v1 and v1a (asymmetric, kept with their version).

    The header holds them as `v1,<base64>`, with spaces in between.
    """
    signatures = []
    for token in _standard(received, _SIGNATURE).split(" ")[:_SIGNATURES_MAX]:
        version, comma, signature = token.partition(",")
        if comma and version == "v1":
            signatures.append(signature)
        elif comma and version == "v1a":
            signatures.append(f"v1a:{signature}")
    return signatures


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
        content: What is signed, if it is neither of those.
    """

    def signatures(received: Delivery) -> list[str]:
        value = received.header(header).strip()
        if not value.lower().startswith(prefix.lower()):
            return []
        return [value[len(prefix) :].strip()]

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


#: One `name=value` of a list.
_PART = re.compile(r"\s*([A-Za-z0-9_]{1,16})\s*=\s*([^,]*?)\s*")


def timestamped_list(
    header: str, *, version: str = "v1", tolerance_seconds: int = _TOLERANCE_SECONDS
) -> Scheme:
    """`t=<seconds>,v1=<hex>[,v1=<hex>]` in one header (Stripe, Wave).

    `t.body` is signed, and the whole secret's text is the key.
    """

    def parts(received: Delivery) -> list[tuple[str, str]]:
        listed = received.header(header).split(",")[: 2 * _SIGNATURES_MAX]
        return [(match[1], match[2]) for entry in listed if (match := _PART.fullmatch(entry))]

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


#: A public key in PEM form.
_PUBLIC_KEY: Final = re.compile(
    r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]{1,4096})-----END PUBLIC KEY-----"
)
#: Keys of one secret that are tried: a vendor renews one while the other is in use.
_KEYS_MAX: Final = 4


def recipient_and_rsa_keys(
    *, headers: tuple[str, ...], recipient: str, event_id: str = ""
) -> Scheme:
    """RSA-SHA256 (PKCS #1 v1.5) over the body, base64, with a key that the vendor publishes.

    The same keys sign what is sent to all of the vendor's customers. So the secret begins with
    our own id at the vendor, which the body must name; the public keys (PEM) stand behind it.

    Args:
        headers: Where signatures are; one that fits is enough.
        recipient: Pointer to the id of the recipient in the body.
        event_id: Pointer to an id in the body that is the same on every retry; "": none.
    """

    def fits(secret: str, received: Delivery, content: bytes) -> bool:
        own_id, keys = _recipient_and_keys(secret)
        if not own_id or not _rsa_fits(keys, received.header(_CANDIDATE), content):
            return False
        try:
            recipient_id = word(opened(received.body), recipient)
        except BadBody:
            return False
        return hmac.compare_digest(recipient_id.encode(), own_id.encode())

    def message_id(received: Delivery) -> str:
        try:
            return optional_word(opened(received.body), event_id) or ""
        except BadBody:
            return ""

    return Scheme(
        headers=headers,
        signatures=lambda received: [received.header(name).strip() for name in headers],
        content=lambda received: received.body,
        encoding="base64",
        key=_checked_keys,
        message_id=message_id if event_id else lambda _: "",
        asymmetric=fits,
        is_public=lambda text: bool(_PUBLIC_KEY.search(text)),
    )


def _recipient_and_keys(secret: str) -> tuple[str, list[bytes]]:
    # A field of one line loses line breaks.
    own_id = secret.partition("-----BEGIN")[0].strip()
    keys = [match[0].encode() for match in _PUBLIC_KEY.finditer(secret)]
    return own_id, keys[:_KEYS_MAX]


def _checked_keys(secret: str) -> bytes:
    """Nothing: such a secret signs nothing. Says what is wrong with it.

    Raises:
        Unusable: It is not an id and at least one key.
    """
    own_id, keys = _recipient_and_keys(secret)
    if not own_id or len(own_id.split()) > 1:
        raise Unusable("it does not begin with your id at the vendor")
    if not keys:
        raise Unusable("it holds no public key (-----BEGIN PUBLIC KEY-----) behind the id")
    for key in keys:
        _rsa_key(key)
    return b""


def _rsa_key(pem: bytes) -> "RSAPublicKey":
    """The public key in a PEM text, whose line breaks a form may have lost."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    match = _PUBLIC_KEY.search(pem.decode())
    try:
        key = load_der_public_key(base64.b64decode("".join((match or [""])[1].split())))
    except (ValueError, IndexError, UnsupportedAlgorithm):
        raise Unusable("a public key in it cannot be read: a part is missing or changed") from None
    if not isinstance(key, RSAPublicKey):
        raise Unusable("a public key in it is not an RSA key")
    return key


def _rsa_fits(keys: Iterable[bytes], signature: str, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        signature_bytes = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    for pem in keys:
        try:
            _rsa_key(pem).verify(signature_bytes, content, PKCS1v15(), SHA256())
        except (InvalidSignature, Unusable):
            continue
        return True
    return False


def url_and_body(received: Delivery) -> bytes | None:
    """The signed bytes of schemes that sign the registered address and the body (Square)."""
    return received.url.encode() + received.body if received.url and received.body else None


_HIDDEN_CHARACTERS_MIN: Final = 8


def without_secrets(scheme: Scheme, body: bytes, secrets: Iterable[str]) -> bytes:
    """A verified body as it may be stored: without the secret, where that comes in clear.

    A secret of a few letters is part of other words too, so it stays.
    """
    if scheme.in_clear:
        for secret in secrets:
            if len(secret) >= _HIDDEN_CHARACTERS_MIN:
                body = body.replace(secret.encode(), b"-")
    return body


def secret_in_clear(read: Callable[[Delivery], Sequence[str]]) -> Scheme:
    """No signature: the secret itself comes with the delivery (Business Central's `clientState`).

    Whoever sees one delivery can forge the next: what it says must be read again at the vendor.

    Args:
        read: The secret, as often as the delivery holds it; "" where it is missing in one place.
            It raises nothing, whatever the body is.
    """
    return Scheme(
        headers=(),
        signatures=read,
        content=lambda _: b"",
        encoding="hex",
        key=text_key,
        in_clear=True,
    )
