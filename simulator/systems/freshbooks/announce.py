"""FreshBooks' webhooks: a form for each change, signed over its fields."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlencode

from simulator.deliveries import Change, Delivery, Sender, Sign, mac
from simulator.systems.freshbooks.system import SYSTEM

_NAMES: Final = {"Invoice": "invoice", "CreditNote": "credit_note"}
_VERBS: Final = {
    "created": "create",
    "updated": "update",
    "deleted": "delete",
    "voided": "delete",
}
_FORM: Final = "application/x-www-form-urlencoded"


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each change."""
    made = []
    for document, what in changed:
        if document.entity not in _NAMES:
            continue
        form = {
            "name": f"{_NAMES[document.entity]}.{_VERBS[what]}",
            "object_id": document.id,
            "account_id": SYSTEM.account,
            "business_id": "6543",
            "identity_id": "1234",
            "user_id": "1",
        }
        sign = _over_fields(sender.secret)
        body = urlencode(form).encode()
        made.append(Delivery("freshbooks", body, _FORM, sign, form["name"]))
    return made


def verification(callback: str, code: str) -> Delivery:
    """What is sent to introduce an address.

    Whether it is signed is not documented, so it is not.
    """
    form = {"name": "callback.verify", "object_id": callback, "verifier": code}
    return Delivery("freshbooks", urlencode(form).encode(), _FORM, lambda _body, _now: {})


def _over_fields(verifier: str) -> Sign:
    """Over the form's fields as Python's json.dumps writes them, in their order."""

    def sign(body: bytes, _now: datetime) -> dict[str, str]:
        fields = ", ".join(
            f"{_quoted(name)}: {_quoted(value)}"
            for name, value in parse_qsl(body.decode(), keep_blank_values=True)
        )
        return {"X-FreshBooks-Hmac-SHA256": mac(verifier.encode(), f"{{{fields}}}".encode())}

    return sign


def _quoted(value: str) -> str:
    """ASCII only, as json.dumps does by default."""
    return (
        '"'
        + "".join(
            char if 32 <= ord(char) < 127 and char not in '"\\' else f"\\u{ord(char):04x}"
            for char in value
        )
        + '"'
    )
