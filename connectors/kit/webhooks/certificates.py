"""Webhooks that are signed with a certificate, whose address each delivery names.

Anyone can send a delivery. So its address is checked before anything is fetched, what is fetched is
bounded in size, time and number, and it is kept.

The certificate's chain is not checked: the server that gives it is the vendor's, by its own
certificate (TLS) and by its name, and redirects are not followed.
"""

import base64
import binascii
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from connectors.kit.http.download import DownloadError, download
from connectors.kit.webhooks.signatures import Delivery, Reason, Scheme, text_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate

_Kept = TypeVar("_Kept", bytes, str)
#: The last part of an address.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_KEY_BITS_MIN: Final = 2048
_BYTES_MAX: Final = 64 * 1024
_TIMEOUT_SECONDS: Final = 5.0
#: How long a certificate is kept, and how long none is asked for after a failure.
_KEPT_SECONDS: Final = 86_400.0
_FAILED_SECONDS: Final = 60.0
_CERTIFICATES_MAX: Final = 16
#: Fetches within a minute.
_FETCHES_MAX: Final = 10
_MINUTE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class CertificateSource:
    """Where a vendor's certificates may be, and whose they must be."""

    #: The header that holds the address.
    header: str
    #: Names of hosts, to the letter.
    hosts: tuple[str, ...]
    #: What the path begins with; one name follows.
    path: str
    #: End of the host name that a certificate is for, with its dot in front.
    issued_to: str

    def address(self, received: Delivery) -> str | None:
        """The address that a delivery names; None where it is not one of the vendor's."""
        text = received.header(self.header)
        for host in self.hosts:
            start = f"https://{host}{self.path}"
            if text.startswith(start) and _NAME.fullmatch(text[len(start) :]):
                return text
        return None


def signed_by_certificate(
    source: CertificateSource,
    *,
    header: str,
    content: Callable[[str, Delivery], bytes | None],
    algorithm: tuple[str, str],
    id_header: str = "",
) -> Scheme:
    """RSA-SHA256 (PKCS #1 v1.5), base64, by the certificate whose address the delivery names.

    Args:
        source: Where the certificate may be.
        header: Where the signature is.
        content: What is signed, from the secret (which may be an id only) and the delivery; None
            where a part is missing.
        algorithm: A header, and what it must say.
        id_header: If given, this header has an id that is the same on every retry.
    """

    def certified(
        secrets: Sequence[str], received: Delivery, pem: bytes, now: datetime
    ) -> int | Reason:
        key = public_key(pem, source.issued_to, now)
        if key is None:
            return "certificate not valid"
        if received.header(algorithm[0]) != algorithm[1]:
            return "signature does not match"
        signature = received.header(header).strip()
        for number, secret in enumerate(secrets):
            signed = content(secret, received)
            if signed is None:
                return "message id missing"
            if _fits(key, signature, signed):
                return number
        return "signature does not match"

    return Scheme(
        headers=tuple(filter(None, (header, source.header, algorithm[0], id_header))),
        signatures=lambda received: [received.header(header).strip()],
        content=lambda _: None,
        encoding="base64",
        key=text_key,
        id_headers=(id_header,) if id_header else (),
        message_id=lambda received: received.header(id_header) if id_header else "",
        certificate_address=source.address,
        certified=certified,
    )


def public_key(pem: bytes, issued_to: str, now: datetime) -> "RSAPublicKey | None":
    """The key of the first certificate in a PEM text.

    None where it is not in force now, or not for a host whose name ends with `issued_to`, or no RSA
    key of at least 2048 bits.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    try:
        certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key()
        names = _hosts(certificate)
    except Exception:  # noqa: BLE001  whatever a parser says of bytes that anybody may have written
        return None
    in_force = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    if not in_force or not names or not all(name.endswith(issued_to) for name in names):
        return None
    is_usable = isinstance(key, RSAPublicKey) and key.key_size >= _KEY_BITS_MIN
    return key if is_usable and isinstance(key, RSAPublicKey) else None


def _hosts(certificate: "Certificate") -> list[str]:
    """The common name and the other names of hosts, in lower case."""
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
    from cryptography.x509.oid import NameOID

    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [str(attribute.value) for attribute in common]
    try:
        others = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        pass
    else:
        names += others.value.get_values_for_type(DNSName)
    return [name.lower() for name in names]


def _fits(key: "RSAPublicKey", signature: str, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(base64.b64decode(signature, validate=True), content, PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


class CertificateAwayError(RuntimeError):
    """A certificate could not be fetched now. The message says why, without the address."""


def fetched(address: str) -> bytes:
    """The certificate at a checked address. Raises DownloadError."""
    return download(
        address, bytes_max=_BYTES_MAX, timeout_seconds=_TIMEOUT_SECONDS, attempts=1, redirects=0
    )


class Certificates:
    """Certificates by their addresses, for a day. Several threads use it.

    Args:
        fetch: Gets one, and raises DownloadError.
        monotonic: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes] = fetched,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch, self._monotonic = fetch, monotonic
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._fetches: deque[float] = deque(maxlen=_FETCHES_MAX)
        self._lock, self._fetching = Lock(), Lock()

    def known(self, address: str) -> bytes | None:
        """The certificate, if it is kept; it waits for nothing."""
        with self._lock:
            until, pem = self._kept.get(address, (0.0, b""))
            return pem if self._monotonic() < until else None

    def get(self, address: str) -> bytes:
        """The certificate, kept or fetched; one is fetched at a time.

        Raises:
            CertificateAwayError: It cannot be had now. Later it may be.
        """
        if (pem := self.known(address)) is not None:
            return pem
        if not self._fetching.acquire(timeout=2 * _TIMEOUT_SECONDS):
            raise CertificateAwayError("another one is being fetched")
        try:
            pem = self.known(address)
            return self._fetched(address) if pem is None else pem
        finally:
            self._fetching.release()

    def _fetched(self, address: str) -> bytes:
        now = self._monotonic()
        until, reason = self._failed.get(address, (0.0, ""))
        if now < until:
            raise CertificateAwayError(reason)
        if len(self._fetches) == _FETCHES_MAX and now - self._fetches[0] < _MINUTE_SECONDS:
            raise CertificateAwayError("too many were asked for within a minute")
        self._fetches.append(now)
        try:
            pem = self._fetch(address)
        except DownloadError as error:
            _keep(self._failed, address, (now + _FAILED_SECONDS, str(error)))
            raise CertificateAwayError(str(error)) from None
        with self._lock:
            _keep(self._kept, address, (now + _KEPT_SECONDS, pem))
        return pem


def _keep(
    entries: "OrderedDict[str, tuple[float, _Kept]]", address: str, entry: tuple[float, _Kept]
) -> None:
    """Stores an entry in place of the oldest one where there are too many."""
    entries.pop(address, None)
    while len(entries) >= _CERTIFICATES_MAX:
        entries.popitem(last=False)
    entries[address] = entry
