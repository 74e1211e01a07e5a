"""A business account as PayPal keeps it: payments of a shop, and invoices with their payments.

A payment never changes: it may be pending first, and is then completed or denied. What is given
back is a transaction of its own, also of an invoice, which then says so too. An invoice can be
edited and cancelled until something is paid, and its draft deleted; it can be marked as paid in
cash, of which no transaction knows.
"""

from datetime import datetime, timedelta
from random import Random
from typing import Final

from simulator.books import Books
from simulator.model import LUANDA, Customer, Document, Payment, Person

#: Invoices whose number ends so are paid in cash.
_IN_CASH: Final = ("5",)


class PayPalBooks(Books):
    """See the module."""

    take_back_odds = 0.15

    def __init__(self, system: str, random: Random) -> None:
        super().__init__(system, random)
        #: How late transactions are shown; PayPal says up to three hours.
        self.delay = timedelta()
        #: Of cancelled invoices: when, and when they were changed last before.
        self.cancelled: dict[str, tuple[datetime, datetime]] = {}

    def new_id(self, sequence: str) -> str:
        """Ids of transactions can look like numbers with an exponent."""
        key = super().new_id(sequence)
        if sequence in ("customer", "item"):
            return key
        if sequence == "Invoice":
            return f"INV2-{int(key):016d}"
        return f"5E{int(key):015d}"

    def new_sale(self, draw: float) -> tuple[str, str]:
        """A payment, which may be pending, or an invoice."""
        if draw < 0.7:
            return "SalesReceipt", "draft" if draw < 0.04 else "open"
        return "Invoice", "draft" if draw > 0.95 else "open"

    def add_customer(
        self,
        person: Person,
        phone: str | None,
        at: datetime,
        *,
        slot: int = 0,
        active: bool = True,
        supplier: bool = False,
    ) -> Customer:
        """Phones are written in parts: there is one, or none."""
        phone = phone if person.national else None
        return super().add_customer(person, phone, at, slot=slot, active=active, supplier=supplier)

    def pay(
        self, document: Document, amount_minor: int, at: datetime, *, credit: Document | None = None
    ) -> bool:
        """Pays an invoice, by PayPal or in cash."""
        amount_minor = min(amount_minor, document.balance_minor)
        if credit is not None or document.entity != "Invoice" or not self._live(document):
            return False
        if amount_minor <= 0:
            return False
        if document.number.endswith(_IN_CASH):
            key = f"EXTR-{self.new_id('payment')}"
        else:
            received = self.record(
                "Payment", document.customer, [], at,
                number=document.number, tax_bps=0, source=document,
            )  # fmt: skip
            received.amount_minor = received.paid_minor = amount_minor
            received.recompute()
            key = received.id
        day = at.astimezone(LUANDA).date()
        payment = Payment(key, document, amount_minor, day, at, at)
        document.payments.append(payment)
        self.payments[key] = payment
        document.paid_minor += amount_minor
        document.touch(at)
        return True

    def unpay(self, _payment: Payment, _at: datetime) -> bool:
        """Never."""
        return False

    def edit(self, document: Document, line_no: int, quantity: int, at: datetime) -> bool:
        """Changes an invoice."""
        return document.entity == "Invoice" and super().edit(document, line_no, quantity, at)

    def reassign(self, document: Document, customer: Customer, at: datetime) -> bool:
        """Sends an invoice to another customer."""
        return document.entity == "Invoice" and super().reassign(document, customer, at)

    def void(self, document: Document, at: datetime) -> bool:
        """Cancels an invoice."""
        before = document.updated_at
        if document.entity != "Invoice" or not super().void(document, at):
            return False
        self.cancelled[document.id] = (at, before)
        return True

    def delete(self, document: Document, at: datetime) -> bool:
        """Deletes the draft of an invoice; denies a payment that was pending."""
        if document.status != "draft" or document.deleted:
            return False
        if document.entity == "SalesReceipt":
            document.status = "void"
        else:
            document.deleted = True
        document.touch(at)
        return True

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Refunds a payment, or what was paid for an invoice at once."""
        paid = self._refunded_payment(document)
        rows = [
            (line.product, n, line.unit_minor)
            for line, n in zip(document.lines, quantities, strict=True)
            if n > 0
        ]
        if paid is None or not rows or document.taken_back:
            return None
        document.taken_back = paid.taken_back = True
        refund = self.record(
            "RefundReceipt", document.customer, rows, at, number=document.number,
            tax_bps=document.tax_bps, discount_bps=document.discount_bps, source=paid,
        )  # fmt: skip
        if document is not paid:
            document.refunds.append(refund)
            document.touch(at)
        return refund

    def _refunded_payment(self, document: Document) -> Document | None:
        """The payment that a refund gives back; None: there is none."""
        if document.status != "open" or document.deleted:
            return None
        if document.entity == "SalesReceipt":
            return document
        if document.entity != "Invoice" or not document.settled or len(document.payments) != 1:
            return None
        return self.documents.get("Payment", {}).get(document.payments[0].id)

    def sold_at(self, document: Document) -> datetime | None:
        """When the payment was begun."""
        return document.created_at


#: What the registry finds.
BOOKS: Final = PayPalBooks
