"""A shop's orders as Square keeps them: mostly a till, and few invoices.

What the till sold can no longer be changed. What was paid is only given back by a refund, which is
an order with returns; other goods that are sold with it are a part of the same order.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.model import Customer, Document, Payment, Product


class SquareBooks(Books):
    """See the module."""

    take_back_odds = 0.2
    resale_odds = 0.4

    def new_sale(self, draw: float) -> tuple[str, str]:
        """A sale at the till, or an invoice."""
        entity = "SalesReceipt" if draw < 0.6 else "Invoice"
        return entity, "draft" if draw > 0.95 else "open"

    def unpay(self, _payment: Payment, _at: datetime) -> bool:
        """Never."""
        return False

    def edit(self, document: Document, line_no: int, quantity: int, at: datetime) -> bool:
        """Changes an invoice."""
        return not _closed(document) and super().edit(document, line_no, quantity, at)

    def reassign(self, document: Document, customer: Customer, at: datetime) -> bool:
        """Moves an invoice to another customer."""
        return not _closed(document) and super().reassign(document, customer, at)

    def void(self, document: Document, at: datetime) -> bool:
        """Cancels an invoice."""
        return not _closed(document) and super().void(document, at)

    def delete(self, document: Document, at: datetime) -> bool:
        """Deletes the draft of an invoice: its order is cancelled with it."""
        if not self._untouched(document) or document.status not in ("draft", "submitted"):
            return False
        document.status = "void"
        document.touch(at)
        return True

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Refunds what was paid."""
        if document.entity != "SalesReceipt" and not document.settled:
            return None
        return super().take_back(document, quantities, at)

    def credit_entity(self, _document: Document) -> str:
        """A refund, whatever it takes back."""
        return "RefundReceipt"

    def sell_with(
        self, credit: Document, amounts: Iterable[tuple[Product, int, int]], at: datetime
    ) -> Document:
        """Sells other goods in the order that takes some back."""
        sale = super().sell_with(credit, amounts, at)
        credit.record_key, credit.number = sale.id, sale.number
        return sale

    def vendor_id(self, document: Document) -> str:
        """Of a return, the order that it is a part of."""
        return document.record_key

    def sold_at(self, document: Document) -> datetime | None:
        """When the order was made."""
        return document.created_at


def _closed(document: Document) -> bool:
    """Whether it can no longer be changed: an order of the till, which was paid."""
    return document.entity in ("SalesReceipt", "RefundReceipt")


BOOKS: Final = SquareBooks
