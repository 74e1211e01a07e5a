"""WooCommerce webhooks: the whole order, signed with HMAC-SHA256 in base64.

A webhook is introduced by an unsigned form that names it, and nothing more.

https://woocommerce.github.io/woocommerce-rest-api-docs/#webhooks
"""

import hashlib
import re
from typing import Final

from connectors.kit.webhooks.bodies import BadBody, form, moment, opened, word
from connectors.kit.webhooks.scheme import Event, Handshake, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac
from connectors.woocommerce.subscriptions import SUBSCRIPTIONS

_TOPIC: Final = "x-wc-webhook-topic"
_SIGNATURE: Final = "x-wc-webhook-signature"
_STREAM: Final = "orders"
#: What happens to an order; `order.deleted` names its id alone.
_CHANGES: Final = ("order.created", "order.updated", "order.restored")
_DELETED: Final = "order.deleted"


def _read(received: Delivery) -> list[Event]:
    """The event of a delivery.

    Its topic is in a header that is not signed, so a body must be of its topic's form: a whole
    order never deletes one.
    """
    topic = received.header(_TOPIC).strip().lower()
    body = opened(received.body)
    if not isinstance(body, dict):
        raise BadBody("it is not an object")
    if topic not in (*_CHANGES, _DELETED):
        return [Event(_event_id(topic, received.body), topic[:60], "ignored")]
    key = word(body, "/id")
    event_id = _event_id(f"{topic}/{key}", received.body)
    if topic == _DELETED:
        if len(body) > 1:
            raise BadBody("a deletion holds more than the id of the order")
        return [Event(event_id, topic, "deleted", _STREAM, (key,))]
    if "line_items" not in body:
        raise BadBody("/line_items is missing: it is not an order")
    changed_at = moment(body, "/date_modified_gmt")
    return [Event(event_id, topic, "changed", _STREAM, (key,), received.body, changed_at)]


def _event_id(name: str, body: bytes) -> str:
    """Deliveries have no id that stays: the same content is the same event."""
    return f"{name}/{hashlib.sha256(body).hexdigest()[:32]}"


def _greet(received: Delivery) -> Handshake | None:
    """The form `webhook_id=12` without a signature, with which the shop tries an address."""
    if received.header(_SIGNATURE):
        return None
    fields = form(received.body)
    is_ping = [name for name, _ in fields] == ["webhook_id"]
    return Handshake() if is_ping and re.fullmatch(r"\d{1,20}", fields[0][1]) else None


#: The secret is the webhook's own, not the key's. After five failures in a row the shop switches
#: the webhook off, so it is answered at once.
WEBHOOK: Final = Webhook(
    "woocommerce",
    plain_hmac(_SIGNATURE),
    _read,
    greet=_greet,
    answer_seconds=60,
    kept_headers=(_TOPIC,),
    subscriptions=SUBSCRIPTIONS,
)
