"""Whether the settings let other machines reach the API without TLS.

Imports nothing heavy: the command asks first.
"""

from ipaddress import ip_address

from settings import Settings


class UnsafeError(ValueError):
    """The API would speak plain HTTP to other machines, and nobody asked for that."""


def require_safe(settings: Settings) -> None:
    """Raises UnsafeError where other machines could reach the API without TLS.

    Not if `TWEZAH_API_PLAIN_HTTP` asks for just that.
    """
    encrypted = settings.api_tls_certificate is not None
    if (
        encrypted
        or settings.trusted_proxies
        or settings.api_plain_http
        or is_loopback(settings.api_host)
    ):
        return
    raise UnsafeError(
        f"The API would answer plain HTTP at {settings.api_host}, to other machines. "
        "Set TWEZAH_API_TLS_CERTIFICATE and "
        "TWEZAH_API_TLS_KEY; or TWEZAH_API_TRUSTED_PROXIES to the address of the proxy that "
        "speaks HTTPS; or, if you mean it, "
        "TWEZAH_API_PLAIN_HTTP=true."
    )


def is_loopback(host: str) -> bool:
    """True when only this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
