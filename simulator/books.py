"""One company's books in one billing system, and what can happen to them.

Entities: Invoice, SalesReceipt, CreditMemo, RefundReceipt (QuickBooks; NetSuite, with
    CustomerRefund); Invoice, Bill, CreditNote,
SupplierCredit (Xero); Invoice, CreditNote (FreshBooks); Invoice, CreditMemo, DebitMemo and what
reverses them (Sage Intacct); Invoice (custom); Invoice, CreditMemo (others). Operations return False, and change nothing, where
the vendor would refuse.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from simulator.catalog import products
from simulator.model import (
    ACCOUNTS,
    IVA_BPS,
    LUANDA,
    Customer,
    Document,
    Line,
    Order,
    Payment,
    Person,
    Product,
)
from simulator.registry import VENDORS

#: What Sage Intacct writes down to undo a document: another one of its list, with the opposite
#: sign.
_REVERSALS = {
    "Invoice": "InvoiceReversal",
    "CreditMemo": "MemoReversal",
    "DebitMemo": "MemoReversal",
}
#: What cancels a posted document: one of the opposite kind, over the same lines.
_CORRECTIONS = {"Invoice": "CreditMemo", "CreditMemo": "Invoice"}


class Books:
    """Everything one company recorded in one system.

    What a vendor does otherwise is in a subclass, the `BOOKS` of `systems/<name>/books.py`.
    """

    #: How often `Activity` swaps a line of an order for another product, beside its other changes.
    exchange_weight = 0
    #: How probable it is that something of a sale is taken back.
    take_back_odds = 0.06
    #: How probable it is that something else is sold in the same order (`sell_with`).
    resale_odds = 0.0

    def __init__(self, system: str, random: Random) -> None:
        self.system, self.account = system, ACCOUNTS[system]
        self._random = random
        self._counters: dict[str, int] = {}
        self._names: set[str] = set()
        self.customers: dict[str, Customer] = {}
        self.products: dict[str, Product] = {item.id: item for item in self._products()}
        self.documents: dict[str, dict[str, Document]] = {}
        self.payments: dict[str, Payment] = {}
        self._order: Order | None = None

    def _products(self) -> list[Product]:
        if (
            self.system == "netsuite"
        ):  # whose items all have a name that is unique, and is their SKU
            return [replace(item, sku=item.sku or item.name) for item in products()]
        if not VENDORS[self.system].guids:
            return products()
        return [
            Product(self.new_id("item"), item.sku, item.name, item.unit_minor)
            for item in products()
        ]

    def new_id(self, sequence: str) -> str:
        """An id as this vendor makes them: GUIDs, or one sequence for all transactions in most others."""
        if VENDORS[self.system].guids:
            return str(UUID(int=self._random.getrandbits(128), version=4))
        if self.system != "freshbooks" and sequence not in ("customer", "item"):
            sequence = "transaction"
        if self.system == "custom":
            return f"{sequence.lower()}_{self._count(f'id/{sequence}')}"
        first = VENDORS[self.system].first_ids.get(sequence, 101)
        if self.system == "sage_intacct" and sequence == "customer":  # ids are given by people
            return f"C-{self._count('id/customer', first):05d}"
        return str(self._count(f"id/{sequence}", first))

    def _count(self, name: str, first: int = 1) -> int:
        value = self._counters.get(name, first)
        self._counters[name] = value + 1
        return value

    def _new_number(self, entity: str) -> str:
        vendor = VENDORS[self.system]
        if entity not in vendor.number_formats:  # all sales forms are numbered in one series
            entity = "Invoice"
        number = self._count(f"number/{entity}", vendor.first_number)
        return vendor.number_formats[entity].format(number)

    def all(self, *entities: str) -> Iterable[Document]:
        """Documents of these entities, oldest first within each; deleted ones included."""
        for entity in entities or tuple(self.documents):
            yield from self.documents.get(entity, {}).values()

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
        """Enters a customer (or, in Xero, a supplier)."""
        key = self.new_id("customer")
        name = person.display
        if self.system != "freshbooks" and name in self._names:
            name = f"{name} ({key[:6]})"  # DisplayName and Contact.Name are unique in QuickBooks and Xero
        self._names.add(name)
        customer = Customer(
            key, person, phone, slot, at, at, active=active, supplier=supplier, name=name
        )
        self.customers[key] = customer
        return customer

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
        """Enters a document of lines (product, quantity, unit price)."""
        record_key = key = self.new_id(entity)
        if VENDORS[self.system].ids_are_numbers:
            number = key
        number = number or self._new_number(entity)
        if (
            self.system == "sage_intacct" and entity == "Invoice" and int(key) % 3
        ):  # entered as a sales document
            key = f"Sales Invoice-{number}"
        lines = [
            Line(
                self.new_id("line") if self.system == "xero" else str(position),
                product,
                quantity,
                unit_minor,
            )
            for position, (product, quantity, unit_minor) in enumerate(amounts, start=1)
        ]
        day = at.astimezone(LUANDA).date()
        document = Document(
            entity=entity,
            id=key,
            number=number,
            customer=customer,
            lines=lines,
            day=day,
            due=day + timedelta(days=30 if entity in ("Invoice", "Bill") else 0),
            created_at=at,
            updated_at=at,
            tax_bps=tax_bps,
            discount_bps=discount_bps,
            status=status,
            source=source,
            record_key=record_key,
            order=self._order,
        )
        self.documents.setdefault(entity, {})[key] = document
        return document

    def record_for(
        self,
        order: Order | None,
        entity: str,
        customer: Customer,
        amounts: Iterable[tuple[Product, int, int]],
        at: datetime,
        *,
        number: str | None = None,
    ) -> Document:
        """Enters what pays or books an order of a shop, if there is one."""
        self._order = order
        try:
            return self.record(entity, customer, amounts, at, number=number)
        finally:
            self._order = None

    def new_sale(self, draw: float) -> tuple[str, str]:
        """What a new sale is, its entity and status, for a number drawn between 0 and 1."""
        if self.system in ("quickbooks", "netsuite") and draw < 0.25:
            return "SalesReceipt", "open"
        if self.system == "netsuite" and draw < 0.29:
            return "Invoice", "draft"
        if self.system == "xero" and draw < 0.06:
            return "Invoice", "draft" if draw < 0.04 else "submitted"
        if self.system == "sage_intacct" and draw > 0.97:
            return "DebitMemo", "open"
        return "Invoice", "draft" if draw < VENDORS[self.system].drafts else "open"

    def approve(self, document: Document, at: datetime) -> bool:
        """Turns a draft into an open document."""
        if document.deleted or document.status not in ("draft", "submitted"):
            return False
        document.status = "open"
        document.touch(at)
        return True

    def pay(
        self, document: Document, amount_minor: int, at: datetime, *, credit: Document | None = None
    ) -> bool:
        """Applies money, or a credit, to an invoice or bill; the document's stamp moves with it."""
        amount_minor = min(
            amount_minor, document.balance_minor, credit.balance_minor if credit else amount_minor
        )
        if (
            document.entity not in ("Invoice", "Bill")
            or not self._live(document)
            or amount_minor <= 0
        ):
            return False
        key = self.new_id("payment")
        payment = Payment(
            key, document, amount_minor, at.astimezone(LUANDA).date(), at, at, credit=credit
        )
        document.payments.append(payment)
        if credit is None:
            document.paid_minor += amount_minor
        else:
            document.credited_minor += amount_minor
            credit.credited_minor += amount_minor
            credit.payments.append(payment)
            credit.touch(at)
        if credit is None or self.system != "xero":  # Xero's allocations are no payments
            self.payments[key] = payment
        document.touch(at)
        return True

    def unpay(self, payment: Payment, at: datetime) -> bool:
        """Deletes a payment."""
        document = payment.document
        if payment.deleted or payment.credit is not None or not self._live(document):
            return False
        payment.deleted = True
        payment.touch(at)
        document.paid_minor -= payment.amount_minor
        document.touch(at)
        return True

    def edit(self, document: Document, line_no: int, quantity: int, at: datetime) -> bool:
        """Changes a line's quantity, of documents that nothing was applied to."""
        if not self._untouched(document) or document.lines[line_no].quantity == quantity:
            return False
        document.lines[line_no].quantity = quantity
        self._rewrite(document, at)
        return True

    def reassign(self, document: Document, customer: Customer, at: datetime) -> bool:
        """Moves a sale to another customer."""
        if not self._untouched(document) or document.customer is customer:
            return False
        document.customer = customer
        self._rewrite(document, at)
        return True

    def _rewrite(self, document: Document, at: datetime) -> None:
        """Records a change of content.

        Sage Intacct replaces the invoice of a changed sales document by another record.
        """
        if document.record_key != document.id and self.system == "sage_intacct":
            document.record_key = self.new_id(document.entity)
            document.created_at = at
        document.touch(at)

    def void(self, document: Document, at: datetime) -> bool:
        """Voids: QuickBooks zeroes the amounts, Xero only changes the status, NetSuite does either, FreshBooks cannot.

        Sage Intacct reverses: the status changes, and a document of the opposite sign is written.
        """
        if (
            self.system == "freshbooks"
            or document.status != "open"
            or not self._untouched(document)
        ):
            return False
        document.status = "void"
        if self.system == "quickbooks" or (self.system == "netsuite" and int(document.id) % 2):
            for line in document.lines:
                line.quantity = line.unit_minor = 0
        document.touch(at)
        if self.system == "sage_intacct":
            rows = [(line.product, line.quantity, line.unit_minor) for line in document.lines]
            self.record(
                _REVERSALS[document.entity],
                document.customer,
                rows,
                at,
                number=f"{document.number}-R",
                status="void",
                source=document,
                tax_bps=document.tax_bps,
                discount_bps=document.discount_bps,
            )
        return True

    def delete(self, document: Document, at: datetime) -> bool:
        """Deletes, where the vendor lets one: Xero only deletes what was never approved."""
        if not self._untouched(document):
            return False
        if self.system == "xero" and document.status not in ("draft", "submitted"):
            return False
        document.deleted = True
        document.touch(at)
        return True

    def undelete(self, document: Document, at: datetime) -> bool:
        """Brings a deleted document back; only FreshBooks can."""
        if self.system != "freshbooks" or not document.deleted:
            return False
        document.deleted = False
        document.touch(at)
        return True

    def archive(self, document: Document, at: datetime) -> bool:
        """Files a document away; only FreshBooks can. It is still a sale."""
        if self.system != "freshbooks" or document.deleted or document.archived:
            return False
        document.archived = True
        document.touch(at)
        return True

    def take_back(self, document: Document, quantities: list[int], at: datetime) -> Document | None:
        """Credits an invoice or bill, or refunds a receipt, line by line; at most once per document."""
        rows = [
            (line.product, n, line.unit_minor)
            for line, n in zip(document.lines, quantities, strict=True)
            if n > 0
        ]
        if self.system == "custom":  # its contract knows no credits
            return None
        if not rows or not self._live(document) or document.taken_back or document.status != "open":
            return None
        document.taken_back = True
        return self.record(
            self.credit_entity(document),
            document.customer,
            rows,
            at,
            source=document,
            tax_bps=document.tax_bps,
            discount_bps=document.discount_bps,
        )

    def credit_entity(self, document: Document) -> str:
        """The entity of what takes a document back."""
        if document.entity in ("SalesReceipt", "Bill"):
            return {"SalesReceipt": "RefundReceipt", "Bill": "SupplierCredit"}[document.entity]
        return "CreditNote" if self.system in ("xero", "freshbooks") else "CreditMemo"

    def sell_with(
        self, credit: Document, amounts: Iterable[tuple[Product, int, int]], at: datetime
    ) -> Document:
        """Sells other goods when some are taken back."""
        return self.record("SalesReceipt", credit.customer, amounts, at)

    def pay_out(self, credit: Document, at: datetime) -> Document | None:
        """Refunds in money what is left of a credit memo; only NetSuite has a document for it."""
        left_minor = credit.balance_minor
        if (
            self.system != "netsuite"
            or credit.entity != "CreditMemo"
            or not self._live(credit)
            or left_minor <= 0
        ):
            return None
        refund = self.record("CustomerRefund", credit.customer, [], at, source=credit, tax_bps=0)
        refund.amount_minor = left_minor
        refund.recompute()
        credit.credited_minor += left_minor
        credit.touch(at)
        return refund

    def exchange(
        self, _document: Document, _line_no: int, _product: Product, _quantity: int, _at: datetime
    ) -> bool:
        """Swaps a line of an order for another product; only some shops can."""
        return False

    def vendor_id(self, document: Document) -> str:
        """The id under which the vendor knows a document."""
        return document.id

    def made_at(self, document: Document) -> datetime | None:
        """When a document was written, if that is when it was made; None: nobody can tell.

        Sage Intacct writes the invoice of a sales document anew whenever that is changed.
        """
        re_created = self.system == "sage_intacct" and document.id != document.record_key
        return None if re_created else document.created_at

    def sold_at(self, _document: Document) -> datetime | None:
        """The moment of a sale, where the vendor tells it; None where it tells the day alone."""
        return None

    def refunded_minor(self, document: Document) -> int:
        """What was given back on the sale itself; elsewhere credits are documents of their own."""
        return document.credited_minor if self.system == "xero" else document.refunded_minor

    def change_phone(self, customer: Customer, phone: str | None, at: datetime) -> bool:
        """Rewrites a customer's phone; their invoices do not move."""
        if customer.phone == phone:
            return False
        customer.phone = phone
        customer.touch(at)
        return True

    def _live(self, document: Document) -> bool:
        return not document.deleted and document.status == "open"

    def _untouched(self, document: Document) -> bool:
        applied = document.paid_minor or document.credited_minor or document.taken_back
        return not document.deleted and document.status != "void" and not applied


class PostedBooks(Books):
    """Books in which a posted document is cancelled by another one, of the opposite kind."""

    def void(self, document: Document, at: datetime) -> bool:
        """Cancels: the status changes, and the document that cancels it is posted."""
        if not super().void(document, at):
            return False
        self._correct(document, at)
        return True

    def _correct(self, document: Document, at: datetime) -> None:
        """Posts the document that cancels another one."""
        rows = [(line.product, line.quantity, line.unit_minor) for line in document.lines]
        self.record(
            _CORRECTIONS[document.entity],
            document.customer,
            rows,
            at,
            status="void",
            source=document,
            tax_bps=document.tax_bps,
            discount_bps=document.discount_bps,
        )
