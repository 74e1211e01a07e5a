"""The database of the fuzzed worlds: one, used by one history after the other."""

from collections.abc import Iterator

import pytest

from tests.support.database import Databases, databases

__all__ = ["databases"]


@pytest.fixture(scope="module")
def dsn(databases: Databases) -> Iterator[str]:
    """A migrated database."""
    made = databases.migrated()
    yield made
    databases.drop(made)
