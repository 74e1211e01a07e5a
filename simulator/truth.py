"""The oracle: every sale, credit and refund as the books hold it, computed without any vendor's rendering."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from simulator.books import Books
from simulator.model import CURRENCY, Customer, Document
from simulator.registry import VENDORS

_KINDS: Final = {
    "Invoice": "invoice",
    "SalesReceipt": "sale",
    "CreditMemo": "credit_note",
    "CreditNote": "credit_note",
    "RefundReceipt": "refund",
    "CustomerRefund": "refund",
    "DebitMemo": "invoice",
    "InvoiceReversal": "invoice",
    "Charge": "sale",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """One document that counts towards a member's points (supplier bills do not appear).

    Amounts are decimal text with two places, positive for credits as well. `refunded` is what Xero
    reports as credited against an invoice, or as allocated of a credit note, what a shop's order
    gave back, and "0.00" in the other systems, where credits are documents of their own; all of a
    customer refund of NetSuite, which pays out what a credit memo took back. `deleted` rows are
    gone from QuickBooks' queries (tombstone in CDC), DELETED in Xero, vis_state 1 in FreshBooks,
    and in NetSuite's deletedrecord only.
    """

    system: str
    account: str
    external_id: str
    invoice_number: str
    kind: str  # invoice | sale | credit_note | refund
    customer_id: str
    phone: str | None  # as somebody wrote it
    phone_e164: str | None  # whose it really is
    currency: str
    total: str
    tax: str
    refunded: str
    status: str  # draft | open | paid | void
    date: date
    updated_at: datetime
    deleted: bool
    skus: tuple[tuple[str | None, int], ...]  # (sku, quantity) per line
    #: The moment of the sale, where the vendor tells it; elsewhere only the day is known.
    sold_at: datetime | None = None
    #: When the document was written, which some vendors tell beside its day; None: nobody can.
    made_at: datetime | None = None
    #: The order of a shop that the document pays or books, by system and id: it is the same sale.
    order: tuple[str, str] | None = None
    guest: bool = False  # bought without an account: no record names the customer


def text(minor: int) -> str:
    """Decimal text of non-negative minor units."""
    return f"{minor // 100}.{minor % 100:02d}"


def truth_of(books: Books) -> Iterator[Truth]:
    """The rows of one set of books, in the order of the books."""
    for document in books.all():
        if _kind(books.system, document) is not None and not _is_nobody(books.system, document):
            yield _row(books, document)


def is_guest(system: str, customer: Customer) -> bool:
    """Whether a customer buys without an account."""
    every = VENDORS[system].guests_every
    return every > 0 and int(customer.id) % every == 0


def _is_nobody(system: str, document: Document) -> bool:
    """Whether no member can be found: a guest without a phone."""
    return is_guest(system, document.customer) and not document.customer.phone


def _row(books: Books, document: Document) -> Truth:
    national = document.customer.person.national
    return Truth(
        system=books.system,
        account=books.account,
        external_id=external_id(books, document),
        invoice_number=document.number,
        kind=_kind(books.system, document) or "",
        customer_id=document.customer.id,
        phone=document.customer.phone,
        phone_e164=f"+244{national}" if national else None,
        currency=CURRENCY,
        total=text(document.total_minor),
        tax=text(document.tax_minor),
        refunded=text(_refunded(books, document)),
        status=_status(books.system, document),
        date=document.day,
        updated_at=document.updated_at,
        deleted=document.deleted,
        skus=tuple((line.product.sku, line.quantity) for line in document.lines),
        sold_at=books.sold_at(document),
        made_at=books.made_at(document),
        order=(document.order.system, document.order.id) if document.order else None,
        guest=is_guest(books.system, document.customer),
    )


def _kind(system: str, document: Document) -> str | None:
    """What we expect a document to be; None: no document of its own.

    What undoes a credit memo adds, and the other way round.
    """
    if document.entity == "MemoReversal" and document.source is not None:
        return "invoice" if document.source.entity == "CreditMemo" else "credit_note"
    return {**_KINDS, **VENDORS[system].kinds}.get(document.entity)


def _refunded(books: Books, document: Document) -> int:
    if document.entity == "CustomerRefund":
        return document.total_minor
    return books.refunded_minor(document)


def external_id(books: Books, document: Document) -> str:
    """The vendor's id, behind the kind's name where ids of several kinds could meet."""
    prefix = VENDORS[books.system].prefixes.get(document.entity, "")
    return f"{prefix}{books.vendor_id(document)}"


def _status(system: str, document: Document) -> str:
    if document.deleted or document.status == "void":
        return "void"
    if document.status in ("draft", "submitted"):
        return "draft"
    immediate = document.entity in ("SalesReceipt", "RefundReceipt", "CustomerRefund", "Charge")
    if immediate or document.settled:
        return "paid"
    return "draft" if VENDORS[system].sells_when_paid else "open"
