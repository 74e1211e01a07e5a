"""Stripe's objects: whole minor units, seconds since 1970, currencies in lower case.

An object is written as the version of the request asks: since 2025-03-31 invoices do not name their
charge, nor charges their invoice.
"""

from datetime import datetime
from typing import Any, Final

from simulator.model import CURRENCY, Customer, Document, Line, Product
from simulator.systems.stripe.books import Facts, StripeBooks

#: What an account has without the header, and the version that changed invoices.
DEFAULT_VERSION: Final = "2026-06-24.dahlia"
BASIL: Final = "2025-03-31"
_CURRENCY: Final = CURRENCY.lower()
#: A list inside an object shows so many entries.
SHOWN_LINES: Final = 10


def seconds(at: datetime | None) -> int | None:
    """An instant."""
    return None if at is None else int(at.timestamp())


def inner_list(url: str, rows: list[Any], shown: int = SHOWN_LINES) -> dict[str, Any]:
    """A list inside an object: its first entries."""
    return {
        "object": "list",
        "data": rows[:shown],
        "has_more": len(rows) > shown,
        "total_count": len(rows),
        "url": url,
    }


def customer_json(customer: Customer, _version: str = "") -> dict[str, Any]:
    """A Customer."""
    return {
        "id": customer.id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": seconds(customer.created_at),
        "currency": _CURRENCY,
        "delinquent": False,
        "description": None,
        "email": None,
        "livemode": True,
        "metadata": {},
        "name": customer.name,
        "phone": customer.phone,
        "shipping": None,
    }


def product_json(product: Product, _version: str = "") -> dict[str, Any]:
    """A Product; the SKU is kept in its metadata."""
    return {
        "id": product.id,
        "object": "product",
        "active": True,
        "created": 1_700_000_000,
        "description": None,
        "livemode": True,
        "metadata": {"sku": product.sku} if product.sku else {},
        "name": product.name,
        "type": "good" if product.sku else "service",
        "updated": 1_700_000_000,
        "url": None,
    }


def _status(document: Document, facts: Facts) -> str:
    if "marked_uncollectible_at" in facts.times:
        return "uncollectible"
    if document.status in ("void", "draft"):
        return document.status
    return "paid" if document.balance_minor == 0 else "open"


def line_json(document: Document, line: Line, version: str) -> dict[str, Any]:
    """A line: its amount is before discounts, which stand beside it."""
    discount = line.gross_minor - document.line_net_minor(line)
    tax = {
        "amount": document.line_tax_minor(line),
        "tax_behavior": "exclusive",
        "taxable_amount": document.line_net_minor(line),
    }
    body = {
        "id": line.id,
        "object": "line_item",
        "amount": line.gross_minor,
        "currency": _CURRENCY,
        "description": line.product.name,
        "discount_amounts": [{"amount": discount, "discount": "di_1"}] if discount else [],
        "discountable": True,
        "invoice": document.id,
        "livemode": True,
        "metadata": {},
        "period": {"start": seconds(document.created_at), "end": seconds(document.created_at)},
        "quantity": line.quantity,
    }
    price, unit = f"price_{line.product.id[5:]}", str(line.unit_minor)
    if version < BASIL:
        product = {"id": price, "object": "price", "product": line.product.id}
        return body | {
            "type": "invoiceitem",
            "proration": False,
            "price": product | {"unit_amount": line.unit_minor, "unit_amount_decimal": unit},
            "tax_amounts": [{"amount": tax["amount"], "inclusive": False}],
        }
    return body | {
        "parent": {"type": "invoice_item_details"},
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price, "product": line.product.id},
            "unit_amount_decimal": unit,
        },
        "quantity_decimal": str(line.quantity),
        "subtotal": line.gross_minor,
        "taxes": [tax],
    }


def invoice_json(document: Document, facts: Facts, version: str) -> dict[str, Any]:
    """An Invoice. A void one keeps its amounts."""
    status, times = _status(document, facts), facts.times
    due = document.total_minor - facts.credited_before_minor
    discount = document.gross_minor - document.net_minor
    body: dict[str, Any] = {
        "id": document.id,
        "object": "invoice",
        "account_country": "PT",
        "amount_due": due,
        "amount_paid": document.paid_minor,
        "amount_remaining": due - document.paid_minor,
        "amount_shipping": 0,
        "attempted": bool(document.paid_minor),
        "auto_advance": False,
        "billing_reason": "manual",
        "collection_method": "send_invoice",
        "created": seconds(document.created_at),
        "currency": _CURRENCY,
        "customer": document.customer.id,
        "customer_address": None,
        "customer_email": None,
        "customer_name": document.customer.name,
        # A copy, frozen when the invoice is finalized.
        "customer_phone": document.customer.phone if int(document.id[-1], 36) % 2 else None,
        "customer_shipping": None,
        "description": None,
        "discounts": ["di_1"] if discount else [],
        "due_date": None,
        "effective_at": seconds(times.get("finalized_at")),
        "from_invoice": None,
        "lines": inner_list(
            f"/v1/invoices/{document.id}/lines",
            [line_json(document, line, version) for line in document.lines],
        ),
        "livemode": True,
        "metadata": {},
        "number": document.number or None,
        "post_payment_credit_notes_amount": facts.credited_after_minor,
        "pre_payment_credit_notes_amount": facts.credited_before_minor,
        "receipt_number": None,
        "shipping_cost": None,
        "starting_balance": 0,
        "status": status,
        "status_transitions": {
            name: seconds(times.get(name))
            for name in ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
        },
        "subtotal": document.gross_minor,
        "subtotal_excluding_tax": document.gross_minor,
        "total": document.total_minor,
        "total_discount_amounts": [{"amount": discount, "discount": "di_1"}] if discount else [],
        "total_excluding_tax": document.net_minor,
        "webhooks_delivered_at": seconds(times.get("finalized_at")),
    }
    if version < BASIL:
        return body | {
            "charge": facts.charge_id or None,
            "paid": status == "paid",
            "paid_out_of_band": False,
            "tax": document.tax_minor,
            "total_tax_amounts": [{"amount": document.tax_minor, "inclusive": False}],
        }
    return body | {
        "amount_overpaid": 0,
        "parent": None,
        "total_taxes": [{"amount": document.tax_minor, "tax_behavior": "exclusive"}],
    }


def charge_json(document: Document, facts: Facts, version: str) -> dict[str, Any]:
    """A Charge: a sale of its own, or what paid an invoice."""
    of_invoice = document.entity == "Invoice"
    amount, order = document.paid_minor, document.order
    at = facts.times["paid_at"] if of_invoice else document.created_at
    body: dict[str, Any] = {
        "id": facts.charge_id if of_invoice else document.id,
        "object": "charge",
        "amount": amount,
        "amount_captured": amount,
        "amount_refunded": facts.refunded_minor,
        "billing_details": {
            "address": None,
            "email": None,
            "name": document.customer.name,
            "phone": None if of_invoice else document.customer.phone,
        },
        "captured": True,
        "created": seconds(at),
        "currency": _CURRENCY,
        "customer": document.customer.id,
        "description": f"Order {order.number}" if order else None,
        "disputed": False,
        "livemode": True,
        "metadata": {"order_id": order.id} if order else {},
        "paid": True,
        "payment_intent": f"pi_{(facts.charge_id or document.id)[3:]}",
        "receipt_number": None if of_invoice else document.number,
        "refunded": facts.refunded_minor == amount,
        "shipping": None,
        "status": "succeeded",
    }
    if version < BASIL:
        body["invoice"] = document.id if of_invoice else None
    return body


def refund_json(credit: Document, books: StripeBooks, _version: str = "") -> dict[str, Any]:
    """A Refund, which names the charge and no invoice."""
    source = credit.source
    assert source is not None
    charge = books.facts[source.id].charge_id or source.id
    return {
        "id": books.facts[credit.id].refund_id,
        "object": "refund",
        "amount": credit.total_minor,
        "charge": charge,
        "created": seconds(credit.created_at),
        "currency": _CURRENCY,
        "metadata": {},
        "payment_intent": f"pi_{charge[3:]}",
        "reason": None,
        "status": "succeeded",
    }


def credit_note_json(credit: Document, books: StripeBooks, version: str) -> dict[str, Any]:
    """A CreditNote."""
    source, amount, facts = credit.source, credit.total_minor, books.facts[credit.id]
    assert source is not None
    lines = [
        {
            "id": f"cnli_{line.id[3:]}",
            "object": "credit_note_line_item",
            "amount": line.gross_minor,
            "description": line.product.name,
            "quantity": line.quantity,
            "type": "invoice_line_item",
        }
        for line in credit.lines
    ]
    body: dict[str, Any] = {
        "id": credit.id,
        "object": "credit_note",
        "amount": amount,
        "created": seconds(credit.created_at),
        "currency": _CURRENCY,
        "customer": credit.customer.id,
        "customer_balance_transaction": None
        if facts.before_payment or facts.refund_id
        else f"cbtxn_{credit.id[3:]}",
        "invoice": source.id,
        "lines": inner_list(f"/v1/credit_notes/{credit.id}/lines", lines),
        "livemode": True,
        "metadata": {},
        "number": credit.number,
        "out_of_band_amount": None,
        "status": "issued",
        "subtotal": credit.net_minor,
        "total": amount,
        "type": "pre_payment" if facts.before_payment else "post_payment",
        "voided_at": None,
    }
    if version < BASIL:
        return body | {"refund": facts.refund_id or None}
    refund = {"amount_refunded": amount, "refund": facts.refund_id, "type": "refund"}
    return body | {
        "pre_payment_amount": amount if facts.before_payment else 0,
        "post_payment_amount": 0 if facts.before_payment else amount,
        "refunds": [refund] if facts.refund_id else [],
    }
