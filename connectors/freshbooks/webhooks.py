"""FreshBooks webhooks: a form with ids, signed over its fields as JSON.

Each address is introduced by a handshake.

https://www.freshbooks.com/api/webhooks
"""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from pydantic import SecretStr

from connectors.freshbooks.subscriptions import SUBSCRIPTIONS
from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.bodies import BadBody, form, word
from connectors.kit.webhooks.scheme import Event, EventKind, Handshake, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac

_STREAMS: Final[Mapping[str, str]] = {"invoice": "invoices", "credit_note": "credit_notes"}
_VERIFY: Final = "callback.verify"


def _signed(received: Delivery) -> bytes | None:
    """The signed bytes: not the body, but its fields as Python's `json.dumps` writes them.

    The fields keep their order, and all values are text.
    """
    try:
        return json.dumps(dict(form(received.body))).encode()
    except BadBody:
        return None


def _read(received: Delivery) -> list[Event]:
    fields = dict(form(received.body))
    name, key, account = (
        word(fields, pointer) for pointer in ("/name", "/object_id", "/account_id")
    )
    entity, _, action = name.partition(".")
    stream = _STREAMS.get(entity)
    # A deleted document can still be asked for by its id, and then says that it is deleted.
    kind: EventKind = "ignored" if stream is None or action == "sendByEmail" else "changed"
    # The form has neither an event id nor a time, so the same words may mean another change.
    return [Event(f"{account}/{name}/{key}", name, kind, stream, (key,), None, None, account)]


def _greet(received: Delivery) -> Handshake | None:
    fields = dict(form(received.body))
    if fields.get("name") != _VERIFY:
        return None
    return Handshake(
        callback=word(fields, "/object_id", longest=40),
        verifier=SecretStr(word(fields, "/verifier")),
    )


def _confirm(account: Account, hello: Handshake) -> PageRequest:
    path = f"/events/account/{account.account}/events/callbacks/{quote(hello.callback, safe='')}"
    code = hello.verifier.get_secret_value() if hello.verifier else ""
    body = json.dumps({"callback": {"callback_id": hello.callback, "verifier": code}})
    return PageRequest("PUT", path, body=body, headers={"content-type": "application/json"})


#: The secret is the code of the handshake, one per callback.
WEBHOOK: Final = Webhook(
    "freshbooks",
    plain_hmac("x-freshbooks-hmac-sha256", content=_signed),
    _read,
    greet=_greet,
    confirm=_confirm,
    answer_seconds=10,
    subscriptions=SUBSCRIPTIONS,
)
