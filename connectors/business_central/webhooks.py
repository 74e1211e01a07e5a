"""Business Central's webhooks: ids only, and no signature.

A subscription is introduced by a handshake: the address is called with a `validationToken`, which
the answer repeats. The same comes with each renewal, at the latest every three days. A notice
carries the `clientState` that the subscription was made with, which is the only proof.

https://learn.microsoft.com/dynamics365/business-central/dev-itpro/ (Working with webhooks)
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from connectors.business_central.subscriptions import SUBSCRIPTIONS
from connectors.kit.webhooks.bodies import BadBody, moment, objects, opened, word
from connectors.kit.webhooks.scheme import EVENTS_MAX, Event, EventKind, Handshake, Webhook
from connectors.kit.webhooks.signatures import Delivery, secret_in_clear

_STREAMS: Final[Mapping[str, str]] = {
    "salesinvoices": "invoices",
    "salescreditmemos": "credit_memos",
}
#: `companies(<id>)/salesInvoices(<id>)`; a notice about many documents names the list alone.
_RESOURCE: Final = re.compile(
    r"/companies\((?P<company>[0-9a-f-]{36})\)/(?P<list>\w+)(\((?P<id>[0-9a-f-]{36})\))?(\?.*)?$"
)
_RESOURCE_CHARACTERS_MAX: Final = 2_000
_TOKEN_CHARACTERS_MAX: Final = 4_096


def _notices(received: Delivery) -> list[dict[str, Any]]:
    body = opened(received.body)
    if not isinstance(body, dict):
        raise BadBody("it is not an object")
    return objects(body.get("value"), "/value", at_most=EVENTS_MAX)


def _states(received: Delivery) -> list[str]:
    """The `clientState` of every notice: several subscriptions may share a delivery."""
    try:
        notices = _notices(received)
    except BadBody:
        return []
    states = (notice.get("clientState") for notice in notices)
    return [state if isinstance(state, str) else "" for state in states]


def _read(received: Delivery) -> list[Event]:
    return [_event(notice) for notice in _notices(received)]


def _event(notice: dict[str, Any]) -> Event:
    address, change, subscription, stamp = (
        word(notice, pointer, longest=_RESOURCE_CHARACTERS_MAX)
        for pointer in ("/resource", "/changeType", "/subscriptionId", "/lastModifiedDateTime")
    )
    named = _RESOURCE.search(unquote(address).lower())
    stream = _STREAMS.get(named["list"]) if named else None
    vendor_id = named["id"] if named else None
    # A draft is deleted when it is posted under the same id, so a deletion proves nothing: the list
    # of all ids does. Of many changes at once ("collection") the next poll reads the documents.
    is_read = stream is not None and vendor_id is not None and change in ("created", "updated")
    kind: EventKind = "changed" if is_read else "ignored"
    return Event(
        f"{subscription}/{address.lstrip('/')}/{change}/{stamp}",
        f"{named['list'] if named else 'unknown'}.{change}",
        kind,
        stream,
        (vendor_id,) if vendor_id else (),
        None,
        moment(notice, "/lastModifiedDateTime"),
        named["company"] if named else None,
    )


def _greet(received: Delivery) -> Handshake | None:
    """The answer to a call with a `validationToken`: the token as text, with status 200."""
    if "validationtoken" not in received.query.lower():
        return None
    fields = parse_qs(received.query, max_num_fields=20)
    tokens = [
        token for name in fields if name.lower() == "validationtoken" for token in fields[name]
    ]
    if len(tokens) != 1 or len(tokens[0]) > _TOKEN_CHARACTERS_MAX or not tokens[0].isprintable():
        return None
    return Handshake(body=tokens[0])


#: The secret is the `clientState`, which whoever subscribes makes up. Whatever is answered beside
#: 2xx, 408, 429 and 5xx ends the subscription.
WEBHOOK: Final = Webhook(
    "business_central",
    secret_in_clear(_states),
    _read,
    greet=_greet,
    subscriptions=SUBSCRIPTIONS,
)
