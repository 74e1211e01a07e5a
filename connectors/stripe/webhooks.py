"""Stripe: `Stripe-Signature` (`t=...,v1=...`), one event a delivery.

https://docs.stripe.com/webhooks

An event holds its document in the version that its address was made with, and events overtake each
other. So the document is asked for by its id: its state of that moment is never old.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from connectors.kit.spec import Account
from connectors.kit.webhooks.bodies import BadBody, moment, opened, optional_word, word
from connectors.kit.webhooks.scheme import Event, EventKind, Webhook
from connectors.kit.webhooks.signatures import Delivery, timestamped_list
from connectors.stripe.subscriptions import SUBSCRIPTIONS

#: Where the object of an event has the id of the document, and the lists that it is asked from, by
#: the first word of the event's name.
_DOCUMENTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "invoice": ("id", ("invoices",)),
    "invoice_payment": ("invoice", ("invoices",)),
    "credit_note": ("invoice", ("invoices",)),
    # Whether a payment is of an invoice, only the answer tells: each list keeps what is its own.
    "charge": ("id", ("payments", "refunded_invoices")),
    "refund": ("charge", ("payments", "refunded_invoices")),
}
#: Disputes are decided by the bank; the payment tells when the shop gives money back.
_IGNORED: Final = ("charge.dispute.", "invoice.upcoming", "invoice.will_be_due")


def _read(received: Delivery, *, payments: bool) -> list[Event]:
    body = opened(received.body)
    if not isinstance(body, dict) or body.get("object") != "event":
        raise BadBody("it is no event that holds an object (a snapshot)")
    return list(_events(body, payments=payments))


def _events(body: dict[str, Any], *, payments: bool) -> Iterator[Event]:
    event_id, name = word(body, "/id"), word(body, "/type")
    occurred_at, account = moment(body, "/created"), optional_word(body, "/account")
    pointer, streams = _document(name)
    key = optional_word(body, f"/data/object/{pointer}") if streams else None
    kind: EventKind = "deleted" if name == "invoice.deleted" else "changed"
    wanted = [stream for stream in streams if payments or stream != "payments"]
    if key is None or not wanted:
        yield Event(event_id, name, "ignored", occurred_at=occurred_at, account=account)
        return
    for stream in wanted:
        yield Event(f"{event_id}/{stream}", name, kind, stream, (key,), None, occurred_at, account)


def _document(name: str) -> tuple[str, tuple[str, ...]]:
    """Where an event of that name has its document's id, and the lists of such documents."""
    if name.startswith(_IGNORED):
        return "id", ()
    # Its object is the refund, whatever its name says.
    entity = "refund" if name == "charge.refund.updated" else name.partition(".")[0]
    return _DOCUMENTS.get(entity, ("id", ()))


#: The secret is that of the endpoint, as text, with its `whsec_`.
WEBHOOK: Final = Webhook(
    "stripe",
    timestamped_list("stripe-signature"),
    partial(_read, payments=True),
    answer_seconds=10,
    subscriptions=SUBSCRIPTIONS,
)


def webhook_from(account: Account) -> Webhook:
    """The webhooks of an account: with or without payments that have no invoice."""
    payments = bool(account.options.get("payments", True))
    return replace(WEBHOOK, read=partial(_read, payments=payments))
