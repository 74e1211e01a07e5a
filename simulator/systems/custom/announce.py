"""A custom system's webhooks: Standard Webhooks, with the whole document or its id only."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body, mac, zulu
from simulator.systems.custom.api import document_json

#: A new sale is told by two names.
_NAMES: Final = {
    "created": ("invoice.created", "sale.completed"),
    "deleted": ("invoice.deleted",),
}


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each name of what happened; a paid document is told by one name more."""
    made = []
    for document, what in changed:
        names = [*_NAMES.get(what, ("invoice.updated",))]
        if document.settled:
            names.append("payment.received")
        data = document_json(document) if sender.full else {"id": document.id}
        for name in names:
            body = {"type": name, "timestamp": zulu(document.updated_at), "data": data}
            message_id = f"msg_{sender.seed}_{next(sender.numbers)}"
            sign = standard_signature(message_id, sender.secret)
            made.append(Delivery("custom", json_body(body), "application/json", sign))
    return made


def standard_signature(message_id: str, secret: str) -> Sign:
    """Standard Webhooks: id, time and body are signed.

    The id stays the same with every attempt, the time does not.
    """
    text = secret.removeprefix("whsec_")
    key = base64.b64decode(text + "=" * (-len(text) % 4))

    def sign(body: bytes, now: datetime) -> dict[str, str]:
        stamp = str(int(now.timestamp()))
        signature = mac(key, f"{message_id}.{stamp}.".encode() + body)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }

    return sign
