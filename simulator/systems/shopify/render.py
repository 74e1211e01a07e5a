"""Orders, customers and events as the Admin API shows them, by the names of its schema."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from simulator.books import Books
from simulator.model import CURRENCY, Customer, Document, Line

#: Documents that are orders; the others are refunds.
ORDERS: Final = ("Invoice", "GuestOrder", "TestOrder")
#: Some buyers pay in another currency, at this many centimos for one of its cents.
_PRESENTMENT: Final = "USD"
_RATE: Final = 912


def amount(minor: int) -> str:
    """An amount as it is written: a text, and zero with one place."""
    return f"{minor // 100}.{minor % 100:02d}" if minor else "0.0"


def moment(at: datetime | None) -> str | None:
    """An instant, UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def gid(kind: str, number: str | int) -> str:
    """A global id."""
    return f"gid://shopify/{kind}/{number}"


def presentment(document: Document) -> str:
    """The currency that the buyer of an order saw."""
    return _PRESENTMENT if int(document.id) % 7 == 0 else CURRENCY


def _bag(document: Document, minor: int) -> dict[str, Any]:
    shown = presentment(document)
    theirs = minor if shown == CURRENCY else minor // _RATE
    return {
        "shopMoney": {"amount": amount(minor), "currencyCode": CURRENCY},
        "presentmentMoney": {"amount": amount(theirs), "currencyCode": shown},
    }


def refunds_of(books: Books, document: Document) -> list[Document]:
    """The refunds of an order, oldest first."""
    return [refund for refund in books.all("Refund") if refund.source is document]


def financial_status(document: Document) -> str:
    """The state of the payment, as the shop's admin shows it."""
    received, back = document.paid_minor + document.credited_minor, document.credited_minor
    if document.status == "void":
        return "REFUNDED" if received else "VOIDED"
    if not received:
        return "AUTHORIZED" if int(document.id) % 5 == 0 else "PENDING"
    if document.balance_minor > 0:
        return "PARTIALLY_PAID"
    if not back:
        return "PAID"
    return "REFUNDED" if back >= document.total_minor else "PARTIALLY_REFUNDED"


def amounts(document: Document) -> dict[str, int]:
    """The totals of an order, in minor units, by their names.

    "Total" is what was ordered, also what was taken off or swapped later; "current" is what is
    left of it.
    """
    removed = sum(map(document.line_net_minor, document.removed))
    removed_tax = sum(map(document.line_tax_minor, document.removed))
    is_void = document.status == "void"
    left = 0 if is_void else document.total_minor - document.credited_minor
    share = left / document.total_minor if document.total_minor else 0
    received = document.paid_minor + document.credited_minor
    return {
        "totalPriceSet": document.total_minor + removed + removed_tax,
        "originalTotalPriceSet": document.total_minor,
        "currentTotalPriceSet": left,
        "subtotalPriceSet": document.net_minor + removed,
        "currentSubtotalPriceSet": round(document.net_minor * share),
        "totalTaxSet": document.tax_minor + removed_tax,
        "currentTotalTaxSet": round(document.tax_minor * share),
        "totalDiscountsSet": document.gross_minor - document.net_minor,
        "totalShippingPriceSet": 0,
        "totalRefundedSet": document.credited_minor,
        "totalReceivedSet": received,
        "netPaymentSet": document.paid_minor,
        "totalOutstandingSet": max(0, left - document.paid_minor),
        "totalTipReceivedSet": 0,
    }


def order(books: Books, document: Document) -> dict[str, Any]:
    """An order with all that can be asked for."""
    is_void = document.status == "void"
    return {
        "__typename": "Order",
        "id": gid("Order", document.id),
        "legacyResourceId": document.id,
        "name": document.number,
        "createdAt": moment(document.created_at),
        "processedAt": moment(document.created_at),
        "updatedAt": moment(document.updated_at),
        "cancelledAt": moment(document.updated_at) if is_void else None,
        "cancelReason": "CUSTOMER" if is_void else None,
        "closedAt": None,
        "test": document.entity == "TestOrder",
        "currencyCode": CURRENCY,
        "presentmentCurrencyCode": presentment(document),
        "taxesIncluded": False,
        "displayFinancialStatus": financial_status(document),
        "email": None,
        "phone": None,
        "edited": bool(document.removed),
        **{name: _bag(document, minor) for name, minor in amounts(document).items()},
        "customer": None if document.entity == "GuestOrder" else customer(document.customer),
        "billingAddress": None,
        "shippingAddress": {
            "id": gid("MailingAddress", document.id),
            "phone": None,
            "name": None,
            "city": "Luanda",
            "country": "Angola",
        },
        "lineItems": list(_lines(books, document)),
        "refunds": [_refund(document, refund) for refund in refunds_of(books, document)],
    }


def _lines(books: Books, document: Document) -> Iterable[dict[str, Any]]:
    back: dict[str, int] = {}
    for refund in refunds_of(books, document):
        for line in refund.lines:
            back[line.product.id] = back.get(line.product.id, 0) + line.quantity
    for line in document.removed:
        yield _line(document, line, 0)
    for line in document.lines:
        left = 0 if document.status == "void" else line.quantity - back.get(line.product.id, 0)
        yield _line(document, line, left)


def _line(document: Document, line: Line, left: int) -> dict[str, Any]:
    net = document.line_net_minor(line)
    return {
        "__typename": "LineItem",
        "id": gid("LineItem", f"{document.id}{line.id:0>3}"),
        "sku": line.product.sku,
        "title": line.product.name,
        "name": line.product.name,
        "quantity": line.quantity,
        "currentQuantity": left,
        "isGiftCard": False,
        "originalUnitPriceSet": _bag(document, line.unit_minor),
        "discountedUnitPriceAfterAllDiscountsSet": _bag(
            document, net // line.quantity if line.quantity else line.unit_minor
        ),
    }


def _refund(document: Document, refund: Document) -> dict[str, Any]:
    ordered = {line.product.id: line for line in document.lines}
    return {
        "__typename": "Refund",
        "id": gid("Refund", refund.id),
        "legacyResourceId": refund.id,
        "createdAt": moment(refund.created_at),
        "updatedAt": moment(refund.updated_at),
        "totalRefundedSet": _bag(refund, refund.total_minor),
        "refundLineItems": [
            {
                "__typename": "RefundLineItem",
                "id": gid("RefundLineItem", f"{refund.id}{line.id:0>3}"),
                "quantity": line.quantity,
                "subtotalSet": _bag(refund, refund.line_net_minor(line)),
                "totalTaxSet": _bag(refund, refund.line_tax_minor(line)),
                "lineItem": _line(document, ordered[line.product.id], 0),
            }
            for line in refund.lines
        ],
    }


def customer(buyer: Customer) -> dict[str, Any]:
    """A customer; a checked phone is the customer's own, any other stands in the address."""
    own = buyer.phone_slot == 0 and buyer.person.national is not None
    number = f"+244{buyer.person.national}" if own else None
    return {
        "__typename": "Customer",
        "id": gid("Customer", buyer.id),
        "legacyResourceId": buyer.id,
        "displayName": buyer.name,
        "updatedAt": moment(buyer.updated_at),
        "defaultPhoneNumber": {"phoneNumber": number} if number else None,
        "defaultEmailAddress": None,
        "defaultAddress": {
            "id": gid("MailingAddress", buyer.id),
            "phone": None if own else buyer.phone,
            "name": buyer.name,
            "city": "Luanda",
            "country": "Angola",
        },
    }


def events(books: Books) -> Iterable[Mapping[str, Any]]:
    """What happened to orders, as far as it is kept: that they came, and that they were deleted."""
    for document in books.all(*ORDERS):
        yield _event(document, 1, "create", document.created_at)
        if document.deleted:
            yield _event(document, 2, "destroy", document.updated_at)


def _event(document: Document, number: int, action: str, at: datetime) -> dict[str, Any]:
    return {
        "__typename": "BasicEvent",
        "id": gid("BasicEvent", f"{document.id}{number}"),
        "action": action,
        "createdAt": moment(at),
        "message": f"Order {document.number}",
        "subjectId": gid("Order", document.id),
        "subjectType": "ORDER",
    }
