"""A shop's orders as WooCommerce keeps them: what is given back is a part of its order."""

from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.model import Document, Payment, Product


class WooCommerceBooks(Books):
    """See the module."""

    def unpay(self, payment: Payment, at: datetime) -> bool:
        """Deletes a payment of an order that gave nothing back."""
        return not payment.document.refunded_minor and super().unpay(payment, at)

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Gives back lines of a paid order, once."""
        rows = [
            (line.product, quantity, line.unit_minor)
            for line, quantity in zip(document.lines, quantities, strict=True)
            if quantity > 0
        ]
        return None if not rows or document.taken_back else self.refund(document, rows, at)

    def refund(
        self,
        document: Document,
        rows: list[tuple[Product, int, int]],
        at: datetime,
        *,
        amount_minor: int = 0,
        moves: bool = True,
    ) -> Document | None:
        """Gives money back for some lines of a paid order, or an amount.

        `moves`: whether that is a change of the order.
        """
        if not self._live(document) or document.paid_minor < document.total_minor:
            return None
        refund = self.record(
            "OrderRefund",
            document.customer,
            rows,
            at,
            source=document,
            tax_bps=document.tax_bps,
            discount_bps=document.discount_bps,
        )
        refund.amount_minor = amount_minor
        refund.recompute()
        document.taken_back = True
        document.refunds.append(refund)
        if moves:
            document.touch(at)
        else:
            document.cache.clear()
        return refund

    def sold_at(self, document: Document) -> datetime | None:
        """When the order was placed."""
        return document.created_at


BOOKS: Final = WooCommerceBooks
