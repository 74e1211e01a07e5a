"""WooCommerce's webhooks, made and kept by the shop's own API: one for each topic.

The secret is ours to give, and is not shown again. After five failures in a row the shop switches a
webhook off; a person may pause one.

https://woocommerce.github.io/woocommerce-rest-api-docs/#webhooks
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.subscriptions import MADE_BY, Subscription, Subscriptions, Wanted

_PATH: Final = "/wp-json/wc/v3/webhooks"
_TOPICS: Final = ("order.created", "order.updated", "order.deleted")
_JSON: Final = {"content-type": "application/json"}
_PAGE_SIZE: Final = 100
#: `disabled` is what the shop does after failures, `paused` what a person does.
_STATES: Final[Mapping[str, Literal["active", "off", "paused"]]] = {
    "active": "active",
    "disabled": "off",
    "paused": "paused",
}


def _wanted(_account: Account) -> Sequence[tuple[str, ...]]:
    return tuple((topic,) for topic in _TOPICS)


def _first(_account: Account) -> PageRequest:
    return PageRequest("GET", _PATH, {"per_page": str(_PAGE_SIZE), "page": "1"})


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    if len(body) < _PAGE_SIZE:
        return None
    return request.turn(page=str(int(request.param("page")) + 1))


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    return Subscription(
        str(entry["id"]),
        str(entry["delivery_url"]),
        frozenset({str(entry["topic"])}),
        _STATES[str(entry["status"])],
        marked=str(entry.get("name", "")).startswith(MADE_BY),
    )


def _fields(wanted: Wanted) -> dict[str, str]:
    return {
        "name": f"{MADE_BY} {wanted.topics[0]}",
        "topic": wanted.topics[0],
        "delivery_url": wanted.url,
        "secret": wanted.secret.get_secret_value(),
        "status": "active",
    }


def _make(_account: Account, wanted: Wanted) -> PageRequest:
    return PageRequest("POST", _PATH, body=json.dumps(_fields(wanted)), headers=_JSON)


def _change(_account: Account, entry: Subscription, wanted: Wanted) -> PageRequest:
    return PageRequest("PUT", _one(entry), body=json.dumps(_fields(wanted)), headers=_JSON)


def _remove(_account: Account, entry: Subscription) -> PageRequest:
    """For good: webhooks have no bin."""
    return PageRequest("DELETE", _one(entry), {"force": "true"})


def _one(entry: Subscription) -> str:
    return f"{_PATH}/{quote(entry.id, safe='')}"


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=_first,
    read=lambda body: map(_subscription, body),
    following=_following,
    make=_make,
    made=_subscription,
    change=_change,
    remove=_remove,
    signed_with="ours",
    permission=(
        "For webhook subscriptions the key needs the permission *Read/Write* (WooCommerce, "
        "Settings, Advanced, REST API), and its user must be a shop manager."
    ),
)
