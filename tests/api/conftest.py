"""One served API for all tests, on a database of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.api.office import Office, office_on, served, settings_for
from tests.support.database import Databases, databases

__all__ = ["databases", "office"]


@contextmanager
def open_office(settings: object, **changes: object) -> Iterator[Office]:
    app, config, runs = office_on(settings, **changes)  # type: ignore[arg-type]
    with (
        served(app, settings) as url,  # type: ignore[arg-type]
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        owner = config.dsn.split("&options=")[0]  # the tests' own doings are not the API's
        yield Office(url, owner, config, runs, http, app.state.own)


@pytest.fixture(scope="session")
def office(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The API that all tests share; each makes endpoints and keys of its own."""
    dsn = databases.migrated()
    databases.made.remove(
        dsn.split("/")[-1].split("?")[0]
    )  # it must outlive the tests that clean up after themselves
    with open_office(settings_for(tmp_path_factory.mktemp("api"), dsn)) as made:
        yield made
