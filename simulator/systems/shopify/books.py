"""A shop's orders as Shopify keeps them.

An order keeps its refunds: no document of its own tells of them. It is cancelled, never voided, and
can swap a line for another product. Some orders are of guests, and some are tests.
"""

from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.model import Document, Line, Payment, Product


class ShopifyBooks(Books):
    """See the module."""

    exchange_weight = 3

    def new_sale(self, draw: float) -> tuple[str, str]:
        """An order; some are a guest's, and some are tests."""
        if draw < 0.05:
            return "GuestOrder" if draw < 0.03 else "TestOrder", "open"
        return super().new_sale(draw)

    def unpay(self, _payment: Payment, _at: datetime) -> bool:
        """Never: what was paid can only be given back."""
        return False

    def void(self, document: Document, at: datetime) -> bool:
        """Cancels an order; what was paid is given back."""
        if not self._live(document) or document.taken_back or document.entity == "Refund":
            return False
        document.status = "void"
        document.credited_minor += document.paid_minor
        document.paid_minor = 0
        document.touch(at)
        return True

    def exchange(
        self, document: Document, line_no: int, product: Product, quantity: int, at: datetime
    ) -> bool:
        """Swaps a line of a paid order for another product that costs as much, or more.

        It is the one return that an order can have here. The difference is still to be paid.
        """
        if not document.settled or document.taken_back:
            return False
        line = document.lines[line_no]
        if document.credited_minor or quantity * product.unit_minor < line.gross_minor:
            return False
        number = len(document.lines) + len(document.removed) + 1
        document.removed.append(line)
        document.lines[line_no] = Line(str(number), product, quantity, product.unit_minor)
        document.taken_back = True
        document.touch(at)
        return True

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Gives back money for lines of a paid order; the order keeps the refund."""
        rows = [
            (line.product, quantity, line.unit_minor)
            for line, quantity in zip(document.lines, quantities, strict=True)
            if quantity > 0
        ]
        if not rows or not document.settled or document.taken_back or document.deleted:
            return None
        refund = self.record(
            "Refund",
            document.customer,
            rows,
            at,
            number=f"{document.number}-R",
            source=document,
            tax_bps=document.tax_bps,
            discount_bps=document.discount_bps,
        )
        document.taken_back = refund.taken_back = True
        document.credited_minor += refund.total_minor
        document.paid_minor -= refund.total_minor
        document.touch(at)
        return refund

    def sold_at(self, document: Document) -> datetime | None:
        """When the order was placed."""
        return document.created_at

    def refunded_minor(self, document: Document) -> int:
        """What the order gave back."""
        return document.credited_minor


BOOKS: Final = ShopifyBooks
