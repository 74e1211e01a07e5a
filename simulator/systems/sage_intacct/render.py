"""Sage Intacct's objects as its REST API writes them: amounts are decimal texts, keys texts, stamps UTC with a Z."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from simulator.books import Books
from simulator.branches import seller, sold
from simulator.model import CURRENCY, Customer, Document, Line, Product

INVOICES: Final = ("Invoice", "InvoiceReversal")
ADJUSTMENTS: Final = ("CreditMemo", "DebitMemo", "MemoReversal")
_PHONES: Final = ("mobile", "phone1", "phone2")
_REVERSALS: Final = ("InvoiceReversal", "MemoReversal")


@dataclass(frozen=True)
class Row:
    """A line, which the API lists beside the documents.

    `line` None: the subtotal row that holds the document's tax.
    """

    document: Document
    position: int
    line: Line | None

    @property
    def key(self) -> str:
        """Unique among all lines."""
        return f"{self.document.record_key}{self.position:02d}"


def stamp(at: datetime) -> str:
    """An instant."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(minor: int) -> str:
    """Minor units as a decimal text."""
    whole, rest = divmod(abs(minor), 100)
    return f"{'-' if minor < 0 else ''}{whole}.{rest:02d}"


def sign(document: Document) -> int:
    """Credit memos are negative, and so is what reverses an invoice or a debit memo."""
    if document.entity in _REVERSALS and document.source is not None:
        return -sign(document.source)
    return -1 if document.entity == "CreditMemo" else 1


def state(document: Document) -> str:
    """One of the eight published states."""
    if document.entity in _REVERSALS:
        return "reversal"
    if document.status == "void":
        return "reversed"
    if document.status == "draft":
        return "draft"
    if document.settled:
        return "paid"
    return "partiallyPaid" if document.paid_minor or document.credited_minor else "posted"


def alive(books: Books, entities: Iterable[str]) -> list[Document]:
    """What was deleted is gone, without a trace."""
    return [document for document in books.all(*entities) if not document.deleted]


def rows(document: Document) -> list[Row]:
    """Lines; every other invoice has its tax as a subtotal row, the others as tax entries of the lines."""
    found = [Row(document, number, line) for number, line in enumerate(document.lines, 1)]
    if document.entity in INVOICES and document.tax_minor and int(document.record_key) % 2:
        found.append(Row(document, len(found) + 1, None))
    return found


def _ref(path: str, key: str, identity: str | None, **more: str) -> dict[str, Any]:
    return {"key": key, "id": identity, **more, "href": f"/objects/{path}/{key}"}


def customer_key(customer: Customer) -> str:
    """The record number behind an id like C-00101."""
    return str(int(customer.id.rpartition("-")[2]))


def _audit(document: Document | Customer) -> dict[str, str]:
    return {
        "createdDateTime": stamp(document.created_at),
        "modifiedDateTime": stamp(document.updated_at),
        "createdBy": "1",
        "modifiedBy": "1",
    }


def _customer_ref(customer: Customer) -> dict[str, Any]:
    return _ref(
        "accounts-receivable/customer", customer_key(customer), customer.id, name=customer.name
    )


def invoice_json(document: Document) -> dict[str, Any]:
    """An AR invoice, its lines left to `lines_json`."""
    turn, total = sign(document), document.total_minor
    due = 0 if document.status == "void" else document.balance_minor
    sales: dict[str, Any] = {"id": None, "key": None, "href": None}
    if document.id != document.record_key:
        sales = _ref(
            "order-entry/document", document.number.rpartition("-")[2].lstrip("0"), document.id
        )
    contact = _ref(
        "company-config/contact", customer_key(document.customer), contact_id(document.customer)
    )
    return {
        "key": document.record_key,
        "id": document.record_key,
        "href": f"/objects/accounts-receivable/invoice/{document.record_key}",
        "recordType": "ri",
        "moduleKey": "orderEntry" if sales["id"] else "accountsReceivable",
        "invoiceNumber": document.number,
        "state": state(document),
        "invoiceDate": document.day.isoformat(),
        "dueDate": document.due.isoformat(),
        "referenceNumber": "",
        "description": None,
        "salesDocument": sales,
        "customer": _customer_ref(document.customer),
        "contacts": {"billTo": contact, "shipTo": contact},
        "currency": {"baseCurrency": CURRENCY, "txnCurrency": CURRENCY},
        "totalBaseAmount": amount(turn * total),
        "totalBaseAmountDue": amount(turn * due),
        "totalTxnAmount": amount(turn * total),
        "totalTxnAmountDue": amount(turn * due),
        "paymentInformation": {
            "fullyPaidDate": None,
            "totalTxnAmountPaid": amount(total - document.balance_minor),
        },
        "audit": _audit(document),
    }


def adjustment_json(document: Document) -> dict[str, Any]:
    """An AR adjustment: its amounts and dates have other names than an invoice's."""
    turn, due = sign(document), 0 if document.status == "void" else document.balance_minor
    total = amount(turn * document.total_minor)
    return {
        "key": document.record_key,
        "id": document.record_key,
        "href": f"/objects/accounts-receivable/adjustment/{document.record_key}",
        "txnType": "ra",
        "adjustmentNumber": document.number,
        "documentNumber": document.source.number if document.source else None,
        "state": state(document),
        "createdDate": document.day.isoformat(),
        "customer": _customer_ref(document.customer),
        "txnCurrency": {
            "currency": CURRENCY,
            "totalEntered": total,
            "totalDue": amount(turn * due),
        },
        "baseCurrency": {
            "currency": CURRENCY,
            "totalAmountEntered": total,
            "totalDue": amount(turn * due),
        },
        "audit": _audit(document),
    }


def line_json(row: Row) -> dict[str, Any]:
    """A line of either; what it is and what it costs, neither quantity nor price."""
    document, line = row.document, row.line
    minor = sign(document) * (document.line_net_minor(line) if line else document.tax_minor)
    sku = line.product.sku if line else None
    item = (
        _ref("inventory-control/item", line.product.id, sku)
        if line and sku
        else {"key": None, "id": None}
    )
    body: dict[str, Any] = {
        "key": row.key,
        "id": row.key,
        "lineNumber": row.position,
        "memo": line.product.name if line else "IVA",
        "glAccount": {"key": "40", "id": "4000" if line else "3350"},
        "dimensions": {"item": item, **_dimensions(row)},
    }
    if document.entity in INVOICES:
        owner = {"key": document.record_key, "id": document.record_key}
        body |= {"txnAmount": amount(minor), "baseAmount": amount(minor), "invoice": owner}
        return body | {"isSubtotal": None if line else "subtotal"}
    owner = {"key": document.record_key, "id": document.record_key}
    money = {"currency": CURRENCY, "amount": amount(minor)}
    return body | {
        "txnCurrency": money,
        "baseCurrency": money,
        "isTax": False,
        "arAdjustment": owner,
    }


def _dimensions(row: Row) -> dict[str, Any]:
    """The location and the department that a line is booked to."""
    branch, department = seller(row.document, row.position), sold(row.document).department
    return {
        "location": {"key": branch.id if branch else None, "id": branch.id if branch else None},
        "department": {"key": "7" if department else None, "id": department},
    }


def lines_json(document: Document) -> list[dict[str, Any]]:
    """The lines inside a document read alone: rows of subtotals are left out."""
    return [line_json(row) for row in rows(document) if row.line is not None]


def contact_id(customer: Customer) -> str:
    """Contacts are told apart by their name."""
    return f"{customer.name}({customer.id})"


def contact_json(customer: Customer) -> dict[str, Any]:
    """A contact; a phone may be in any of three fields."""
    phones: dict[str, str | None] = dict.fromkeys(_PHONES)
    phones[_PHONES[customer.phone_slot]] = customer.phone
    return {
        "key": customer_key(customer),
        "id": contact_id(customer),
        "href": f"/objects/company-config/contact/{customer_key(customer)}",
        "firstName": customer.person.first,
        "lastName": customer.person.last,
        **phones,
        "audit": _audit(customer),
    }


def customer_json(customer: Customer) -> dict[str, Any]:
    """A customer with its default contact, whose fields a query reaches by dots."""
    return {
        "key": customer_key(customer),
        "id": customer.id,
        "href": f"/objects/accounts-receivable/customer/{customer_key(customer)}",
        "name": customer.name,
        "status": "active" if customer.active else "inactive",
        "contacts": {"default": contact_json(customer)},
        "audit": _audit(customer),
    }


def item_json(product: Product) -> dict[str, Any]:
    """An item: its id is the SKU."""
    return {
        "key": product.id,
        "id": product.sku,
        "href": f"/objects/inventory-control/item/{product.id}",
        "name": product.name,
    }


@dataclass(frozen=True)
class Kind:
    """An object's type: what there is of it, and how it is written."""

    found: Callable[[Books], Iterable[Any]]
    render: Callable[[Any], dict[str, Any]]
    full: Callable[[Any], dict[str, Any]] | None = None


def _lines(entities: Iterable[str]) -> Callable[[Books], list[Row]]:
    return lambda books: [row for document in alive(books, entities) for row in rows(document)]


KINDS: Final[Mapping[str, Kind]] = {
    "accounts-receivable/invoice": Kind(
        lambda books: alive(books, INVOICES),
        invoice_json,
        lambda one: invoice_json(one) | {"lines": lines_json(one)},
    ),
    "accounts-receivable/invoice-line": Kind(_lines(INVOICES), line_json),
    "accounts-receivable/adjustment": Kind(
        lambda books: alive(books, ADJUSTMENTS),
        adjustment_json,
        lambda one: adjustment_json(one) | {"lines": lines_json(one)},
    ),
    "accounts-receivable/adjustment-line": Kind(_lines(ADJUSTMENTS), line_json),
    "accounts-receivable/customer": Kind(
        lambda books: list(books.customers.values()), customer_json
    ),
    "company-config/contact": Kind(lambda books: list(books.customers.values()), contact_json),
    "inventory-control/item": Kind(
        lambda books: [one for one in books.products.values() if one.sku], item_json
    ),
}
