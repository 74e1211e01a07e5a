"""Prefect's server behind our guard: `python -m twezah.stack.prefect_server --host H --port P`.

What `prefect server start` does in the foreground, for one process. The password comes in the
environment (PREFECT_SERVER_API_AUTH_STRING), never as an argument.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from prefect.types import _datetime

from settings import Settings, settings
from twezah.stack.prefect_guard import guarded
from twezah.stack.private_files import UMASK


def remember_timezones() -> None:
    """Let Prefect list the time zones of this machine once.

    It does so for every schedule that it checks, and reads 600 files each time, 14 ms. A list of
    deployments has dozens of schedules, and every run asks for one.
    """
    _datetime.available_timezones = functools.cache(  # type: ignore[attr-defined]
        _datetime.available_timezones  # type: ignore[attr-defined]
    )


def server_config(
    installation: Settings, host: str, port: int, *, web_only: bool = False
) -> uvicorn.Config:
    """How the server behaves; `web_only`: its services run elsewhere.

    Raises:
        RuntimeError: there is no password.

    """
    server = get_current_settings().server
    secret = server.api.auth_string
    if secret is None or not secret.get_secret_value():
        raise RuntimeError(
            "PREFECT_SERVER_API_AUTH_STRING is not set: Prefect's server would answer anybody."
        )
    origins = [part.strip() for part in server.api.cors_allowed_origins.split(",") if part.strip()]
    interface = "v2" if server.ui.v2_enabled else "v1"
    certificate, key = installation.prefect_tls_certificate, installation.prefect_tls_key
    app = create_app(final=True, webserver_only=web_only)
    return uvicorn.Config(
        guarded(app, installation, secret.get_secret_value(), origins, interface),
        host=host,
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
        proxy_headers=bool(installation.prefect_proxies),
        forwarded_allow_ips=installation.prefect_proxies,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(
        prog="python -m twezah.stack.prefect_server", description=__doc__
    )
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--web-only", action="store_true", help="its services run elsewhere")
    options = parser.parse_args(arguments)
    os.umask(UMASK)
    remember_timezones()
    config = server_config(settings(), options.host, options.port, web_only=options.web_only)
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
