"""Adobe I/O Events of Adobe Commerce: CloudEvents, signed with Adobe's keys.

Magento Open Source sends none. An event holds what was subscribed to of one save: it only says that
an order changed, and the order is read again.

https://developer.adobe.com/events/docs/guides/
"""

import re
from typing import Any, Final
from urllib.parse import parse_qs

from connectors.kit.webhooks.bodies import BadBody, moment, opened, optional_word, word
from connectors.kit.webhooks.scheme import Event, Handshake, Webhook
from connectors.kit.webhooks.signatures import Delivery, recipient_and_rsa_keys

#: Where an event names the order, by what was observed. The first that the type holds counts:
#: `sales_order_save_after` is a save of the order itself.
_ORDER_ID: Final = (
    ("sales_order_invoice_save", ("/order_id",)),
    ("sales_order_creditmemo_save", ("/order_id",)),
    ("sales_order_save", ("/entity_id", "/id")),
    ("order_management", ("/entity_id", "/id")),
)
#: A code is answered as it came, so it must be one.
_CODE: Final = re.compile(r"[\w.~+/=-]{1,200}", re.ASCII)


def _event_of(body: Any) -> Any:
    """The CloudEvent; an older form has it inside."""
    if not isinstance(body, dict):
        raise BadBody("it is not an object")
    return body["event"] if isinstance(body.get("event"), dict) else body


def _read(received: Delivery) -> list[Event]:
    body = opened(received.body)
    event = _event_of(body)
    event_id = optional_word(body, "/event_id") or word(event, "/id")
    name = optional_word(event, "/type") or ""
    pointers = next((pointers for part, pointers in _ORDER_ID if part in name), ())
    ids = (optional_word(event, f"/data/value{pointer}") for pointer in pointers)
    order_id = next((vendor_id for vendor_id in ids if vendor_id), None)
    occurred_at = moment(event, "/time")
    if order_id is None:  # of something else, or the id was not subscribed to: polling finds it
        return [Event(event_id, name, "ignored", occurred_at=occurred_at)]
    return [Event(event_id, name, "changed", "orders", (order_id,), None, occurred_at)]


def _greet(received: Delivery) -> Handshake | None:
    """Adobe asks by GET with a code, which the answer must repeat."""
    codes = parse_qs(received.query).get("challenge", [])
    if received.body or len(codes) != 1 or not _CODE.fullmatch(codes[0]):
        return None
    return Handshake(body=codes[0])


#: The secret is the client id of the registration and Adobe's public keys. Everybody's events are
#: signed with the same keys, so the recipient counts as much as the signature. Answers are awaited
#: for ten seconds.
WEBHOOK: Final = Webhook(
    "magento",
    recipient_and_rsa_keys(
        headers=("x-adobe-digital-signature-1", "x-adobe-digital-signature-2"),
        recipient="/recipient_client_id",
        event_id="/event_id",
    ),
    _read,
    greet=_greet,
    greets_by_get=True,
    answer_seconds=10,
)
