"""Zoho Books' webhooks: workflow rules "created or edited" that send the whole record as JSON.

Deleted documents are announced by nothing.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from simulator.deliveries import Change, Delivery, Sender, Sign, json_body
from simulator.model import LUANDA, Document
from simulator.systems.zoho_books import render

_HEADER: Final = "X-Zoho-Webhook-Signature"
_WRITERS: Final = {
    "Invoice": ("invoice", render.invoice_json),
    "CreditMemo": ("creditnote", render.credit_json),
}


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One delivery per change."""
    return [
        _delivery(_body(document), sender.secret)
        for document, what in changed
        if document.entity in _WRITERS and what != "deleted"
    ]


def _body(document: Document) -> dict[str, Any]:
    name, write = _WRITERS[document.entity]
    return {name: write(document, document.updated_at.astimezone(LUANDA).date(), whole=True)}


def _signature(secret: str) -> Sign:
    """Of the query, which is empty here, and the JSON behind it."""

    def sign(body: bytes, _now: object) -> dict[str, str]:
        return {_HEADER: hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}

    return sign


def _delivery(body: object, secret: str) -> Delivery:
    return Delivery("zoho_books", json_body(body), "application/json", _signature(secret))
