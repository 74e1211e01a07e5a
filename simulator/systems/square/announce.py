"""Square's webhooks: one event a delivery; those of orders hold ids only."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final

from simulator.deliveries import Change, Delivery, Sender, json_body, mac, zulu
from simulator.model import Document
from simulator.systems.square.system import MERCHANT, SYSTEM

_HEADER: Final = "x-square-hmacsha256-signature"


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each changed order."""
    events = [_event(sender, *change) for change in changed]
    return [
        Delivery(
            "square",
            json_body(event),
            "application/json",
            lambda _body, _now: {},
            topic=event["type"],
            sign_address=_signed(sender),
        )
        for event in events
    ]


def _event(sender: Sender, document: Document, what: str) -> dict[str, Any]:
    order_id = document.record_key if document.entity == "RefundReceipt" else document.id
    name = "created" if what == "created" else "updated"
    number = next(sender.numbers)
    inner = {
        "created_at": zulu(document.created_at),
        "location_id": SYSTEM.account,
        "order_id": order_id,
        "state": "OPEN" if document.entity == "Invoice" else "COMPLETED",
        **({"updated_at": zulu(document.updated_at)} if name == "updated" else {}),
        "version": document.version + 1,
    }
    return {
        "merchant_id": MERCHANT,
        "type": f"order.{name}",
        "event_id": sha256(f"{sender.seed}/square/{number}".encode()).hexdigest()[:32],
        "created_at": zulu(document.updated_at),
        "data": {"type": f"order_{name}", "id": order_id, "object": {f"order_{name}": inner}},
    }


def _signed(sender: Sender) -> Callable[[str, bytes], dict[str, str]]:
    """Over the address to the letter, and the body behind it."""
    key = sender.secret.encode()
    return lambda url, body: {_HEADER: mac(key, url.encode() + body)}
