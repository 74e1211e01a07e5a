"""Two members who bought nothing yet."""

import pytest

from sql import members
from tests.support.books import OTHER_PHONE, PHONE, Books

#: The books, and the numbers of both.
Pair = tuple[Books, int, int]


@pytest.fixture
def pair(books: Books) -> Pair:
    """Registered, with PHONE and OTHER_PHONE."""
    with books.transaction() as connection:
        first = members.register(connection, PHONE, "test").member_id
        second = members.register(connection, OTHER_PHONE, "test").member_id
    return books, first, second
