"""Custom systems: signed as their block says; whole documents, or ids only. Guide: docs/webhooks.md."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from connectors.kit.documents import settings_of
from connectors.kit.mapping.ids import joined_id
from connectors.kit.mapping.pointers import dig, joined_paths, segments
from connectors.kit.spec import Connection
from connectors.kit.webhook_bodies import BadBody, moment, opened, optional_word, raw_at, raw_list
from connectors.kit.webhook_settings import EventKind, WebhookSettings
from connectors.kit.webhook_signatures import Delivery
from connectors.kit.webhooks import EVENTS_MAX, Event, Webhook

SYSTEM: Final = "custom"
_ABOUT_SALES: Final = ("invoice", "sale", "payment", "order", "receipt", "credit_note", "refund")
_GONE: Final = ("deleted", "removed")
#: Where a document that is not an invoice names the invoice it belongs to.
_INVOICE_PATHS: Final = ("/invoice_id", "/invoice/id")
_ID_PATHS: Final = ("/id", "/invoice_number", "/number")


def webhook_from(connection: Connection) -> Webhook:
    """The webhooks that the connection's options describe.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    known = {name: value for name, value in connection.options.items() if name in WebhookSettings.model_fields}
    settings = settings_of(WebhookSettings, Connection(SYSTEM, connection.account, options=known))
    chosen = connection.paths.get("invoices.external_id") or connection.paths.get("external_id")
    ids = (chosen,) if chosen else _ID_PATHS
    return Webhook(SYSTEM, settings.scheme(), lambda received: _read(received, settings, ids))


def _read(received: Delivery, settings: WebhookSettings, ids: Sequence[str]) -> list[Event]:
    body = opened(received.body)
    if not isinstance(body, dict | list):
        raise BadBody("it is neither an object nor a list")
    name = optional_word(body, settings.webhook_type_path) or ""
    occurred_at = moment(body, settings.webhook_time_path)
    parts = segments(settings.webhook_data_path)
    # Without an envelope the body itself is the document.
    enveloped = isinstance(dig(body, parts), dict | list)
    found = dig(body, parts) if enveloped else body
    records = found if isinstance(found, list) else [found]
    raw = raw_list(raw_at(received.body, parts if enveloped else ()) or b"{}")
    if len(records) > EVENTS_MAX:
        raise BadBody(f"it holds more than {EVENTS_MAX} documents")
    if not all(isinstance(record, dict) for record in records):
        raise BadBody("a document in it is not an object")
    kind = _kind(name, settings.webhook_events)
    key = received.header(settings.scheme().id_header) or hashlib.sha256(received.body).hexdigest()
    return [
        _event(f"{key}/{number}", name, kind, record, bytes_, occurred_at, ids)
        for number, (record, bytes_) in enumerate(zip(records, raw, strict=True))
    ]


def _event(
    event_id: str,
    name: str,
    kind: EventKind,
    record: Mapping[str, Any],
    raw: bytes,
    occurred_at: datetime | None,
    ids: Sequence[str],
) -> Event:
    if kind == "ignored":
        return Event(event_id, name, kind)
    paths = (*_INVOICE_PATHS, *ids)
    found = next((one for path in paths if (one := _id(record, path)) is not None), None)
    return Event(event_id, name, kind, "invoices", (found,) if found else (), raw, occurred_at)


def _id(record: Mapping[str, Any], path: str) -> str | None:
    parts = joined_paths(path)
    try:
        words = [optional_word(record, part) for part in parts]
        return words[0] if len(parts) == 1 else joined_id(words)
    except BadBody:
        return None


def _kind(name: str, chosen: Mapping[str, EventKind]) -> EventKind:
    """A document without a name of an event tells its own state."""
    if name in chosen:
        return chosen[name]
    about, *_, what = name.lower().split(".") if "." in name else (name.lower(), "")
    if name and about not in _ABOUT_SALES:
        return "ignored"
    return "deleted" if what in _GONE else "changed"
