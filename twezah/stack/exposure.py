"""Whether the settings let other machines reach Prefect's server without TLS."""

from api.exposure_check import UnsafeError, is_loopback
from settings import Settings


def require_prefect_safe(settings: Settings) -> None:
    """Raises UnsafeError where Prefect's password would cross a network in plain HTTP."""
    encrypted = settings.prefect_tls_certificate is not None
    if not settings.starts_prefect or encrypted or settings.prefect_proxies:
        return
    if settings.prefect_plain_http or is_loopback(settings.prefect_host):
        return
    raise UnsafeError(
        f"Prefect's server would answer plain HTTP at {settings.prefect_host}, to other machines. "
        "Set TWEZAH_PREFECT_TLS_CERTIFICATE, TWEZAH_PREFECT_TLS_KEY and TWEZAH_PREFECT_PUBLIC_URL; "
        "or TWEZAH_PREFECT_TRUSTED_PROXIES to the address of the proxy that speaks HTTPS; "
        "or, if you mean it, TWEZAH_PREFECT_PLAIN_HTTP=true."
    )
