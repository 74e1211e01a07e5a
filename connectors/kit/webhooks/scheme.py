"""Webhooks, described per system: how a delivery is signed, what to answer to a handshake, and which documents it is about.

Everything here is pure: raw bytes and headers in, values out. Nothing is parsed before its
signature is right, and a body may be
anything: whatever it holds, the outcome is a value or `BadBody`.

    outcome = verify(declaration, secrets, headers, raw_body, now)
    if isinstance(outcome, Verified):
        store(delivery_key(declaration, headers, raw_body, now), raw_body)
        ...
        for event in events(declaration, raw_body, headers): ...
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import SecretStr

from connectors.kit.spec import Account, PageRequest
from connectors.kit.webhooks.bodies import BadBody
from connectors.kit.webhooks.signatures import (
    Delivery,
    Headers,
    Reason,
    Scheme,
    Unusable,
    delivery,
    matching,
)

__all__ = [
    "BadBody", "Delivery", "Event", "Handshake", "Headers", "Refused", "Scheme", "Verified", "Webhook", "delivery_key", "events",
    "handshake", "unusable", "verify",
]  # fmt: skip

#: Events that one delivery may hold; QuickBooks, the largest known, sends 100.
EVENTS_MAX: Final = 1_000
#: Deliveries without an id of their own count as the same one when the same bytes come again within
#: this time.
_SAME_SECONDS: Final = 10
_STAMP_MAX: Final = 11


@dataclass(frozen=True)
class Event:
    """One thing that happened at the billing system.

    `event_id` tells it from others of the same endpoint: the same event delivered again has the
    same one, where the vendor gives it any. `type` is the vendor's word. `kind`: "changed" (read
    `record`, or ask for `external_ids`), "deleted" (those ids are gone) or "ignored" (`type` is not
    about a sale). `stream` names the connector's list the ids are of. `record` is the whole
    document as received, None where only ids were sent. `account` is whom the vendor says it is
    about; None: whose endpoint it is.
    """

    event_id: str
    type: str
    kind: Literal["changed", "deleted", "ignored"]
    stream: str | None = None
    external_ids: tuple[str, ...] = ()
    record: bytes | None = field(default=None, repr=False)
    occurred_at: datetime | None = None
    account: str | None = None


@dataclass(frozen=True)
class Handshake:
    """A delivery that is not about events: what to answer, and what is still to be done.

    `verifier`: the vendor waits for this code, sent to it by an API call about `callback`; the code
        is the signing secret from then on, but only
    once the vendor has taken it: anyone can send such a delivery.
    """

    status: int = 200
    body: str = ""
    callback: str = ""
    verifier: SecretStr | None = None


@dataclass(frozen=True, eq=False)
class Webhook:
    """How the webhooks of one system work.

    `read` turns a verified delivery into events and raises BadBody. `greet` recognises a handshake,
    `confirm` is the call that tells the vendor its code. `answer_seconds` is how long the
    vendor waits for the answer (0: not known). `refused_status` is what a delivery with a wrong
    signature gets (Xero tests that). `kept_headers` are those that `read` looks at: they are stored
    with the delivery.
    """

    system: str
    scheme: Scheme
    read: Callable[[Delivery], Sequence[Event]]
    greet: Callable[[Delivery], Handshake | None] | None = None
    confirm: Callable[[Account, Handshake], PageRequest] | None = None
    answer_seconds: float = 0
    refused_status: int = 401
    body_bytes_max: int = 2 * 1024 * 1024
    kept_headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """The delivery comes from someone who knows a secret, and is not older than the scheme allows.

    `message_id` is the sender's, the same on every retry, where the scheme has one. `secret_no` is
    the place of the secret that
    fitted: when the old one is not used any more, a rotation is over.
    """

    message_id: str | None
    signed_at: datetime | None
    secret_no: int


@dataclass(frozen=True)
class Refused:
    """The delivery proves nothing; `reason` may be shown and logged."""

    reason: Reason
    status: int = 401


def verify(
    declaration: Webhook,
    secrets: Sequence[SecretStr],
    headers: Headers,
    raw_body: bytes,
    now: datetime,
    url: str | None = None,
    query: str = "",
) -> Verified | Refused:
    """Whether a delivery is signed with one of the secrets; compared in constant time, whichever fits.

    Args:
        declaration: How the system signs.
        secrets: The active ones, the current first.
        headers: As received: a mapping, or pairs where names may repeat.
        raw_body: As received.
        now: The time, UTC.
        url: The address as it is registered with the sender; only schemes that sign it need it.
        query: The query of the address as received; only schemes that sign it need it.
    """
    outcome = _checked(declaration, secrets, (headers, raw_body, url, query), now)
    return (
        outcome if isinstance(outcome, Verified) else Refused(outcome, declaration.refused_status)
    )


def _checked(
    declaration: Webhook,
    secrets: Sequence[SecretStr],
    parts: tuple[Headers, bytes, str | None, str],
    now: datetime,
) -> Verified | Reason:
    scheme = declaration.scheme
    if len(parts[1]) > declaration.body_bytes_max:
        return "body too large"
    try:
        received = delivery(*parts, only=scheme.headers)
    except ValueError:
        return "header given twice"
    said = scheme.stamp(received) if scheme.stamp else None
    if scheme.stamp and (
        said is None or not (said.isascii() and said.isdigit() and len(said) <= _STAMP_MAX)
    ):
        return "timestamp missing" if said is None else "timestamp is not a number"
    found = matching(scheme, secrets, received)
    if not isinstance(found, int):
        return found
    signed_at = None if said is None else datetime.fromtimestamp(int(said), UTC)
    # Only now: who does not know the secret learns nothing about our clock.
    return _age(scheme, signed_at, now) or Verified(
        _message_id(declaration, received), signed_at, found
    )


def _age(scheme: Scheme, signed_at: datetime | None, now: datetime) -> Reason | None:
    """What is wrong with the time of a delivery: a copy of an old one, or one signed in advance, is refused."""
    age_seconds = 0.0 if signed_at is None else (now - signed_at).total_seconds()
    if age_seconds > scheme.tolerance_seconds:
        return "timestamp too old"
    return "timestamp in the future" if age_seconds < -scheme.tolerance_seconds else None


def handshake(declaration: Webhook, headers: Headers, raw_body: bytes) -> Handshake | None:
    """What to answer to a delivery that only tests or introduces the endpoint; None: it is a usual one. Asked before `verify`."""
    if declaration.greet is None or len(raw_body) > declaration.body_bytes_max:
        return None
    try:
        return declaration.greet(delivery(headers, raw_body, None))
    except (BadBody, ValueError):
        return None


def events(declaration: Webhook, raw_body: bytes, headers: Headers = ()) -> list[Event]:
    """What a verified delivery says happened, in its order; the same event twice in it comes once.

    Raises:
        BadBody: If it is not what the system sends; the message names the place and no value.
    """
    if len(raw_body) > declaration.body_bytes_max:
        raise BadBody(f"it is larger than {declaration.body_bytes_max} bytes")
    found = declaration.read(delivery(headers, raw_body, None))
    if len(found) > EVENTS_MAX:
        raise BadBody(f"it holds more than {EVENTS_MAX} events")
    return list({event.event_id: event for event in found}.values())


def delivery_key(declaration: Webhook, headers: Headers, raw_body: bytes, now: datetime) -> str:
    """What makes a delivery the same as an earlier one: the sender's id for it, or the same bytes within some seconds.

    The bytes alone do not: a sale that is paid, void and paid again is told in the same words
    twice.
    """
    said = _message_id(declaration, delivery(headers, raw_body, None))
    if said is not None:
        return f"id:{said}"
    bucket = int(now.timestamp()) // _SAME_SECONDS
    return f"body:{hashlib.sha256(raw_body).hexdigest()}:{bucket}"


def unusable(declaration: Webhook, secret: SecretStr) -> str:
    """What is wrong with a secret that an operator entered, "" if nothing."""
    try:
        declaration.scheme.key(secret.get_secret_value())
    except Unusable as problem:
        return str(problem)
    return ""


def _message_id(declaration: Webhook, received: Delivery) -> str | None:
    said = declaration.scheme.message_id(received).strip()
    return said if 0 < len(said) <= 256 and said.isprintable() else None
