"""Shopify's webhooks: one delivery for each topic, in the old API's spelling, signed over the body."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body, mac, zulu
from simulator.model import CURRENCY, Document, Line
from simulator.systems.shopify.render import (
    ORDERS,
    amount,
    amounts,
    customer,
    financial_status,
    gid,
    presentment,
)
from simulator.systems.shopify.system import SYSTEM

_TOPICS: Final = {
    "created": ("orders/create",),
    "updated": ("orders/updated",),
    "voided": ("orders/cancelled", "orders/updated"),
    "deleted": ("orders/delete",),
}
#: Times have the shop's offset.
_ZONE: Final = ZoneInfo("Africa/Luanda")


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """Orders by what happened to them; a refund is told besides, with its order's id."""
    made = []
    for document, what in changed:
        event = f"{sender.random.getrandbits(128):032x}"
        topics = _TOPICS[what] if document.entity in ORDERS else ("refunds/create",)
        for topic in topics:
            body = json_body(_body(document, topic))
            headers = {
                "x-shopify-topic": topic,
                "x-shopify-shop-domain": f"{SYSTEM.account}.myshopify.com",
                "x-shopify-api-version": "2026-10",
                "x-shopify-event-id": event,
                "x-shopify-webhook-id": f"{sender.seed}-{next(sender.numbers)}",
                "x-shopify-triggered-at": zulu(document.updated_at),
            }
            sign = signature(sender.secret, headers)
            name = topic.upper().replace("/", "_")
            made.append(Delivery("shopify", body, "application/json", sign, name))
    return made


def signature(secret: str, headers: dict[str, str]) -> Sign:
    """The mac of the body among the other headers, which are not signed."""
    return lambda body, _now: headers | {"x-shopify-hmac-sha256": mac(secret.encode(), body)}


def _body(document: Document, topic: str) -> dict[str, Any]:
    if topic == "orders/delete":
        return {"id": int(document.id)}
    if topic == "refunds/create":
        source = document.source
        return {
            "id": int(document.id),
            "admin_graphql_api_id": gid("Refund", document.id),
            "order_id": int(source.id) if source else None,
            "created_at": _local(document.created_at),
            "refund_line_items": [],
            "transactions": [{"kind": "refund", "amount": amount(document.total_minor)}],
        }
    return order_body(document)


def order_body(document: Document) -> dict[str, Any]:
    """An order in the spelling of the old API."""
    totals = amounts(document)
    is_void = document.status == "void"
    buyer = None if document.entity == "GuestOrder" else customer(document.customer)
    phone = buyer["defaultPhoneNumber"] if buyer else None
    return {
        "id": int(document.id),
        "admin_graphql_api_id": gid("Order", document.id),
        "name": document.number,
        "created_at": _local(document.created_at),
        "processed_at": _local(document.created_at),
        "updated_at": _local(document.updated_at),
        "cancelled_at": _local(document.updated_at) if is_void else None,
        "test": document.entity == "TestOrder",
        "currency": CURRENCY,
        "presentment_currency": presentment(document),
        "financial_status": financial_status(document).lower(),
        "phone": None,
        "customer": None
        if buyer is None
        else {
            "id": int(document.customer.id),
            "admin_graphql_api_id": buyer["id"],
            "phone": phone["phoneNumber"] if phone else None,
        },
        "total_price": amount(totals["totalPriceSet"]),
        "current_total_price": amount(totals["currentTotalPriceSet"]),
        "total_tax": amount(totals["totalTaxSet"]),
        "current_total_tax": amount(totals["currentTotalTaxSet"]),
        "total_discounts": amount(totals["totalDiscountsSet"]),
        "line_items": [_line(document, line) for line in document.lines],
        "refunds": [],
    }


def _line(document: Document, line: Line) -> dict[str, Any]:
    return {
        "id": int(f"{document.id}{line.id:0>3}"),
        "sku": line.product.sku,
        "title": line.product.name,
        "quantity": line.quantity,
        "current_quantity": line.quantity,
        "price": amount(line.unit_minor),
        "gift_card": False,
        "discount_allocations": [
            {"amount": amount(line.gross_minor - document.line_net_minor(line))}
        ],
    }


def _local(at: datetime) -> str:
    return at.astimezone(_ZONE).isoformat(timespec="seconds")
