"""Systems that are described in a block: signed as it says; whole documents, or ids only.

Guide: docs/webhooks.md.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connectors.kit.described.documents import settings_of
from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.mapping.ids import joined_id
from connectors.kit.mapping.pointers import dig, joined_paths, segments
from connectors.kit.spec import Account
from connectors.kit.webhooks.bodies import BadBody, moment, opened, optional_word, raw_at, raw_list
from connectors.kit.webhooks.scheme import EVENTS_MAX, Event, EventKind, Handshake, Webhook
from connectors.kit.webhooks.signatures import Delivery, Scheme

#: The first word of an event's name, if the event is about a sale.
_ABOUT_SALES: Final = ("invoice", "sale", "payment", "order", "receipt", "credit_note", "refund")
#: Documents of these kinds are not the sale itself: what happens to them changes the sale that they
#: name.
_BESIDE_A_SALE: Final = ("payment", "credit_note", "refund")
#: What an event says happened, where the document is gone, or cancelled.
_GONE: Final = (
    "deleted",
    "delete",
    "removed",
    "remove",
    "destroyed",
    "destroy",
    "trashed",
    "trash",
)
_CANCELLED: Final = ("void", "voided", "cancel", "cancelled", "canceled", "annulled")
#: Where a document that is not an invoice names the invoice it belongs to.
_INVOICE_PATHS: Final = ("/invoice_id", "/invoice/id")
#: Where a document has its id, unless the block says so.
_ID_PATHS: Final = ("/id", "/invoice_number", "/number")
_NAME_MAX: Final = 200
#: What WooCommerce sends, without a signature, when a webhook is entered there.
_PING: Final = re.compile(rb"webhook_id=[0-9]{1,20}")
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class _Reading:
    """How a delivery is read."""

    settings: WebhookSettings
    scheme: Scheme
    #: Paths at which the account's documents have their id.
    ids: Sequence[str]
    #: Path at which they have their status.
    state: str


def webhook_from(account: Account) -> Webhook:
    """The webhooks that the account's options describe.

    Raises:
        Misconfigured: Naming the field of the block.
    """
    webhook_options = {
        name: value
        for name, value in account.options.items()
        if name in WebhookSettings.model_fields
    }
    settings = settings_of(
        WebhookSettings, Account(account.system, account.account, options=webhook_options)
    )
    chosen = _path(account, "external_id")
    state = _path(account, "status") or "/status"
    reading = _Reading(settings, settings.scheme(), (chosen,) if chosen else _ID_PATHS, state)
    return Webhook(
        account.system,
        reading.scheme,
        lambda received: _read(received, reading),
        greet=lambda received: _greet(received, reading.scheme),
        kept_headers=settings.topic_headers,
    )


def _path(account: Account, field: str) -> str | None:
    return account.paths.get(f"invoices.{field}") or account.paths.get(field)


def _greet(received: Delivery, scheme: Scheme) -> Handshake | None:
    """A shop's ping at the creation of a webhook: exactly that form, and no signature.

    It says nothing about a sale.
    """
    is_ping = _PING.fullmatch(received.body) is not None
    is_form = received.header("content-type").partition(";")[0].strip().lower() == _FORM
    return Handshake() if is_ping and is_form and not any(scheme.signatures(received)) else None


def _read(received: Delivery, reading: _Reading) -> list[Event]:
    if _PING.fullmatch(received.body):  # a ping with a signature
        return []
    settings = reading.settings
    body = opened(received.body)
    if not isinstance(body, dict | list):
        raise BadBody("it is neither an object nor a list")
    occurred_at = moment(body, settings.webhook_time_path)
    parts = segments(settings.webhook_data_path)
    # Without an envelope the body itself is the document.
    enveloped = isinstance(dig(body, parts), dict | list)
    name = _name(received, body, settings, enveloped=enveloped)
    documents = dig(body, parts) if enveloped else body
    records = documents if isinstance(documents, list) else [documents]
    raw = raw_list(raw_at(received.body, parts if enveloped else ()) or b"{}")
    if len(records) > EVENTS_MAX:
        raise BadBody(f"it holds more than {EVENTS_MAX} documents")
    if not all(isinstance(record, dict) for record in records):
        raise BadBody("a document in it is not an object")
    key = reading.scheme.message_id(received) or hashlib.sha256(received.body).hexdigest()
    return [
        _event(f"{key}/{number}", name, record, bytes_, occurred_at, reading)
        for number, (record, bytes_) in enumerate(zip(records, raw, strict=True))
    ]


def _name(received: Delivery, body: Any, settings: WebhookSettings, *, enveloped: bool) -> str:
    """The event's name.

    It is in the header that the block names, else in the body, else in a usual header. A body that
    is the document itself may have a type of its own, which is no event's name: for such a body the
    usual headers come before the body.
    """
    names = [
        value for header in settings.topic_headers if (value := received.header(header).strip())
    ]
    if len(set(names)) > 1:
        raise BadBody("several headers name the event, and not alike")
    if names and not (names[0].isprintable() and len(names[0]) <= _NAME_MAX):
        raise BadBody(
            "the header that names the event is too long, or has control characters in it"
        )
    if names and (settings.webhook_type_header or not enveloped):
        return names[0]
    return optional_word(body, settings.webhook_type_path) or "".join(names[:1])


def _event(
    event_id: str,
    name: str,
    record: Mapping[str, Any],
    raw: bytes,
    occurred_at: datetime | None,
    reading: _Reading,
) -> Event:
    invoice = _first(record, _INVOICE_PATHS)
    kind = _kind(
        name, reading.settings.webhook_events, record, reading.state, of_invoice=invoice is not None
    )
    if kind == "ignored":
        return Event(event_id, name, kind)
    sale_id = invoice or _first(record, reading.ids)
    return Event(event_id, name, kind, "invoices", (sale_id,) if sale_id else (), raw, occurred_at)


def _first(record: Mapping[str, Any], paths: Sequence[str]) -> str | None:
    return next((record_id for path in paths if (record_id := _id(record, path)) is not None), None)


def _id(record: Mapping[str, Any], path: str) -> str | None:
    parts = joined_paths(path)
    try:
        words = [optional_word(record, part) for part in parts]
        return words[0] if len(parts) == 1 else joined_id(words)
    except BadBody:
        return None


def _kind(
    name: str,
    chosen: Mapping[str, EventKind],
    record: Mapping[str, Any],
    state: str,
    *,
    of_invoice: bool,
) -> EventKind:
    """What an event asks for, by its name, e.g. `invoice.deleted` or `orders/delete`.

    An event without a name means that its document was changed.
    """
    if name in chosen:
        return chosen[name]
    about, *others = re.split(r"[./:]", name.lower())
    about, what = about.removesuffix("s"), others[-1] if others else ""
    if name and about not in _ABOUT_SALES:
        return "ignored"
    # When a payment or refund is deleted its sale is not: the sale is to be read again.
    if about == "payment" or (about in _BESIDE_A_SALE and of_invoice):
        return "changed"
    # A document without a status is read as open, which is wrong where the event says cancelled.
    is_cancelled = what in _CANCELLED and dig(record, segments(state)) in (None, "")
    return "deleted" if what in _GONE or is_cancelled else "changed"
