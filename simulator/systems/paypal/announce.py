"""PayPal's webhooks: one event a delivery, signed with a certificate whose address it names."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body, zulu
from simulator.model import Document
from simulator.systems.paypal import certificate
from simulator.systems.paypal.books import PayPalBooks
from simulator.systems.paypal.render import invoice_json, money, stamp

_PAYMENTS: Final = {
    "SalesReceipt": "PAYMENT.CAPTURE.COMPLETED",
    "Payment": "PAYMENT.CAPTURE.COMPLETED",
    "RefundReceipt": "PAYMENT.CAPTURE.REFUNDED",
}


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each change; the deletion of a draft is not announced."""
    books = sender.books
    assert isinstance(books, PayPalBooks)
    made = []
    for document, what in changed:
        event = _event(sender, books, document, what)
        if event is not None:
            body = json_body(event)
            sign = _signed(sender, event["id"])
            made.append(Delivery("paypal", body, "application/json", sign, event["event_type"]))
    return made


def _event(
    sender: Sender, books: PayPalBooks, document: Document, what: str
) -> dict[str, Any] | None:
    digest = sha256(f"{sender.seed}/paypal/{next(sender.numbers)}".encode()).hexdigest().upper()
    if document.deleted or (document.status == "draft" and document.entity == "SalesReceipt"):
        return None
    is_invoice = document.entity == "Invoice"
    name = _invoice_event(document, what) if is_invoice else _PAYMENTS[document.entity]
    if is_invoice:
        resource: dict[str, Any] = {"invoice": invoice_json(document, books)}
    else:
        resource = {
            "id": document.id,
            "amount": money(document.total_minor),
            "status": "DECLINED" if document.status == "void" else "COMPLETED",
            "create_time": stamp(document.created_at),
            "update_time": stamp(document.updated_at),
        }
        name = "PAYMENT.CAPTURE.DENIED" if document.status == "void" else name
    return {
        "id": f"WH-{digest[:17]}-{digest[17:34]}",
        "create_time": zulu(document.updated_at),
        "resource_type": "invoices" if is_invoice else "capture",
        "event_type": name,
        "summary": "Something happened.",
        "resource": resource,
        "links": [],
        "event_version": "1.0",
        "resource_version": "2.0",
    }


def _invoice_event(invoice: Document, what: str) -> str:
    if invoice.status == "void":
        name = "CANCELLED"
    elif invoice.refunds:
        name = "REFUNDED"
    elif invoice.paid_minor:
        name = "PAID"  # also a part of it
    else:
        name = "CREATED" if what == "created" else "UPDATED"
    return f"INVOICING.INVOICE.{name}"


def _signed(sender: Sender, event_id: str) -> Sign:
    """The same id and time on every attempt. The secret is the id of the webhook."""
    transmission_id = str(UUID(sha256(event_id.encode()).hexdigest()[:32]))
    times: list[str] = []

    def sign(body: bytes, now: datetime) -> dict[str, str]:
        times.append(stamp(now))
        text = certificate.signed_text(transmission_id, times[0], sender.secret, body)
        return {
            "paypal-transmission-id": transmission_id,
            "paypal-transmission-time": times[0],
            "paypal-transmission-sig": certificate.signature(text),
            "paypal-cert-url": certificate.ADDRESS,
            "paypal-auth-algo": certificate.ALGORITHM,
            "paypal-auth-version": "v2",
        }

    return sign
