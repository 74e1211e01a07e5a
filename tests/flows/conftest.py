"""One Prefect server for the tests of flows and workers, on PostgreSQL as in production.

On SQLite, Prefect's default, runs at the same time wait for each other's writes, up to a minute at a time.
"""

import os
import socket
from collections.abc import Iterator

import pytest

from tests.flows.worker_fixtures import eventually, process
from tests.support.database import Databases, databases, dsn
from twezah.settings import Settings
from twezah.stack.api import is_healthy
from twezah.stack.services import server_command, server_environment

__all__ = ["databases", "dsn"]


@pytest.fixture(scope="session")
def prefect_server(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of those who use the server, which listens on a free loopback port."""
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(home=tmp_path_factory.getbasetemp() / "ledger", prefect_port=port)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": settings.api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }
    command = [*server_command(settings), "--no-ui"]
    with process(command, folder / "server.log", env=server_environment(settings), cwd=folder):
        eventually(lambda: is_healthy(settings.api_url), 90)
        yield environment
