"""Stripe's webhooks: one event a delivery, signed with its time."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body
from simulator.systems.stripe.api import event_json
from simulator.systems.stripe.books import Entry, StripeBooks


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """The events about each document: all of a new one, else those of its latest change."""
    books = sender.books
    assert isinstance(books, StripeBooks)
    sign = signature(sender.secret)
    sent: list[Entry] = []
    for document, what in changed:
        entries = [entry for entry in books.journal if entry.document.id == document.id]
        if what != "created":
            entries = [entry for entry in entries if entry.at >= document.updated_at]
        sent += [entry for entry in entries if entry not in sent]
    return [
        Delivery(
            "stripe", json_body(event_json(entry, books)), "application/json", sign, entry.type
        )
        for entry in sent
    ]


def signature(secret: str) -> Sign:
    """`t=...,v1=...`: the time, a dot and the body, with the whole text of the secret as key."""

    def sign(body: bytes, now: datetime) -> dict[str, str]:
        stamp = str(int(now.timestamp()))
        signed = f"{stamp}.".encode() + body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        return {"stripe-signature": f"t={stamp},v1={digest}"}

    return sign
