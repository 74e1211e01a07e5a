"""A company's books as Business Central keeps them: what is posted is cancelled by another document."""

from typing import Final

from simulator.books import Books, PostedBooks

BOOKS: Final[type[Books]] = PostedBooks
