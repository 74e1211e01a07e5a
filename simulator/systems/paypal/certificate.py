"""The certificate with which the simulated PayPal signs its webhooks, and how it signs."""

import base64
import zlib
from datetime import UTC, datetime
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

NAME: Final = "CERT-51a1b2c3-4d5e6f70"
#: Where PayPal says that it is.
ADDRESS: Final = f"https://api.paypal.com/v1/notifications/certs/{NAME}"
ALGORITHM: Final = "SHA256withRSA"
#: Whose it is.
_ISSUED_TO: Final = "messageverificationcerts.paypal.com"


@cache
def key() -> rsa.RSAPrivateKey:
    """The private key, made once a process."""
    return rsa.generate_private_key(65_537, 2048)


def pem(
    issued_to: str = _ISSUED_TO,
    begins: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    ends: datetime = datetime(2100, 1, 1, tzinfo=UTC),
) -> bytes:
    """The certificate; signed by itself, as nobody here vouches for it."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "PayPal, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, issued_to),
        ]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(issued_to)]), critical=False)
        .sign(key(), hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def signed_text(transmission_id: str, time: str, webhook_id: str, body: bytes) -> bytes:
    """What is signed: of the body, its CRC-32 alone."""
    return f"{transmission_id}|{time}|{webhook_id}|{zlib.crc32(body)}".encode()


def signature(text: bytes) -> str:
    """The signature of a text, in base64."""
    return base64.b64encode(key().sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(text: bytes, signed: str) -> bool:
    """Whether a signature is ours."""
    try:
        mark = base64.b64decode(signed, validate=True)
        key().public_key().verify(mark, text, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True
