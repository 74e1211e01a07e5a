"""A business's books as Wave keeps them: no invoice is voided, and nothing takes one back."""

import base64
from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.model import Document

_NAMES: Final = {"customer": "Customer", "item": "Product"}


class WaveBooks(Books):
    """See the module."""

    def new_id(self, sequence: str) -> str:
        """An id that says nothing: base64 of the business and what it is."""
        name = _NAMES.get(sequence, "transaction")
        return base64.b64encode(f"Business:1;{name}:{super().new_id(sequence)}".encode()).decode()

    def void(self, _document: Document, _at: datetime) -> bool:
        """Never."""
        return False

    def take_back(
        self, _document: Document, _quantities: list[int], _at: datetime
    ) -> Document | None:
        """Never."""
        return None


BOOKS: Final = WaveBooks
