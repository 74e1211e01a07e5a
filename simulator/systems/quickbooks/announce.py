"""QuickBooks' webhooks: up to a hundred changes in one delivery."""

from collections.abc import Sequence
from typing import Any, Final

from simulator.deliveries import (
    Change,
    Delivery,
    Sender,
    What,
    batches,
    json_body,
    plain_signature,
    zulu,
)
from simulator.model import Document
from simulator.systems.quickbooks.system import SYSTEM

_ENTITIES: Final = ("Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt")
_VERBS: Final = {
    "created": "Create",
    "updated": "Update",
    "deleted": "Delete",
    "voided": "Void",
}


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """In the form used since 2026 (CloudEvents), or in the one before."""
    sign = plain_signature("intuit-signature", sender.secret)
    told = [change for change in changed if change[0].entity in _ENTITIES]
    if sender.cloud_events:
        bodies: list[Any] = [
            [_cloud_event(sender, *change) for change in batch] for batch in batches(told)
        ]
        kind = "application/cloudevents-batch+json"
    else:
        bodies = [{"eventNotifications": [_notification(batch)]} for batch in batches(told)]
        kind = "application/json"
    return [Delivery("quickbooks", json_body(body), kind, sign) for body in bodies]


def _notification(batch: Sequence[Change]) -> dict[str, Any]:
    entities = [
        {
            "name": document.entity,
            "id": document.id,
            "operation": _VERBS[what],
            "lastUpdated": zulu(document.updated_at),
        }
        for document, what in batch
    ]
    return {"realmId": SYSTEM.account, "dataChangeEvent": {"entities": entities}}


def _cloud_event(sender: Sender, document: Document, what: What) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{sender.random.getrandbits(64):016x}",
        "source": "intuit.c2ltdWxhdG9y",
        "type": f"qbo.{document.entity.lower()}.{what}.v1",
        "datacontenttype": "application/json",
        "time": zulu(document.updated_at),
        "intuitentityid": document.id,
        "intuitaccountid": SYSTEM.account,
        "data": {},
    }
