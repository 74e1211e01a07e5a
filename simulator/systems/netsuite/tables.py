"""NetSuite's tables over the books, and the record API's JSON.

Amounts are the books' own: a sale is a credit, so its lines are negative and a credit memo's
positive; the total on the document is positive for a sale, negative for what takes back. Times are
on the account's clock.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from simulator.books import Books
from simulator.branches import seller
from simulator.model import CURRENCY, CURRENCY_NAME, LUANDA, Customer, Document
from simulator.systems.netsuite.suiteql_values import Reference, Row, Table
from simulator.wire import number

#: Entity of the books: (type in SuiteQL, name of the record, type of its deletion).
TYPES: Final = {
    "Invoice": ("CustInvc", "invoice", "Invoice"),
    "SalesReceipt": ("CashSale", "cashSale", "CashSale"),
    "CreditMemo": ("CustCred", "creditMemo", "creditmemo"),
    "RefundReceipt": ("CashRfnd", "cashRefund", "CASHREFUND"),
    "CustomerRefund": ("CustRfnd", "customerRefund", "Customer Refund"),
}
_GIVES_BACK: Final = ("CreditMemo", "RefundReceipt", "CustomerRefund")
_CURRENCY_ID: Final = 3
_DISCOUNT_ITEM: Final = 90
_PHONES: Final = ("mobilephone", "phone", "altphone")


def _columns(names: str) -> frozenset[str]:
    return frozenset(names.split())


_TRANSACTION: Final = _columns(
    "id tranid type trandate duedate entity currency exchangerate foreigntotal status voided createddate lastmodifieddate posting"
)
_LINE: Final = _columns(
    "uniquekey id linesequencenumber transaction createdfrom item memo quantity rate foreignamount mainline taxline iscogs linelastmodifieddate location"
)
_CUSTOMER: Final = _columns(
    "id entityid companyname email phone altphone mobilephone isinactive lastmodifieddate"
)


def tables(books: Books) -> dict[str, Table]:
    """Everything a statement can name."""
    return {
        "transaction": Table(_TRANSACTION, lambda _: _transactions(books)),
        "transactionline": Table(_LINE, lambda keys: _lines(books, keys), "transaction"),
        "customer": Table(_CUSTOMER, lambda _: map(_customer, books.customers.values())),
        "item": Table(_columns("id itemid displayname itemtype"), lambda _: _items(books)),
        "currency": Table(_columns("id symbol name"), lambda _: _currencies()),
        "deletedrecord": Table(
            _columns("recordid type name deleteddate"), lambda _: _deletions(books), "recordid"
        ),
    }


def local(instant: datetime) -> datetime:
    """An instant on the account's wall clock."""
    return instant.astimezone(LUANDA).replace(tzinfo=None)


def amount(minor: int) -> Decimal:
    """Minor units as the database's number."""
    return Decimal(minor).scaleb(-2)


def flag(value: object) -> str:
    """A boolean of SuiteQL."""
    return "T" if value else "F"


def alive(books: Books) -> Iterator[Document]:
    """Documents that were not deleted."""
    return (document for document in books.all(*TYPES) if not document.deleted)


def _transactions(books: Books) -> Iterator[Row]:
    for document in alive(books):
        yield {
            "id": int(document.id),
            "tranid": document.number,
            "type": TYPES[document.entity][0],
            "trandate": document.day,
            "duedate": document.due,
            "entity": int(document.customer.id),
            "currency": _CURRENCY_ID,
            "exchangerate": 1,
            "foreigntotal": amount(
                -document.total_minor if document.entity in _GIVES_BACK else document.total_minor
            ),
            "status": status(document),
            "voided": flag(document.status == "void"),
            "createddate": local(document.created_at),
            "lastmodifieddate": local(document.updated_at),
            "posting": flag(document.status != "draft"),
        }
    for payment in books.payments.values():  # what a sales connector must leave alone
        if payment.credit is None and not payment.deleted:
            yield {
                "id": int(payment.id),
                "tranid": f"PYMT{payment.id}",
                "type": "CustPymt",
                "trandate": payment.day,
                "entity": int(payment.customer.id),
                "currency": _CURRENCY_ID,
                "exchangerate": 1,
                "foreigntotal": amount(-payment.amount_minor),
                "status": "C",
                "voided": "F",
                "createddate": local(payment.created_at),
                "lastmodifieddate": local(payment.updated_at),
                "posting": "T",
            }


def status(document: Document) -> str:
    """The letter of a document's status; some types say nothing but "not voided"."""
    if document.status == "void":
        return "V"
    if document.entity == "SalesReceipt":
        return "B" if int(document.id) % 2 else "C"  # not deposited, deposited
    if document.entity in ("RefundReceipt", "CustomerRefund"):
        return "A"
    if document.status == "draft":
        return "D"
    return "B" if document.settled else "A"


def _lines(books: Books, keys: frozenset[str] | None) -> Iterator[Row]:
    for document in alive(books):
        if keys is None or document.id in keys:
            for line_no, row in enumerate(_lines_of(document)):
                yield {
                    "uniquekey": int(document.id) * 1000 + line_no,
                    "id": line_no,
                    "linesequencenumber": line_no,
                    "transaction": int(document.id),
                    "createdfrom": int(document.source.id) if document.source else None,
                    "mainline": "F",
                    "taxline": "F",
                    "iscogs": "F",
                    "linelastmodifieddate": local(document.updated_at),
                    **row,
                }


def _lines_of(document: Document) -> Iterator[dict[str, Any]]:
    """The document's own row, what was sold, its discount, its tax, and the cost of what was sold."""
    sign = 1 if document.entity in _GIVES_BACK else -1
    yield {"mainline": "T", "foreignamount": amount(-sign * document.total_minor)}
    for position, line in enumerate(document.lines, 1):
        branch = seller(document, position)
        yield {
            "location": Reference(int(branch.id), branch.name) if branch else None,
            "item": int(line.product.id),
            "memo": line.product.name,
            "quantity": sign * line.quantity,
            "rate": amount(line.unit_minor),
            "foreignamount": amount(sign * line.gross_minor),
        }
    if document.discount_bps:
        taken = document.gross_minor - sum(map(document.line_net_minor, document.lines))
        rate = f"-{document.discount_bps / 100}%"
        yield {
            "item": _DISCOUNT_ITEM,
            "memo": "Desconto",
            "rate": rate,
            "foreignamount": amount(-sign * taken),
        }
    if document.tax_bps and document.lines:
        yield {"taxline": "T", "foreignamount": amount(sign * document.tax_minor)}
    for line in document.lines:
        if line.product.sku != line.product.name:  # services cost nothing
            cost = {"iscogs": "T", "item": int(line.product.id), "quantity": line.quantity}
            yield {**cost, "foreignamount": amount(line.gross_minor // 2)}
            yield {
                **cost,
                "quantity": -line.quantity,
                "foreignamount": amount(-(line.gross_minor // 2)),
            }


def _customer(customer: Customer) -> Row:
    return {
        "id": int(customer.id),
        "entityid": customer.name,
        "companyname": customer.person.company,
        "isinactive": flag(not customer.active),
        "lastmodifieddate": local(customer.updated_at),
        _PHONES[customer.phone_slot]: customer.phone or None,
    }


def _items(books: Books) -> Iterator[Row]:
    for item in books.products.values():
        yield {
            "id": int(item.id),
            "itemid": item.sku,
            "displayname": item.name,
            "itemtype": "InvtPart",
        }
    yield {"id": _DISCOUNT_ITEM, "itemid": "Desconto", "itemtype": "Discount"}


def _currencies() -> Iterator[Row]:
    yield {"id": 1, "symbol": "USD", "name": "US Dollar"}
    yield {"id": _CURRENCY_ID, "symbol": CURRENCY, "name": CURRENCY_NAME}


def _deletions(books: Books) -> Iterator[Row]:
    """Every kind of record is in here; a customer may have the number of an invoice that lives."""
    for document in books.all(*TYPES):
        if document.deleted:
            yield _deletion(document.id, TYPES[document.entity][2], document.updated_at)
    for payment in books.payments.values():
        if payment.deleted:
            yield _deletion(payment.id, "CustomerPayment", payment.updated_at)
    for document in list(alive(books))[-3:]:
        yield _deletion(document.id, "Customer", document.updated_at)


def _deletion(key: str, kind: str, at: datetime) -> Row:
    return {"recordid": int(key), "type": kind, "name": f"{kind} #{key}", "deleteddate": local(at)}


def record_json(document: Document, *, expanded: bool) -> dict[str, Any]:
    """A transaction in the record API: JSON numbers, UTC times, the currency by its name, empty fields left out."""
    items = [
        {
            "line": line_no,
            "item": {"id": line.product.id, "refName": line.product.sku},
            "quantity": float(line.quantity),
            "rate": number(line.unit_minor),
            "amount": number(line.gross_minor),
            "description": line.product.name,
        }
        for line_no, line in enumerate(document.lines, start=1)
    ]
    words = {
        "A": "Open",
        "B": "Paid In Full",
        "C": "Deposited",
        "D": "Pending Approval",
        "V": "Voided",
    }
    word = words[status(document)]
    return {
        "id": document.id,
        "tranId": document.number,
        "tranDate": document.day.isoformat(),
        "createdDate": _stamp(document.created_at),
        "lastModifiedDate": _stamp(document.updated_at),
        "entity": {"id": document.customer.id, "refName": document.customer.name},
        "currency": {"id": str(_CURRENCY_ID), "refName": CURRENCY_NAME},
        "exchangeRate": 1.0,
        "subtotal": number(document.gross_minor),
        "discountTotal": number(document.net_minor - document.gross_minor),
        "taxTotal": number(document.tax_minor),
        "total": number(document.total_minor),
        "status": {"id": word, "refName": word},
        "item": {"items": items, "totalResults": len(items)} if expanded else {"links": []},
    }


def _stamp(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
