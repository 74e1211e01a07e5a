"""PayPal's webhooks of an application, made and kept by its API: one for all events.

What a delivery is verified with is the webhook's id, which every list shows. Where transactions are
read no event is of use, so nothing is subscribed.

https://developer.paypal.com/docs/api/webhooks/v1/
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import Subscription, Subscriptions, Wanted
from connectors.paypal.connector import reads_invoices

_PATH: Final = "/v1/notifications/webhooks"
_JSON: Final = {"content-type": "application/json"}
_EVENTS: Final = tuple(
    f"INVOICING.INVOICE.{name}" for name in ("CANCELLED", "CREATED", "PAID", "REFUNDED", "UPDATED")
)


def _wanted(account: Account) -> Sequence[tuple[str, ...]]:
    return (_EVENTS,) if reads_invoices(account) else ()


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    names = frozenset(str(event["name"]) for event in entry["event_types"])
    return Subscription(
        str(entry["id"]), str(entry["url"]), names, secret=SecretStr(str(entry["id"]))
    )


def _make(_account: Account, wanted: Wanted) -> PageRequest:
    body = {"url": wanted.url, "event_types": _named(wanted)}
    return PageRequest("POST", _PATH, body=json.dumps(body), headers=_JSON)


def _change(_account: Account, entry: Subscription, wanted: Wanted) -> PageRequest:
    patch = [{"op": "replace", "path": "/event_types", "value": _named(wanted)}]
    return PageRequest("PATCH", _one(entry), body=json.dumps(patch), headers=_JSON)


def _named(wanted: Wanted) -> list[dict[str, str]]:
    return [{"name": topic} for topic in wanted.topics]


def _one(entry: Subscription) -> str:
    return f"{_PATH}/{quote(entry.id, safe='')}"


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=lambda _: PageRequest("GET", _PATH),
    read=lambda body: map(_subscription, body["webhooks"]),
    make=_make,
    made=_subscription,
    change=_change,
    remove=lambda _, entry: PageRequest("DELETE", _one(entry)),
    signed_with="shown",
    permission=(
        "For webhook subscriptions the application must be allowed to manage webhooks (scope "
        ".../services/applications/webhooks), which may need a new token; PayPal allows ten "
        "webhooks for an application."
    ),
)
