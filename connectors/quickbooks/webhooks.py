"""QuickBooks Online: `intuit-signature`, ids only, in two forms of body.

https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks
"""

from collections.abc import Mapping
from typing import Any, Final

from connectors.kit.webhooks.bodies import BadBody, moment, objects, opened, word
from connectors.kit.webhooks.scheme import EVENTS_MAX, Event, EventKind, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac

_STREAMS: Final[Mapping[str, str]] = {
    "invoice": "invoices",
    "salesreceipt": "sales_receipts",
    "creditmemo": "credit_memos",
    "refundreceipt": "refund_receipts",
}
_GONE: Final = ("delete", "deleted")


def _read(received: Delivery) -> list[Event]:
    """A list of CloudEvents (since 2026), or the object with `eventNotifications`."""
    body = opened(received.body)
    if isinstance(body, list):
        return [_cloud_event(entry) for entry in objects(body, "the body", at_most=EVENTS_MAX)]
    if not isinstance(body, dict) or "eventNotifications" not in body:
        raise BadBody("it is neither a list of CloudEvents nor an object with eventNotifications")
    notifications = objects(body["eventNotifications"], "/eventNotifications", at_most=EVENTS_MAX)
    return [event for notification in notifications for event in _notified(notification)]


def _notified(notification: dict[str, Any]) -> list[Event]:
    realm = word(notification, "/realmId")
    change = notification.get("dataChangeEvent")
    listed = change.get("entities") if isinstance(change, dict) else None
    events = []
    for entity in objects(listed, "/dataChangeEvent/entities", at_most=EVENTS_MAX):
        name, key, operation = (word(entity, pointer) for pointer in ("/name", "/id", "/operation"))
        stamp = word(entity, "/lastUpdated")
        event_id = f"{realm}/{name}/{key}/{operation}/{stamp}"
        events.append(
            _event(event_id, realm, (name, operation), key, moment(entity, "/lastUpdated"))
        )
    return events


def _cloud_event(entry: dict[str, Any]) -> Event:
    parts = word(entry, "/type").split(".")
    if len(parts) != 4 or parts[0] != "qbo":
        raise BadBody("/type is not qbo.<entity>.<operation>.<version>")
    realm = word(entry, "/intuitaccountid")
    return _event(
        word(entry, "/id"),
        realm,
        (parts[1], parts[2]),
        word(entry, "/intuitentityid"),
        moment(entry, "/time"),
    )


def _event(event_id: str, realm: str, what: tuple[str, str], key: str, occurred_at: Any) -> Event:
    entity, operation = what
    stream = _STREAMS.get(entity.lower())
    kind: EventKind = "deleted" if operation.lower() in _GONE else "changed"
    if stream is None:
        kind = "ignored"
    name = f"{entity}.{operation}".lower()
    return Event(event_id, name, kind, stream, (key,), None, occurred_at, realm)


#: The verifier token of the application. Answers are awaited for three seconds.
WEBHOOK: Final = Webhook("quickbooks", plain_hmac("intuit-signature"), _read, answer_seconds=3)
