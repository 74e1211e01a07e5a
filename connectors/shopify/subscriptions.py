"""Shopify's webhook subscriptions of an app in a shop, by GraphQL: one for each topic.

An app sees its own alone, and not those of its configuration (`shopify.app.toml`). They are signed
with the app's client secret. After eight failures Shopify takes one away.

https://shopify.dev/docs/api/admin-graphql/latest/mutations/webhookSubscriptionCreate
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from connectors.kit.errors import Misconfigured
from connectors.kit.spec import NO_SECRET, Account, PageRequest
from connectors.kit.webhooks.subscriptions import Subscription, Subscriptions, Wanted
from connectors.shopify.graphql import version_of

_TOPICS: Final = (
    *("ORDERS_CREATE", "ORDERS_UPDATED", "ORDERS_PAID", "ORDERS_CANCELLED", "ORDERS_EDITED"),
    *("ORDERS_DELETE", "REFUNDS_CREATE"),
)
_LIST: Final = (
    "query($first: Int!, $after: String) { webhookSubscriptions(first: $first, after: $after) "
    "{ nodes { id topic uri } pageInfo { hasNextPage endCursor } } }"
)
_MAKE: Final = (
    "mutation($topic: WebhookSubscriptionTopic!, $subscription: WebhookSubscriptionInput!) { "
    "webhookSubscriptionCreate(topic: $topic, webhookSubscription: $subscription) "
    "{ webhookSubscription { id topic uri } userErrors { field } } }"
)
_REMOVE: Final = (
    "mutation($id: ID!) { webhookSubscriptionDelete(id: $id) "
    "{ deletedWebhookSubscriptionId userErrors { field } } }"
)
_PAGE_SIZE: Final = 100


def _asked(account: Account, query: str, **variables: Any) -> PageRequest:
    path = f"/admin/api/{version_of(account)}/graphql.json"
    return PageRequest("POST", path, body=json.dumps({"query": query, "variables": variables}))


def _wanted(_account: Account) -> Sequence[tuple[str, ...]]:
    return tuple((topic,) for topic in _TOPICS)


def _first(account: Account) -> PageRequest:
    return _asked(account, _LIST, first=_PAGE_SIZE, after=None)


def _following(request: PageRequest, body: Any) -> PageRequest | None:
    page = body["data"]["webhookSubscriptions"]["pageInfo"]
    if not page["hasNextPage"]:
        return None
    asked = json.loads(request.body or "{}")
    asked["variables"]["after"] = page["endCursor"]
    return PageRequest(request.method, request.path, body=json.dumps(asked))


def _subscription(entry: Mapping[str, Any]) -> Subscription:
    return Subscription(str(entry["id"]), str(entry["uri"]), frozenset({str(entry["topic"])}))


def _make(account: Account, wanted: Wanted) -> PageRequest:
    subscription = {"uri": wanted.url, "format": "JSON"}
    return _asked(account, _MAKE, topic=wanted.topics[0], subscription=subscription)


def _made(body: Any) -> Subscription:
    """Errors of what was asked for come in an answer without errors (`userErrors`)."""
    payload = body["data"]["webhookSubscriptionCreate"]
    if payload["webhookSubscription"] is None:
        detail = "Shopify does not subscribe the address (userErrors); it must be public and https"
        raise Misconfigured("shopify", "webhook subscription", detail)
    return _subscription(payload["webhookSubscription"])


def _secret(account: Account) -> SecretStr:
    """An app in the shop's admin (`shpat_...`) has one too, which its block holds elsewhere."""
    return account.client_secret if account.options.get("login") != "access_token" else NO_SECRET


SUBSCRIPTIONS: Final = Subscriptions(
    wanted=_wanted,
    first=_first,
    read=lambda body: map(_subscription, body["data"]["webhookSubscriptions"]["nodes"]),
    following=_following,
    make=_make,
    made=_made,
    remove=lambda account, entry: _asked(account, _REMOVE, id=entry.id),
    signed_with="account",
    secret_of=_secret,
    permission=(
        "For webhook subscriptions the app needs the scope read_orders. With an access token, "
        "enter the app's *API secret key* as *Webhook secret* in the block and run "
        "*webhook-address*: the subscriptions are signed with it."
    ),
)
