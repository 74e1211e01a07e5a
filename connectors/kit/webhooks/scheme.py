"""Webhooks, described per system.

A description says how a delivery is signed, what to answer to a handshake, and which documents a
delivery is about.

Everything here is pure: raw bytes and headers in, values out. Nothing is parsed before its
signature is right. A body may be anything: whatever it holds, the outcome is a value or `BadBody`.

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
    matching_certified,
    without_secrets,
)
from connectors.kit.webhooks.subscriptions import Subscriptions

__all__ = [
    "BadBody", "Delivery", "Event", "Handshake", "Headers", "Refused", "Scheme", "Verified",
    "Webhook", "certificate_address", "delivery_key", "events", "handshake", "unusable", "verify",
    "without_secrets",
]  # fmt: skip

#: Events that one delivery may hold; QuickBooks, the largest known, sends 100.
EVENTS_MAX: Final = 1_000
#: Deliveries without an id are the same one when the same bytes come again within this time.
_SAME_SECONDS: Final = 10
#: Digits of a timestamp in seconds since 1970.
_STAMP_MAX: Final = 11


#: What an event asks for: read the documents ("changed"), they are gone ("deleted"), or it is not
#: about a sale ("ignored").
EventKind = Literal["changed", "deleted", "ignored"]


@dataclass(frozen=True)
class Event:
    """One thing that happened at the billing system."""

    #: Tells it from other events of the same endpoint. The same event delivered again has the same
    #: one, where the vendor gives it any.
    event_id: str
    #: The vendor's word for what happened.
    type: str
    kind: EventKind
    #: The name of the stream that the ids are of.
    stream: str | None = None
    #: The vendor's ids of the documents.
    external_ids: tuple[str, ...] = ()
    #: The whole document as received; None where only ids were sent.
    record: bytes | None = field(default=None, repr=False)
    #: UTC.
    occurred_at: datetime | None = None
    #: The account that the vendor names; None: the one whose endpoint it is.
    account: str | None = None


@dataclass(frozen=True)
class Handshake:
    """A delivery that is not about events: what to answer, and what is still to be done."""

    #: The answer's status and body.
    status: int = 200
    body: str = ""
    #: The vendor's id of the endpoint, which the call `Webhook.confirm` is about.
    callback: str = ""
    #: The code that the vendor waits for in that call. It is the signing secret from then on, but
    #: only once the vendor has accepted it: anyone can send such a delivery.
    verifier: SecretStr | None = None


@dataclass(frozen=True, eq=False)
class Webhook:
    """How the webhooks of one system work."""

    system: str
    #: How a delivery is signed.
    scheme: Scheme
    #: Turns a verified delivery into events; raises BadBody.
    read: Callable[[Delivery], Sequence[Event]]
    #: Recognises a handshake; None for any other delivery.
    greet: Callable[[Delivery], Handshake | None] | None = None
    #: Whether the handshake comes as GET, without a body.
    greets_by_get: bool = False
    #: The call that tells the vendor the code of its handshake.
    confirm: Callable[[Account, Handshake], PageRequest] | None = None
    #: How long the vendor waits for the answer; 0: not known.
    answer_seconds: float = 0
    #: The status of the answer to a delivery with a wrong signature, which some vendors test.
    refused_status: int = 401
    body_bytes_max: int = 2 * 1024 * 1024
    #: Headers that `read` looks at; they are stored with the delivery.
    kept_headers: tuple[str, ...] = ()
    #: How the vendor's API subscribes an address; None: it has none, and a person does it.
    subscriptions: Subscriptions | None = None


@dataclass(frozen=True)
class Verified:
    """The delivery comes from a sender who knows a secret, and its time is right."""

    #: The sender's id of the delivery, the same on every retry; None where the scheme has none.
    message_id: str | None
    #: UTC; None where the scheme signs no time.
    signed_at: datetime | None
    #: The place of the secret that fitted. When the old one is not used any more, a rotation of
    #: secrets is over.
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
    certificate: bytes | None = None,
) -> Verified | Refused:
    """Whether a delivery is signed with one of the secrets.

    All comparisons take constant time, whichever secret fits.

    Args:
        declaration: How the system signs.
        secrets: The active ones, the current first.
        headers: As received: a mapping, or pairs where names may repeat.
        raw_body: As received.
        now: The time, UTC.
        url: The address as it is registered with the sender; only schemes that sign it need it.
        query: The query of the address as received; only schemes that sign it need it.
        certificate: What is at `certificate_address` (PEM); only schemes that have one need it.
    """
    outcome = _checked(declaration, secrets, (headers, raw_body, url, query), now, certificate)
    return (
        outcome if isinstance(outcome, Verified) else Refused(outcome, declaration.refused_status)
    )


def _checked(
    declaration: Webhook,
    secrets: Sequence[SecretStr],
    parts: tuple[Headers, bytes, str | None, str],
    now: datetime,
    certificate: bytes | None,
) -> Verified | Reason:
    scheme = declaration.scheme
    if len(parts[1]) > declaration.body_bytes_max:
        return "body too large"
    try:
        received = delivery(*parts, only=scheme.headers)
    except ValueError:
        return "header given twice"
    stamp = scheme.stamp(received) if scheme.stamp else None
    if scheme.stamp and (
        stamp is None or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= _STAMP_MAX)
    ):
        return "timestamp missing" if stamp is None else "timestamp is not a number"
    secret_no = (
        matching(scheme, secrets, received)
        if scheme.certified is None
        else matching_certified(scheme, secrets, received, certificate, now)
    )
    if not isinstance(secret_no, int):
        return secret_no
    signed_at = None if stamp is None else datetime.fromtimestamp(int(stamp), UTC)
    # The time is checked last, so that a sender without the secret learns nothing about our clock.
    return _age(scheme, signed_at, now) or Verified(
        _message_id(declaration, received), signed_at, secret_no
    )


def certificate_address(declaration: Webhook, headers: Headers, raw_body: bytes) -> str | None:
    """Where the certificate is that a delivery is signed with, for `verify`.

    None where it needs none, or where it cannot be right whatever is there: it has no signature, or
    names an address that is not the vendor's.
    """
    scheme = declaration.scheme
    if scheme.certificate_address is None or len(raw_body) > declaration.body_bytes_max:
        return None
    try:
        received = delivery(headers, raw_body, None, only=scheme.headers)
    except ValueError:
        return None
    return scheme.certificate_address(received) if any(scheme.signatures(received)) else None


def _age(scheme: Scheme, signed_at: datetime | None, now: datetime) -> Reason | None:
    """What is wrong with the time of a delivery; None if nothing.

    A copy of an old delivery is refused, and one that was signed in advance.
    """
    age_seconds = 0.0 if signed_at is None else (now - signed_at).total_seconds()
    if age_seconds > scheme.tolerance_seconds:
        return "timestamp too old"
    return "timestamp in the future" if age_seconds < -scheme.tolerance_seconds else None


def handshake(
    declaration: Webhook, headers: Headers, raw_body: bytes, query: str = ""
) -> Handshake | None:
    """What to answer to a delivery that only tests or introduces the endpoint.

    None for a usual delivery. It is asked before `verify`. `query` is that of the address as
    received: some vendors put the code there that the answer must repeat.
    """
    if declaration.greet is None or len(raw_body) > declaration.body_bytes_max:
        return None
    try:
        return declaration.greet(delivery(headers, raw_body, None, query))
    except (BadBody, ValueError):
        return None


def events(declaration: Webhook, raw_body: bytes, headers: Headers = ()) -> list[Event]:
    """The events of a verified delivery, in its order; an event that it names twice comes once.

    Raises:
        BadBody: If it is not what the system sends; the message names the place and no value.
    """
    if len(raw_body) > declaration.body_bytes_max:
        raise BadBody(f"it is larger than {declaration.body_bytes_max} bytes")
    read_events = declaration.read(delivery(headers, raw_body, None))
    if len(read_events) > EVENTS_MAX:
        raise BadBody(f"it holds more than {EVENTS_MAX} events")
    return list({event.event_id: event for event in read_events}.values())


def delivery_key(declaration: Webhook, headers: Headers, raw_body: bytes, now: datetime) -> str:
    """What makes a delivery the same as an earlier one.

    It is the sender's id for it, or else the same bytes within some seconds.

    The same bytes at another time are another delivery: a sale that is paid, void and paid again
    is announced twice in the same words.
    """
    message_id = _message_id(declaration, delivery(headers, raw_body, None))
    if message_id is not None:
        return f"id:{message_id}"
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
    message_id = declaration.scheme.message_id(received).strip()
    return message_id if 0 < len(message_id) <= 256 and message_id.isprintable() else None
