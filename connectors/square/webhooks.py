"""Square's webhooks: `x-square-hmacsha256-signature`, over the registered address and the body.

Events of orders hold ids only; those of payments, refunds and invoices name their order. So every
event asks for an order. It may sell and take back, so both lists are asked.

https://developer.squareup.com/docs/webhooks/step3validate
"""

from typing import Any, Final

from connectors.kit.mapping.pointers import dig
from connectors.kit.webhooks.bodies import BadBody, moment, opened, optional_word, word
from connectors.kit.webhooks.scheme import Event, Webhook
from connectors.kit.webhooks.signatures import Delivery, plain_hmac, url_and_body
from connectors.square.subscriptions import SUBSCRIPTIONS

#: The kinds of objects that name their order, by their keys in an event.
_WITH_ORDER: Final = (
    *("order_created", "order_updated", "order_fulfillment_updated"),
    *("payment", "refund", "invoice"),
)
_STREAMS: Final = ("orders", "returns")


def _read(received: Delivery) -> list[Event]:
    body = opened(received.body)
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise BadBody("it is not an object with data")
    event_id, name = word(body, "/event_id"), word(body, "/type")
    occurred_at = moment(body, "/created_at")
    inner = _object(body)
    order_id = optional_word(inner, "/order_id") if inner else None
    location = (optional_word(inner, "/location_id") if inner else None) or optional_word(
        body, "/location_id"
    )
    if order_id is None:
        return [Event(event_id, name, "ignored", occurred_at=occurred_at, account=location)]
    return [
        Event(
            f"{event_id}/{stream}", name, "changed", stream, (order_id,), None, occurred_at,
            location,
        )
        for stream in _STREAMS
    ]  # fmt: skip


def _object(body: dict[str, Any]) -> dict[str, Any] | None:
    """What the event is about, where that has an order; a deleted draft is not sent."""
    held = dig(body, ("data", "object"))
    if not isinstance(held, dict):
        return None
    named = [held[name] for name in _WITH_ORDER if isinstance(held.get(name), dict)]
    return named[0] if named else None


#: The signature key of the subscription, as text. The signed address is the registered one, to the
#: letter. Square waits ten seconds, by an older page of its documentation.
WEBHOOK: Final = Webhook(
    "square",
    plain_hmac("x-square-hmacsha256-signature", content=url_and_body),
    _read,
    answer_seconds=10,
    subscriptions=SUBSCRIPTIONS,
)
