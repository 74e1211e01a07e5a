"""A shop's orders as Magento keeps them.

An order that is not invoiced is edited by cancelling it and placing another one. It is invoiced and
paid as a whole, and what was paid is given back by credit memos, which are parts of the order. The
order keeps its customer, and the number that it was placed with: the books know only one.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.catalog import products
from simulator.model import Customer, Document, Payment, Product
from simulator.registry import VENDORS


class MagentoBooks(Books):
    """See the module."""

    def _products(self) -> list[Product]:
        """A product's SKU is its key."""
        return [replace(item, sku=item.sku or item.name) for item in products()]

    def new_id(self, sequence: str) -> str:
        """Each kind of documents is counted by itself."""
        first = VENDORS[self.system].first_ids.get(sequence, 101)
        return str(self._count(f"id/{sequence}", first))

    def pay(
        self, document: Document, amount_minor: int, at: datetime, *, credit: Document | None = None
    ) -> bool:
        """Pays an invoice as a whole."""
        if amount_minor != document.balance_minor:
            return False
        return super().pay(document, amount_minor, at, credit=credit)

    def unpay(self, _payment: Payment, _at: datetime) -> bool:
        """Never: what was captured is only refunded."""
        return False

    def edit(self, document: Document, line_no: int, quantity: int, at: datetime) -> bool:
        """Cancels an order that is not invoiced, and places another one."""
        if document.status != "draft" or document.lines[line_no].quantity == quantity:
            return False
        amounts = [
            (line.product, quantity if number == line_no else line.quantity, line.unit_minor)
            for number, line in enumerate(document.lines)
        ]
        root, _, edits = document.number.partition("-")
        self.record(
            "Invoice",
            document.customer,
            amounts,
            at,
            number=f"{root}-{int(edits or 0) + 1}",
            discount_bps=document.discount_bps,
        )
        return self.void(document, at)

    def reassign(self, _document: Document, _customer: Customer, _at: datetime) -> bool:
        """Never: an order stays its customer's."""
        return False

    def void(self, document: Document, at: datetime) -> bool:
        """Cancels an order, also one that is not invoiced."""
        if document.entity != "Invoice" or not self._untouched(document):
            return False
        document.status = "void"
        document.touch(at)
        return True

    def delete(self, _document: Document, _at: datetime) -> bool:
        """Never."""
        return False

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Gives back what was paid: only a settled order has credit memos, and counts them at once."""
        self.pay(document, document.balance_minor, at)
        if not document.settled:
            return None
        credit = super().take_back(document, quantities, at)
        if credit is None:
            return None
        document.credited_minor = credit.credited_minor = credit.total_minor
        document.touch(at)
        return credit

    def change_phone(self, _customer: Customer, _phone: str | None, _at: datetime) -> bool:
        """Never: see the module."""
        return False

    def sold_at(self, document: Document) -> datetime | None:
        """When the order was placed."""
        return document.created_at

    def refunded_minor(self, document: Document) -> int:
        """What credit memos gave back."""
        return document.credited_minor


BOOKS: Final = MagentoBooks
