"""One Prefect server for the tests of flows and workers, on PostgreSQL as in production.

On SQLite, Prefect's default, runs at the same time wait for each other's writes, up to a minute at
a time.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import stamina
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_BATCH_INTERVAL,
    temporary_settings,
)

import panel.pages.refresh
from panel.blocks import register_blocks
from settings import Settings, settings
from tests.flows.office import ATTEMPTS, Office, Vendors, deploy, serving
from tests.flows.worker_fixtures import eventually, process, worker_prefect
from tests.support.database import Databases, databases, dsn, with_older_rules
from twezah.stack.commands import server_command, server_environment
from twezah.stack.flow_descriptions import project_deployments
from twezah.stack.prefect_health import is_healthy
from twezah.stack.provision import SYNC, present_deployments

__all__ = ["databases", "dsn", "worker_prefect"]


@pytest.fixture(scope="package")
def prefect_server(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
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
        "PREFECT_API_AUTH_STRING": settings.prefect_auth_string({}) or "",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }
    serving_environment = {**server_environment(settings), "PREFECT_SERVER_UI_ENABLED": "false"}
    command = server_command(settings)
    with process(command, folder / "server.log", env=serving_environment, cwd=folder):
        eventually(lambda: is_healthy(settings.api_url), 400)
        yield environment


@pytest.fixture(scope="package")
def vendors() -> Iterator[Vendors]:
    with serving() as made:
        yield made


def _users_settings(server: dict[str, str]) -> dict[Any, Any]:
    return {
        PREFECT_API_URL: server["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: server["PREFECT_API_AUTH_STRING"],
        PREFECT_HOME: server["PREFECT_HOME"],
        PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.1,
    }


@pytest.fixture(scope="package")
def provisioned(prefect_server: dict[str, str]) -> dict[str, str]:
    """The same, once the server knows the blocks and the deployment; that takes it many seconds."""
    with temporary_settings(_users_settings(prefect_server)):
        register_blocks()
        deploy()
    return prefect_server


@pytest.fixture(scope="module")
def prefect(provisioned: dict[str, str]) -> Iterator[None]:
    """This process uses the server, which knows the blocks and the deployment."""
    with temporary_settings(_users_settings(provisioned)):
        yield


@pytest.fixture
def provisioning(provisioned: dict[str, str]) -> Iterator[None]:
    """The test brings the deployments of the product: there are none before it, and none after it.

    Nobody takes up the runs that they would go on to plan, and all other tests share the server.
    """
    _forget_deployments(provisioned)
    yield
    _forget_deployments(provisioned)


def _forget_deployments(server: dict[str, str]) -> None:
    """Removes those of the product, and of connections that other tests have made."""
    products = {entry["name"] for entry in project_deployments()}
    with temporary_settings(_users_settings(server)), get_client(sync_client=True) as client:
        for name, deployment in present_deployments(client).items():
            if name in products or name.startswith(SYNC):
                client.delete_deployment(UUID(deployment["id"]))


@pytest.fixture
def pages_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages are not renewed after each run, which takes a fifth of a second; their own tests do without this."""
    monkeypatch.setattr(panel.pages.refresh, "refresh", lambda *_, **__: None)


@pytest.fixture
def office(
    prefect: None,
    dsn: str,
    vendors: Vendors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pages_rest: None,
) -> Iterator[Office]:
    """An empty ledger, and all systems connected to a new world; retries do not wait."""
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    settings.cache_clear()
    vendors.begin()
    with_older_rules(dsn)
    made = Office(dsn, vendors)
    made.connect_all()
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield made
    settings.cache_clear()
