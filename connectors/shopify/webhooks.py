"""Shopify's webhooks: signed with the app's client secret; the order is read again by its id.

https://shopify.dev/docs/apps/build/webhooks

A delivery holds the order in the spelling of the old API, and may be hours old: it is sent again
for four hours, unchanged and in any order. So only its id is taken, and the order is read as it is
now. What polling reads and what a webhook leads to is then the same.
"""

from collections.abc import Mapping
from typing import Final

from connectors.kit.webhooks.bodies import BadBody, moment, opened, word
from connectors.kit.webhooks.scheme import Event, EventKind, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac
from connectors.shopify.subscriptions import SUBSCRIPTIONS

_TOPIC: Final = "x-shopify-topic"
_SHOP: Final = "x-shopify-shop-domain"
_EVENT: Final = "x-shopify-event-id"
_DELIVERY: Final = "x-shopify-webhook-id"
_SUFFIX: Final = ".myshopify.com"
_DELETED: Final = "orders/delete"
#: Where the bodies of the topics that are about a sale name their order.
_ORDER: Final[Mapping[str, str]] = {
    "orders/create": "/id",
    "orders/updated": "/id",
    "orders/paid": "/id",
    "orders/cancelled": "/id",
    "orders/fulfilled": "/id",
    "orders/partially_fulfilled": "/id",
    "orders/edited": "/order_edit/order_id",
    _DELETED: "/id",
    "refunds/create": "/order_id",
    "order_transactions/create": "/order_id",
}


def _read(received: Delivery) -> list[Event]:
    topic = received.header(_TOPIC).strip().lower()
    if not topic or len(topic) > 100 or not topic.isprintable():
        raise BadBody("the header that names the topic is missing, or is no topic")
    shop = received.header(_SHOP).strip().lower().removesuffix(_SUFFIX) or None
    event_id = received.header(_EVENT).strip() or received.header(_DELIVERY).strip()
    body = opened(received.body)
    place = _ORDER.get(topic)
    if place is None:  # customers, products, and what an app must answer for privacy
        return [Event(f"{event_id}/{topic}", topic, "ignored", account=shop)]
    order = word(body, place)
    if not order.isdigit():
        raise BadBody(f"{place} is no id of an order")
    occurred_at = moment(body, "/updated_at") or moment(body, "/created_at")
    kind: EventKind = "deleted" if topic == _DELETED else "changed"
    # One action can be told under several topics, with the same id of the event.
    key = f"{event_id}/{topic}/{order}"
    return [Event(key, topic, kind, "orders", (order,), None, occurred_at, shop)]


#: The secret is the app's client secret. Nothing but the body is signed: a copy sent again only has
#: the order read again.
WEBHOOK: Final = Webhook(
    "shopify",
    plain_hmac("x-shopify-hmac-sha256", id_header=_DELIVERY),
    _read,
    answer_seconds=5,
    kept_headers=(_TOPIC, _SHOP, _EVENT, _DELIVERY),
    subscriptions=SUBSCRIPTIONS,
)
