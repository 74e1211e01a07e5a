"""A company's books as SAP S/4HANA keeps them: billing documents are cancelled, never deleted."""

from datetime import datetime
from typing import Final

from simulator.books import PostedBooks
from simulator.model import Document


class SapBooks(PostedBooks):
    """See the module."""

    def delete(self, _document: Document, _at: datetime) -> bool:
        """Never."""
        return False


BOOKS: Final = SapBooks
