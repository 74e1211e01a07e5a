"""Zoho Books: a webhook of a workflow rule, with the record as JSON or as a form.

The address, its parameters and the body are what the merchant enters, so only the id is taken from
a delivery. The document is then asked for.

https://www.zoho.com/books/help/settings/automation/workflow-actions/webhooks.html
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from connectors.kit.webhooks.bodies import BadBody, form, moment, opened, optional_word
from connectors.kit.webhooks.scheme import Event, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac

#: The lists, by the word for one record. Sales receipts are left to the polls: not every account
#: reads them.
_STREAMS: Final[Mapping[str, str]] = {"invoice": "invoices", "creditnote": "credit_notes"}
_FORM: Final = "application/x-www-form-urlencoded"


def _is_form(received: Delivery) -> bool:
    return received.header("content-type").partition(";")[0].strip().lower() == _FORM


def signed(received: Delivery) -> bytes | None:
    """The signed bytes: names and values of query and form by name, then the body that is no form.

    There is nothing between them.
    """
    pairs = parse_qsl(received.query, keep_blank_values=True)
    body = received.body
    if _is_form(received):
        try:
            pairs, body = [*pairs, *form(body)], b""
        except BadBody:
            return None
    return "".join(name + value for name, value in sorted(pairs)).encode() + body


def _read(received: Delivery) -> list[Event]:
    """One event: of the record in the body, or of the id in it.

    A body of one's own, for a rule about deletions, says `"event": "deleted"` beside the id.
    """
    body: Any = dict(form(received.body)) if _is_form(received) else opened(received.body)
    if not isinstance(body, dict):
        raise BadBody("it is not an object")
    for name, stream in _STREAMS.items():
        record = body[name] if isinstance(body.get(name), dict) else body
        document_id = optional_word(record, f"/{name}_id")
        if document_id is not None:
            is_gone = optional_word(body, "/event") == "deleted"
            what, changed_at = "deleted" if is_gone else "changed", "/last_modified_time"
            stamp = optional_word(record, changed_at) or ""
            return [
                Event(
                    f"{name}/{document_id}/{what}/{stamp}",
                    f"{name}.{what}",
                    "deleted" if is_gone else "changed",
                    stream,
                    (document_id,),
                    None,
                    moment(record, changed_at),
                )
            ]
    # A rule of another module, or a payment.
    return [Event("other", "other", "ignored")]


#: The secret is a token that the merchant chooses. A delivery has no time, so an old one may come
#: again: the document is asked for, and nothing changes.
WEBHOOK: Final = Webhook(
    "zoho_books",
    plain_hmac("x-zoho-webhook-signature", "hex", content=signed),
    _read,
    kept_headers=("content-type",),
)
