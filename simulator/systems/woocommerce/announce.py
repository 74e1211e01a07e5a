"""WooCommerce's webhooks: the whole order, signed; of a deleted one its id."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body, mac
from simulator.model import Document
from simulator.systems.woocommerce import render

_SIGNATURE: Final = "x-wc-webhook-signature"
#: A new order is told twice.
_EVENTS: Final = {"created": ("created", "updated"), "deleted": ("deleted",)}


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each event of each order; a refund is a change of its order."""
    made = []
    for document, what in changed:
        if document.entity != "Invoice":
            continue
        body = _body(document, what)
        for event in _EVENTS.get(what, ("updated",)):
            sign = _signed(sender.secret, event, next(sender.numbers))
            topic = f"order.{event}"
            made.append(Delivery("woocommerce", json_body(body), "application/json", sign, topic))
    return made


def ping(number: int) -> Delivery:
    """What is sent when a webhook is made: an unsigned form."""
    form = urlencode({"webhook_id": number}).encode()
    kind = "application/x-www-form-urlencoded"
    return Delivery("woocommerce", form, kind, lambda _body, _now: {})


def _body(document: Document, what: str) -> dict[str, Any]:
    if what == "deleted":
        return {"id": int(document.id)}
    return render.order_json(document)


def _signed(secret: str, event: str, number: int) -> Sign:
    def sign(body: bytes, _now: datetime) -> dict[str, str]:
        return {
            "user-agent": "WooCommerce/9.4.2 Hookshot (WordPress/6.7)",
            "x-wc-webhook-source": "https://loja.aguatwezah.example/",
            "x-wc-webhook-topic": f"order.{event}",
            "x-wc-webhook-resource": "order",
            "x-wc-webhook-event": event,
            _SIGNATURE: mac(secret.encode(), body),
            "x-wc-webhook-id": "142",
            "x-wc-webhook-delivery-id": f"{number:032x}",
        }

    return sign
