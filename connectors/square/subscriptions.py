"""Square's webhook subscriptions, made and kept by its API: one for all locations.

They belong to the application, so that no token of a consent may touch them. The signature key is
shown with each.

https://developer.squareup.com/docs/webhooks/webhook-subscriptions-api
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from pydantic import SecretStr

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import MADE_BY, Subscription, Subscriptions, Wanted
from connectors.square.connector import VERSION

_PATH: Final = "/v2/webhooks/subscriptions"
_EVENTS: Final = ("order.created", "order.updated", "payment.updated", "refund.updated")


def _wanted(_account: Account) -> Sequence[tuple[str, ...]]:
    return (_EVENTS,)


def _first(_account: Account) -> PageRequest:
    return PageRequest("GET", _PATH, {"include_disabled": "true", "limit": "100"})


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    cursor = body.get("cursor")
    return request.turn(cursor=str(cursor)) if cursor else None


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    secret = entry.get("signature_key")
    return Subscription(
        str(entry["id"]),
        str(entry["notification_url"]),
        frozenset(map(str, entry.get("event_types") or ())),
        "active" if entry.get("enabled") else "off",
        secret=SecretStr(str(secret)) if secret else None,
        marked=entry.get("name") == MADE_BY,
    )


def _make(_account: Account, wanted: Wanted) -> PageRequest:
    subscription = {
        "name": MADE_BY,
        "notification_url": wanted.url,
        "event_types": wanted.topics,
        "api_version": VERSION,
    }
    body = {"idempotency_key": str(uuid4()), "subscription": subscription}
    return PageRequest("POST", _PATH, body=json.dumps(body))


def _change(_account: Account, entry: Subscription, wanted: Wanted) -> PageRequest:
    body = {"subscription": {"enabled": True, "event_types": wanted.topics}}
    return PageRequest("PUT", _one(entry), body=json.dumps(body))


def _one(entry: Subscription) -> str:
    return f"{_PATH}/{quote(entry.id, safe='')}"


def _by_hand(account: Account) -> str:
    if account.options.get("login") == "access_token":
        return ""
    return (
        "Square lets no consent manage subscriptions: they belong to the application. Whoever "
        "owns it makes one in the Developer Console (docs/webhooks.md)."
    )


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=_first,
    # The list is left out where it is empty.
    read=lambda body: map(_subscription, body.get("subscriptions") or ()),
    following=_following,
    make=_make,
    made=lambda body: _subscription(body["subscription"]),
    change=_change,
    remove=lambda _, entry: PageRequest("DELETE", _one(entry)),
    signed_with="shown",
    permission=(
        "Square manages webhook subscriptions for the application's own access token alone "
        "(Developer Console, your app, Credentials, Production)."
    ),
    by_hand=_by_hand,
    serves_all=True,
)
