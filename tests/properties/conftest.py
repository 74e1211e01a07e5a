"""Fixtures of the property tests."""

from tests.support.database import books, databases, dsn

__all__ = ["books", "databases", "dsn"]
