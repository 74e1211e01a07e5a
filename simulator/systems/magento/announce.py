"""Adobe I/O Events: a CloudEvent for each change of an order, signed with Adobe's key."""

import base64
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from simulator.deliveries import Change, Delivery, Sender, json_body, zulu
from simulator.model import CLIENT_ID

_OBSERVED: Final = {
    "Invoice": "observer.sales_order_save_after",
    "CreditMemo": "observer.sales_order_creditmemo_save_after",
}


@cache
def _keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Adobe signs with two keys; either signature is enough."""
    first, second = (rsa.generate_private_key(65_537, 2048) for _ in range(2))
    return first, second


def public_keys() -> str:
    """Both public keys, one behind the other."""
    return "".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in _keys()
    )


def secret() -> str:
    """What an operator enters: the client id of the registration, and Adobe's keys."""
    return f"{CLIENT_ID}\n{public_keys()}"


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """One for each change."""
    events = []
    for document, _ in changed:
        number = next(sender.numbers)
        order = document.source or document
        value: dict[str, Any] = {"entity_id": document.id}
        if document.source is not None:
            value["order_id"] = order.id
        event_id = f"event-{sender.seed}-{number}"
        body = {
            "specversion": "1.0",
            "type": f"com.adobe.commerce.{_OBSERVED[document.entity]}",
            "source": "urn:uuid:7b0e1c1c-6c4f-4b5f-9c55-3c7f0a6a5d10",
            "id": event_id,
            "time": zulu(document.updated_at),
            "datacontenttype": "application/json",
            "eventid": event_id,
            "event_id": event_id,
            "recipientclientid": CLIENT_ID,
            "recipient_client_id": CLIENT_ID,
            "data": {
                "key": event_id,
                "value": value,
                "source": "urn:uuid:7b0e1c1c-6c4f-4b5f-9c55-3c7f0a6a5d10",
                "_metadata": {"commerceEdition": "Adobe Commerce", "storeId": "1"},
            },
        }
        events.append(Delivery("magento", json_body(body), "application/json", _signed))
    return events


def _signed(body: bytes, _now: datetime) -> dict[str, str]:
    headers = {}
    for number, key in enumerate(_keys(), start=1):
        signature = base64.b64encode(key.sign(body, padding.PKCS1v15(), SHA256())).decode()
        headers[f"x-adobe-digital-signature-{number}"] = signature
        headers[f"x-adobe-public-key{number}-path"] = f"/prod/keys/pub-key-sim{number}.pem"
    return headers
