"""Business Central's webhooks: ids only, unsigned, with the subscription's `clientState`.

An address is introduced, and each renewal confirmed, by a call with a `validationToken`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from simulator.deliveries import Change, Delivery, Sender, What, json_body
from simulator.model import Document
from simulator.systems.business_central.api import COMPANY
from simulator.systems.business_central.render import derived_id, moment

_RESOURCES: Final = {"Invoice": "salesInvoices", "CreditMemo": "salesCreditMemos"}
#: More changes of one subscription than that, and only the list is named.
COLLECTION_OVER: Final = 1_000
_LIFE: Final = timedelta(days=3)


def deliveries(sender: Sender, changed: Sequence[Change]) -> list[Delivery]:
    """All subscriptions of one address in one delivery, thirty seconds after the first change."""
    notices: list[dict[str, Any]] = []
    for entity, resource in _RESOURCES.items():
        if sender.topics and resource not in sender.topics:
            continue
        of_list = [change for change in changed if change[0].entity == entity]
        if len(of_list) > COLLECTION_OVER:
            notices.append(_collection(sender, resource, of_list))
        else:
            notices += [_notice(sender, resource, *change) for change in of_list]
    return [_delivery(sender, {"value": notices})] if notices else []


def validation(token: str) -> str:
    """The query with which an address is called before a subscription is made or renewed."""
    return f"validationToken={token}"


def _notice(sender: Sender, resource: str, document: Document, what: What) -> dict[str, Any]:
    change = what if what in ("created", "deleted") else "updated"
    # With and without the leading slash, as in the vendor's own example.
    slash = "/" if int(document.id[:1], 16) % 2 else ""
    return _entry(sender, resource, f"{slash}{_address(resource)}({document.id})", change, document)


def _collection(sender: Sender, resource: str, changed: Sequence[Change]) -> dict[str, Any]:
    first = min(document.updated_at for document, _ in changed)
    since = moment(first - timedelta(seconds=1))
    address = f"/{_address(resource)}?$filter=lastModifiedDateTime%20gt%20{since}"
    return _entry(sender, resource, address, "collection", changed[-1][0])


def _address(resource: str) -> str:
    return f"api/v2.0/companies({COMPANY})/{resource}"


def _entry(
    sender: Sender, resource: str, address: str, change: str, document: Document
) -> dict[str, Any]:
    return {
        "subscriptionId": derived_id(str(sender.seed), resource).replace("-", ""),
        "clientState": sender.secret,
        "expirationDateTime": moment(document.updated_at + _LIFE),
        "resource": address,
        "changeType": change,
        "lastModifiedDateTime": moment(document.updated_at),
    }


def _delivery(sender: Sender, body: object) -> Delivery:
    request_id = derived_id(str(sender.seed), str(next(sender.numbers)))
    headers = {"clientRequestId": request_id, "x-ms-correlation-id": request_id}
    return Delivery("business_central", json_body(body), "application/json", lambda *_: headers)
