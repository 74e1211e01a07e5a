"""A business unit's receivables as Oracle Fusion keeps them.

There is no void: what was wrong is credited in full, or made incomplete again and deleted. There is
no discount either: it is in the price of a line.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from simulator.books import Books
from simulator.model import Customer, Document, Product, half_up


class OracleBooks(Books):
    """See the module."""

    def record(
        self,
        entity: str,
        customer: Customer,
        amounts: Iterable[tuple[Product, int, int]],
        at: datetime,
        *,
        discount_bps: int = 0,
        **more: Any,
    ) -> Document:
        """Enters a transaction; a discount lowers its prices."""
        rows = [
            (product, quantity, half_up(unit_minor * (10_000 - discount_bps), 10_000))
            for product, quantity, unit_minor in amounts
        ]
        return super().record(entity, customer, rows, at, **more)

    def new_sale(self, draw: float) -> tuple[str, str]:
        """An invoice; some are not complete yet, and some wait for somebody's approval."""
        if draw < 0.06:
            return "Invoice", "draft" if draw < 0.04 else "submitted"
        return "Invoice", "open"

    def void(self, document: Document, at: datetime) -> bool:
        """Credits an invoice in full."""
        if document.entity != "Invoice" or not self._untouched(document):
            return False
        credit = self.take_back(document, [line.quantity for line in document.lines], at)
        return credit is not None and self.pay(document, credit.total_minor, at, credit=credit)

    def reopen(self, document: Document, at: datetime) -> bool:
        """Makes a transaction incomplete again, as long as nothing was applied to it."""
        if document.status != "open" or not self._untouched(document):
            return False
        document.status = "draft"
        document.touch(at)
        return True


BOOKS: Final = OracleBooks
