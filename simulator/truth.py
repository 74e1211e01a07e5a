"""The oracle: every sale, credit and refund as the books hold it, computed without any vendor's rendering."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from simulator.books import KEEP_REFUNDS, Books
from simulator.model import CURRENCY, Document

_KINDS: Final = {
    "Invoice": "invoice",
    "SalesReceipt": "sale",
    "CreditMemo": "credit_note",
    "CreditNote": "credit_note",
    "RefundReceipt": "refund",
    "CustomerRefund": "refund",
    "DebitMemo": "invoice",
    "InvoiceReversal": "invoice",
}


@dataclass(frozen=True, slots=True)
class Truth:
    """One document that counts towards a member's points (supplier bills do not appear).

    Amounts are decimal text with two places, positive for credits as well. `refunded` is what Xero
    reports as credited against an invoice, or as allocated of a credit note, what a shop's order
    gave back, and "0.00" in the other systems, where credits are documents of their own; all of a
    customer refund of NetSuite, which pays out what a credit memo took back. `deleted` rows are gone from QuickBooks' queries
    (tombstone in CDC), DELETED in Xero, vis_state 1 in FreshBooks, and in NetSuite's deletedrecord
    only.
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


def text(minor: int) -> str:
    """Decimal text of non-negative minor units."""
    return f"{minor // 100}.{minor % 100:02d}"


def truth_of(books: Books) -> Iterator[Truth]:
    """The rows of one set of books, in the order of the books."""
    for document in books.all():
        if document.entity in _KINDS or document.entity == "MemoReversal":
            yield _row(books, document)


def _row(books: Books, document: Document) -> Truth:
    national = document.customer.person.national
    return Truth(
        system=books.system,
        account=books.account,
        external_id=external_id(books.system, document),
        invoice_number=document.number,
        kind="sale" if books.system in KEEP_REFUNDS else _kind(document),
        customer_id=document.customer.id,
        phone=document.customer.phone,
        phone_e164=f"+244{national}" if national else None,
        currency=CURRENCY,
        total=text(document.total_minor),
        tax=text(document.tax_minor),
        refunded=text(_refunded(books, document)),
        status=_status(document),
        date=document.day,
        updated_at=document.updated_at,
        deleted=document.deleted,
        skus=tuple((line.product.sku, line.quantity) for line in document.lines),
        sold_at=document.created_at if books.system in KEEP_REFUNDS else None,
    )


def _kind(document: Document) -> str:
    """What undoes a credit memo adds, and the other way round."""
    if document.entity == "MemoReversal" and document.source is not None:
        return "invoice" if document.source.entity == "CreditMemo" else "credit_note"
    return _KINDS[document.entity]


def _refunded(books: Books, document: Document) -> int:
    if books.system in KEEP_REFUNDS:
        return document.credited_minor
    if document.entity == "CustomerRefund":
        return document.total_minor
    return document.credited_minor if books.system == "xero" else 0


def external_id(system: str, document: Document) -> str:
    """The vendor's id, behind the kind's name where ids of several kinds could meet."""
    if system in ("xero", "netsuite") or document.entity == "Invoice":
        return document.id
    if system == "sage_intacct":
        return document.id if document.entity == "InvoiceReversal" else f"adjustment/{document.id}"
    prefix = document.entity if system == "quickbooks" else "credit_note"
    return f"{prefix}/{document.id}"


def _status(document: Document) -> str:
    if document.deleted or document.status == "void":
        return "void"
    if document.status in ("draft", "submitted"):
        return "draft"
    immediate = document.entity in ("SalesReceipt", "RefundReceipt", "CustomerRefund")
    return "paid" if immediate or document.settled else "open"
