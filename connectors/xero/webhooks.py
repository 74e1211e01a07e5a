"""Xero: `x-xero-signature`, ids only; a wrong signature must get 401 (intent to receive).

https://developer.xero.com/documentation/guides/webhooks/overview
"""

from collections.abc import Mapping
from typing import Any, Final

from connectors.kit.webhooks.bodies import BadBody, moment, objects, opened, word
from connectors.kit.webhooks.scheme import EVENTS_MAX, Event, EventKind, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac

_STREAMS: Final[Mapping[str, str]] = {"INVOICE": "invoices", "CREDITNOTE": "credit_notes"}


def _read(received: Delivery) -> list[Event]:
    body = opened(received.body)
    if not isinstance(body, dict) or "events" not in body:
        raise BadBody("it is not an object with events")
    # While the address is introduced at the vendor, the list is empty.
    return [_event(entry) for entry in objects(body["events"], "/events", at_most=EVENTS_MAX)]


def _event(entry: dict[str, Any]) -> Event:
    category, action = word(entry, "/eventCategory"), word(entry, "/eventType")
    key, tenant, stamp = (
        word(entry, pointer) for pointer in ("/resourceId", "/tenantId", "/eventDateUtc")
    )
    stream = _STREAMS.get(category)
    # Voiding and deleting are updates: the document's status tells.
    kind: EventKind = "ignored" if stream is None else "changed"
    event_id, name = f"{tenant}/{category}/{key}/{action}/{stamp}", f"{category}.{action}".lower()
    occurred_at = moment(entry, "/eventDateUtc")
    return Event(event_id, name, kind, stream, (key,), None, occurred_at, tenant)


#: The webhook key of the application, as text. Answers are awaited for five seconds, and their body
#: must be empty.
WEBHOOK: Final = Webhook("xero", plain_hmac("x-xero-signature"), _read, answer_seconds=5)
