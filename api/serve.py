"""Serves the application: where, over TLS or not, behind which proxies."""

import importlib.util
import logging
import os
import resource
from functools import partial

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.config import Config
from api.exposure_check import require_safe
from api.protocol import TimedProtocol
from api.senders import Senders
from settings import Settings

#: Open files of the process: connections, those of the database, and room for what the system
#: accepts before we know of it.
FILES_MAX = 65_536
#: Requests under way when the process is asked to stop have so long to end.
STOP_SECONDS = 10


def serve(settings: Settings) -> None:
    """Serves until a signal. Raises UnsafeError, DatabaseNotRunning."""
    require_safe(settings)
    _raise_file_limit()
    os.environ.update(
        settings.child_environment()
    )  # Prefect's client reads its server's address from there
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore", "prefect", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uvicorn.Server(server_config(settings, create_app(Config.of(settings)))).run()


def server_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """How the server behaves.

    No access log: addresses may be personal, and the audit has every attempt.
    """
    senders = Senders(settings.api_source_connections, settings.trusted_proxies)
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=partial(TimedProtocol, senders=senders),  # type: ignore[arg-type]  # a factory
        ws="none",
        loop="uvloop" if _has_uvloop() else "asyncio",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        ssl_certfile=None
        if settings.api_tls_certificate is None
        else str(settings.api_tls_certificate),
        ssl_keyfile=None if settings.api_tls_key is None else str(settings.api_tls_key),
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STOP_SECONDS,
        backlog=1_024,
    )


def _raise_file_limit() -> None:
    """Systems begin with as little as 1,024 for a process, which one sender can use up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None
