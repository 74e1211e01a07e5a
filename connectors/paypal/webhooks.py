"""PayPal's webhooks: signed with a certificate, over ids, a time and the body's CRC-32.

A CRC-32 is no proof: whoever has seen a delivery can write another body that fits it. So nothing in
a body is believed but the id of an invoice, which is read from PayPal. Retries come for three days
with the time of the first attempt, so no age is too old; reading an invoice again changes nothing.

Transactions are shown hours later, also by their ids. Where they are read, no event is of use.

https://developer.paypal.com/api/rest/webhooks/rest/
"""

import zlib
from typing import Final

from connectors.kit.spec import Account
from connectors.kit.webhooks.bodies import BadBody, moment, opened, word
from connectors.kit.webhooks.certificates import CertificateSource, signed_by_certificate
from connectors.kit.webhooks.scheme import Event, Webhook
from connectors.kit.webhooks.signatures import Delivery
from connectors.paypal.connector import reads_invoices
from connectors.paypal.subscriptions import SUBSCRIPTIONS

_INVOICES: Final = "INVOICING.INVOICE."
_CERTIFICATES: Final = CertificateSource(
    "paypal-cert-url",
    hosts=(
        *("api.paypal.com", "api-m.paypal.com"),
        *("api.sandbox.paypal.com", "api-m.sandbox.paypal.com"),
    ),
    path="/v1/notifications/certs/",
    issued_to=".paypal.com",
)


def _signed(webhook_id: str, received: Delivery) -> bytes | None:
    """What is signed; the id of the webhook is known to PayPal and to us, and not in a delivery."""
    transmission_id = received.header("paypal-transmission-id")
    time = received.header("paypal-transmission-time")
    if not transmission_id or not time:
        return None
    parts = (transmission_id, time, webhook_id, str(zlib.crc32(received.body)))
    return "|".join(parts).encode()


def _ignored(received: Delivery) -> list[Event]:
    return [_event(received, reads=False)]


def _read(received: Delivery) -> list[Event]:
    return [_event(received, reads=True)]


def _event(received: Delivery, *, reads: bool) -> Event:
    body = opened(received.body)
    if not isinstance(body, dict):
        raise BadBody("it is not an object")
    event_id, name = word(body, "/id"), word(body, "/event_type")
    occurred_at = moment(body, "/create_time")
    if not reads or not name.startswith(_INVOICES):
        return Event(event_id, name, "ignored", occurred_at=occurred_at)
    invoice_id = word(body, "/resource/invoice/id")
    return Event(event_id, name, "changed", "invoices", (invoice_id,), occurred_at=occurred_at)


_SCHEME: Final = signed_by_certificate(
    _CERTIFICATES,
    header="paypal-transmission-sig",
    content=_signed,
    algorithm=("paypal-auth-algo", "SHA256withRSA"),
    id_header="paypal-transmission-id",
)
#: Of accounts whose transactions are read. The secret is the id of the webhook.
WEBHOOK: Final = Webhook("paypal", _SCHEME, _ignored, subscriptions=SUBSCRIPTIONS)
_OF_INVOICES: Final = Webhook("paypal", _SCHEME, _read, subscriptions=SUBSCRIPTIONS)


def webhook_from(account: Account) -> Webhook:
    """How the account's webhooks are read: they are of use where its invoices are read."""
    return _OF_INVOICES if reads_invoices(account) else WEBHOOK
