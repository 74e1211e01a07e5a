"""A test event for the webhooks of a described system: signed as its block says, about nothing.

It goes the way of a real one, over HTTP; its name is not that of a sale, so nothing comes of it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import httpx

from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.mapping.pointers import segments
from connectors.kit.webhooks.signatures import delivery

#: Name of the event; the first word is no kind of document.
NAME: Final = "twezah.test"
_TIMEOUT_SECONDS: Final = 20


def send(url: str, options: Mapping[str, Any], secret: str, now: datetime) -> int:
    """Sends a test event to an address; the answer's status.

    Args:
        url: The webhook address.
        options: What is said of the address and its block (`WebhookSettings`).
        secret: The secret in force.
        now: The time to sign.

    Raises:
        ConnectionError: The address could not be reached.
        connectors.kit.webhooks.signatures.Unusable: The secret is of no use for the scheme.
    """
    settings = WebhookSettings(**options)
    message_id = f"test_{uuid4().hex}"
    body = json.dumps(_body(settings, now, message_id)).encode()
    headers = {
        "content-type": "application/json",
        **signed(settings, secret, body, now, message_id),
    }
    if settings.webhook_type_header:
        headers[settings.webhook_type_header] = NAME
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=_TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise ConnectionError(type(error).__name__) from None
    return answer.status_code


def _body(settings: WebhookSettings, now: datetime, message_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {"timestamp": now.isoformat(), "test": message_id}
    *above, last = segments(settings.webhook_type_path) or ("type",)
    place = body
    for part in above:
        place = place.setdefault(str(part), {})
    place[str(last)] = NAME
    return body


def signed(
    settings: WebhookSettings, secret: str, body: bytes, now: datetime, message_id: str
) -> dict[str, str]:
    """The headers that prove where a body comes from, by the scheme of the settings."""
    scheme = settings.scheme()
    header = settings.webhook_header or "X-Webhook-Signature"
    stamp = str(int(now.timestamp()))
    if settings.webhook_scheme == "standard webhooks":
        headers = {"webhook-id": message_id, "webhook-timestamp": stamp}
        return headers | {"webhook-signature": f"v1,{_mac(scheme, secret, headers, body)}"}
    if settings.webhook_scheme == "t and v1":
        return {header: f"t={stamp},v1={_mac(scheme, secret, {header: f't={stamp}'}, body)}"}
    headers = {}
    if settings.webhook_timestamp_header:
        headers[settings.webhook_timestamp_header] = stamp
    if settings.webhook_id_header:
        headers[settings.webhook_id_header] = message_id
    return headers | {header: settings.webhook_prefix + _mac(scheme, secret, headers, body)}


def _mac(scheme: Any, secret: str, headers: Mapping[str, str], body: bytes) -> str:
    content = scheme.content(delivery(headers, body, None))
    digest = hmac.digest(scheme.key(secret.strip()), content or b"", hashlib.sha256)
    return digest.hex() if scheme.encoding == "hex" else base64.b64encode(digest).decode()
