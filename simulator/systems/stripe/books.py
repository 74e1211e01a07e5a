"""A company's books as Stripe keeps them, with the journal that its events are made of.

A finalized invoice is never edited, and never deleted: it is paid as a whole, voided, given up as
uncollectible, or credited. Drafts may be edited and deleted. A credit note of an unpaid invoice
lowers what is due; one of a paid invoice refunds its payment or credits the customer's balance; a
refund may also come without any credit note.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from simulator.books import Books
from simulator.catalog import products
from simulator.model import IVA_BPS, LUANDA, Customer, Document, Person, Product

_PREFIXES: Final = {
    "Invoice": "in", "Charge": "ch", "CreditNote": "cn", "Refund": "re", "customer": "cus",
    "item": "prod", "line": "il", "payment": "ch", "event": "evt", "price": "price",
}  # fmt: skip
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass
class Facts:
    """What Stripe knows of a document besides what every system does."""

    #: Instants by name: finalized_at, paid_at, voided_at, marked_uncollectible_at.
    times: dict[str, datetime] = field(default_factory=dict)
    #: The charge that paid an invoice.
    charge_id: str = ""
    #: Of an invoice: credit notes before and after it was paid.
    credited_before_minor: int = 0
    credited_after_minor: int = 0
    #: Of a charge, or of the charge of an invoice: what was refunded.
    refunded_minor: int = 0
    #: Of a credit note: the refund that it made, and whether it was before the payment.
    refund_id: str = ""
    before_payment: bool = False


@dataclass(frozen=True)
class Entry:
    """Something that happened, and the document as it was then."""

    id: str
    at: datetime
    type: str
    document: Document | Customer
    facts: Facts


class StripeBooks(Books):
    """See the module."""

    journal: list[Entry]
    facts: dict[str, Facts]

    def _products(self) -> list[Product]:
        self.journal, self.facts = [], {}
        return [replace(item, id=self.new_id("item")) for item in products()]

    def new_id(self, sequence: str) -> str:
        """A prefix and fourteen letters and digits."""
        return f"{_PREFIXES[sequence]}_{''.join(self._random.choices(_ALPHABET, k=14))}"

    def refunded_minor(self, document: Document) -> int:
        """What was given back of a sale, by credit notes and by refunds without one."""
        facts = self.facts[document.id]
        by_notes = sum(
            note.total_minor
            for note in self.all("CreditNote")
            if note.source is document and self.facts[note.id].refund_id
        )
        credited = facts.credited_before_minor + facts.credited_after_minor
        return credited + facts.refunded_minor - by_notes

    def new_sale(self, draw: float) -> tuple[str, str]:
        """An invoice, or a payment without one."""
        return ("Charge", "open") if draw > 0.75 else super().new_sale(draw)

    def sold_at(self, document: Document) -> datetime | None:
        """When an invoice was finalized, or a payment made."""
        return self.facts[document.id].times.get("finalized_at", document.created_at)

    def record(
        self,
        entity: str,
        customer: Customer,
        amounts: Iterable[tuple[Product, int, int]],
        at: datetime,
        *,
        number: str | None = None,
        tax_bps: int = IVA_BPS,
        discount_bps: int = 0,
        status: str = "open",
        source: Document | None = None,
    ) -> Document:
        """Enters a document; a draft has no number yet."""
        draft = status == "draft" and entity == "Invoice"
        document = super().record(
            entity, customer, amounts, at,
            number=number or ("-" if draft else None), tax_bps=tax_bps, discount_bps=discount_bps,
            status="open" if entity == "Charge" else status, source=source,
        )  # fmt: skip
        for line in document.lines:
            line.id = self.new_id("line")
        self.facts[document.id] = Facts()
        if draft:
            document.number = ""
            self._note("invoice.created", document, at)
        elif entity == "Invoice":
            self.facts[document.id].times["finalized_at"] = at
            self._note("invoice.created", document, at)
            self._note("invoice.finalized", document, at)
        elif entity == "Charge":
            document.paid_minor = document.total_minor
            self._note("charge.succeeded", document, at)
        return document

    def _note(self, type_: str, document: Document | Customer, at: datetime) -> None:
        seen = copy.copy(document)
        seen.cache = {}
        if isinstance(seen, Document):
            seen.lines = [copy.copy(line) for line in seen.lines]
        facts = copy.copy(self.facts.get(document.id, Facts()))
        facts.times = dict(facts.times)
        self.journal.append(Entry(self.new_id("event"), at, type_, seen, facts))

    def _draft(self, document: Document) -> bool:
        return document.entity == "Invoice" and document.status == "draft" and not document.deleted

    def approve(self, document: Document, at: datetime) -> bool:
        """Finalizes: from now on it has a number, and does not change."""
        if not self._draft(document):
            return False
        document.number, document.day = self._new_number("Invoice"), at.astimezone(LUANDA).date()
        self.facts[document.id].times["finalized_at"] = at
        super().approve(document, at)
        self._note("invoice.finalized", document, at)
        return True

    def pay(
        self, document: Document, amount_minor: int, at: datetime, *, credit: Document | None = None
    ) -> bool:
        """Pays all that is due with one charge; parts are not taken."""
        if credit is not None or document.entity != "Invoice" or amount_minor <= 0:
            return False
        if amount_minor < document.balance_minor or not super().pay(document, amount_minor, at):
            return False
        facts = self.facts[document.id]
        facts.charge_id = document.payments[-1].id
        facts.times["paid_at"] = at
        self._note("invoice.paid", document, at)
        self._note("invoice.updated", document, at)
        return True

    def unpay(self, payment: object, at: datetime) -> bool:  # noqa: ARG002  the books' own
        """A payment is refunded, never deleted."""
        return False

    def edit(self, document: Document, line_no: int, quantity: int, at: datetime) -> bool:
        """Changes a draft."""
        changed = self._draft(document) and super().edit(document, line_no, quantity, at)
        if changed:
            self._note("invoice.updated", document, at)
        return changed

    def reassign(self, document: Document, customer: Customer, at: datetime) -> bool:
        """Gives a draft to another customer."""
        changed = self._draft(document) and super().reassign(document, customer, at)
        if changed:
            self._note("invoice.updated", document, at)
        return changed

    def void(self, document: Document, at: datetime) -> bool:
        """Voids an open invoice; its amounts stay."""
        if document.entity != "Invoice" or not super().void(document, at):
            return False
        self.facts[document.id].times["voided_at"] = at
        self._note("invoice.voided", document, at)
        return True

    def archive(self, document: Document, at: datetime) -> bool:
        """Gives up an open invoice as uncollectible."""
        if document.entity != "Invoice" or not self._live(document) or document.settled:
            return False
        if not self._untouched(document):
            return False
        document.status, document.archived = "void", True
        document.touch(at)
        self.facts[document.id].times["marked_uncollectible_at"] = at
        self._note("invoice.marked_uncollectible", document, at)
        return True

    def delete(self, document: Document, at: datetime) -> bool:
        """Deletes a draft."""
        if not self._draft(document):
            return False
        super().delete(document, at)
        self._note("invoice.deleted", document, at)
        return True

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """A credit note of an invoice, or a refund of its payment or of a charge; once only."""
        rows = [
            (line.product, n, line.unit_minor)
            for line, n in zip(document.lines, quantities, strict=True)
            if n > 0
        ]
        paid = document.paid_minor > 0
        if not rows or not self._live(document) or document.taken_back:
            return None
        if document.entity not in ("Invoice", "Charge"):
            return None
        way = self._random.choice(("note and refund", "note to balance", "refund"))
        if document.entity == "Charge":
            way = "refund"
        elif not paid:
            way = "note before payment"
        entity = "Refund" if way == "refund" else "CreditNote"
        credit = self.record(
            entity, document.customer, rows, at, source=document,
            tax_bps=document.tax_bps, discount_bps=document.discount_bps,
        )  # fmt: skip
        credit.credited_minor = credit.total_minor
        document.taken_back = True
        self._credit(way, document, credit, at)
        return credit

    def _credit(self, way: str, document: Document, credit: Document, at: datetime) -> None:
        facts, of_credit, amount_minor = (
            self.facts[document.id], self.facts[credit.id], credit.total_minor,
        )  # fmt: skip
        document.touch(at)
        if way == "note before payment":
            facts.credited_before_minor += amount_minor
            document.credited_minor += amount_minor
            of_credit.before_payment = True
            if document.balance_minor == 0:
                facts.times["paid_at"] = at
        elif way != "refund":
            facts.credited_after_minor += amount_minor
        if way in ("note and refund", "refund"):
            facts.refunded_minor += amount_minor
            of_credit.refund_id = self.new_id("Refund") if way != "refund" else credit.id
            self._note("charge.refunded", document, at)
            self._note("refund.created", credit, at)
        if way != "refund":
            self._note("credit_note.created", credit, at)

    def change_phone(self, customer: Customer, phone: str | None, at: datetime) -> bool:
        """Also told by an event."""
        changed = super().change_phone(customer, phone, at)
        if changed:
            self._note("customer.updated", customer, at)
        return changed

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
        """Names may repeat."""
        del slot
        return super().add_customer(person, phone, at, slot=0, active=active, supplier=supplier)


#: What the registry finds.
BOOKS: Final = StripeBooks
