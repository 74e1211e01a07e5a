"""Fixtures of the database tests."""

from tests.support.database import books, databases
from tests.support.database import emptied as dsn
from tests.support.rules_file import no_limit, two
from tests.support.two_members import pair

__all__ = ["books", "databases", "dsn", "no_limit", "pair", "two"]
