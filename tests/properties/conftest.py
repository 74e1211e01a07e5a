"""Fixtures of the property tests."""

import pytest

from tests.support.database import Databases, books, databases, with_older_rules

__all__ = ["books", "databases"]


@pytest.fixture
def dsn(databases: Databases) -> str:
    """An emptied database in which each document counts alone, as the reference computes."""
    emptied = databases.emptied()
    with_older_rules(emptied)
    return emptied
