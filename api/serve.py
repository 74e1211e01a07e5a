"""Serves the application: where, over TLS or not, behind which proxies."""

import importlib.util
import logging
import os
from ipaddress import ip_address

import uvicorn

from api.app import create_app
from api.config import Config
from api.protocol import TimedProtocol
from twezah.settings import Settings

#: Connections at once; more are told to come back.
CONNECTIONS_MAX = 1_000
#: Requests under way when the process is asked to stop have so long to end.
STOP_SECONDS = 10


class UnsafeError(ValueError):
    """The API would speak plain HTTP to other machines, and nobody asked for that."""


def require_safe(settings: Settings) -> None:
    """Raises UnsafeError where other machines could reach the API without TLS, unless that was asked for."""
    encrypted = settings.api_tls_certificate is not None
    if encrypted or settings.trusted_proxies or settings.api_plain_http or _is_loopback(settings.api_host):
        return
    raise UnsafeError(
        f"The API would answer plain HTTP at {settings.api_host}, to other machines. Set TWEZAH_API_TLS_CERTIFICATE and "
        "TWEZAH_API_TLS_KEY; or TWEZAH_API_TRUSTED_PROXIES to the address of the proxy that speaks HTTPS; or, if you mean it, "
        "TWEZAH_API_PLAIN_HTTP=true."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(settings: Settings) -> None:
    """Serves until a signal. Raises UnsafeError, DatabaseNotRunning."""
    require_safe(settings)
    os.environ.update(settings.child_environment())  # Prefect's client reads its server's address from there
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore", "prefect", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uvicorn.Server(server_config(settings, Config.of(settings))).run()


def server_config(settings: Settings, config: Config) -> uvicorn.Config:
    """How the server behaves. No access log: addresses may be personal, and the audit has every attempt."""
    return uvicorn.Config(
        create_app(config),
        host=settings.api_host,
        port=settings.api_port,
        http=TimedProtocol,
        ws="none",
        loop="uvloop" if _has_uvloop() else "asyncio",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        ssl_certfile=None if settings.api_tls_certificate is None else str(settings.api_tls_certificate),
        ssl_keyfile=None if settings.api_tls_key is None else str(settings.api_tls_key),
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=1_024,
    )


def _has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None
