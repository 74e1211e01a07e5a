"""Xero's webhooks: ids only.

Voids and deletions are updates, and supplier bills come as invoices too.
"""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from simulator.deliveries import Change, Delivery, Sender, What, batches, json_body, plain_signature
from simulator.model import Document
from simulator.systems.xero.system import SYSTEM

_CATEGORIES: Final = {
    "Invoice": "INVOICE",
    "Bill": "INVOICE",
    "CreditNote": "CREDITNOTE",
    "SupplierCredit": "CREDITNOTE",
}
_HEADER: Final = "x-xero-signature"


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """Several changes in one delivery, with the numbers of its events."""
    made = []
    told = [change for change in changed if change[0].entity in _CATEGORIES]
    for batch in batches(told):
        numbers = [next(sender.numbers) for _ in batch]
        body = {
            "events": [_event(*change) for change in batch],
            "firstEventSequence": numbers[0],
            "lastEventSequence": numbers[-1],
            "entropy": _entropy(sender),
        }
        made.append(_delivery(body, sender.secret))
    return made


def intent(sender: Sender) -> list[tuple[Delivery, int]]:
    """What is sent while an address is introduced, and the status it wants for each.

    Some are signed wrongly.
    """
    made = []
    for good in (True, False, True, False):
        body = {
            "events": [],
            "firstEventSequence": 0,
            "lastEventSequence": 0,
            "entropy": _entropy(sender),
        }
        delivery = _delivery(body, sender.secret if good else "another key")
        made.append((delivery, 200 if good else 401))
    return made


def _event(document: Document, what: What) -> dict[str, Any]:
    category = _CATEGORIES[document.entity]
    moment = document.updated_at.astimezone(UTC)
    return {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/{category.title()}s/{document.id}",
        "resourceId": document.id,
        "eventDateUtc": moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        "eventType": "CREATE" if what == "created" else "UPDATE",
        "eventCategory": category,
        "tenantId": SYSTEM.account,
        "tenantType": "ORGANISATION",
    }


def _entropy(sender: Sender) -> str:
    return f"{sender.random.getrandbits(80):020X}"


def _delivery(body: object, secret: str) -> Delivery:
    return Delivery("xero", json_body(body), "application/json", plain_signature(_HEADER, secret))
