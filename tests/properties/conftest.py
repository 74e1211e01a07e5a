"""Fixtures of the property tests."""

from tests.support.database import books, databases
from tests.support.database import emptied as dsn

__all__ = ["books", "databases", "dsn"]
