"""Fixtures of the database tests."""

from tests.support.database import books, databases, dsn

__all__ = ["books", "databases", "dsn"]
