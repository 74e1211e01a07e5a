"""POST /api/webhooks/billing/{endpoint_id}: verified, stored, acknowledged.

Awarding is a run's work, later by a moment.

In this order, and nothing is read of a body before its signature is right: address known, sender's
network allowed, size, failures so far, handshake, signature, rate limit of the endpoint, stored.
Only what is committed is answered with 200.
"""

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final

import psycopg
from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import SecretStr

from api.attempts import Attempt
from api.config import BODY_BYTES_LIMIT
from api.database import answering, row
from api.intake import NotStoredError
from api.keys import from_known_source
from api.limits import too_many
from api.problems import Problem, described, retry_later
from api.state import State
from connectors.kit.errors import Misconfigured
from connectors.kit.webhooks import scheme as kit
from connectors.kit.webhooks.bodies import NotJson
from connectors.kit.webhooks.certificates import CertificateAwayError
from connectors.registry import DESCRIBED_WEBHOOKS, declaration
from sql.tokens import TokenUnreadableError
from sql.webhooks import HANDSHAKE, Endpoint, NewEvent, endpoint_of

router = APIRouter(prefix="/api/webhooks/billing", tags=["webhooks"])
#: Deliveries of one source to one endpoint that prove nothing, per minute: as many as Xero's tests
#: need, and some.
REFUSED_PER_MINUTE: Final = 60
#: How long an endpoint is remembered: a secret entered or withdrawn counts after that at the
#: latest.
_KNOWN_SECONDS: Final = 1.0
_ENDPOINTS_MAX: Final = 1_000
_KEPT: Final = re.compile(
    r"^(content-type|x-[a-z0-9-]*(topic|event|event-id|delivery-id|webhook-id|shop-domain))$"
)
_KEPT_MAX: Final = 20
log = logging.getLogger(__name__)
EndpointId = Annotated[
    str,
    Path(
        min_length=1, max_length=100,
        description="The unguessable part of the address that `twezah webhooks create` printed."
    ),
]  # fmt: skip
_ANSWERS = described(400, 401, 403, 404, 408, 410, 413, 429, 503)
_BODY = {
    "requestBody": {
        "required": True,
        "description": (
            "Signed as the billing system signs; a custom system as its block says, "
            "Standard Webhooks if it says nothing."
        ),
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "examples": {
                    "sale.completed": {
                        "value": {
                            "type": "sale.completed",
                            "timestamp": "2026-05-20T08:30:00Z",
                            "data": {
                                "invoice_number": "INV-001",
                                "customer_phone": "+244 923 456 789",
                                "total_amount": 150.00,
                                "products": [
                                    {
                                        "name": "Água Twezah 5L",
                                        "quantity": 3,
                                        "unit_price": 50.00,
                                        "sku": "ATW-5L",
                                    }
                                ],
                                "sale_date": "2024-01-15T14:30:00Z",
                            },
                        }
                    },
                    "id only": {
                        "value": {"type": "payment.received", "data": {"invoice_id": "INV-001"}}
                    },
                },
            }
        },
    }
}


@dataclass
class Endpoints:
    """Endpoints this process has seen in the last second."""

    _known: dict[str, tuple[float, Endpoint]] = field(default_factory=dict)

    def number(self, endpoint_id: str | None) -> int | None:
        """The endpoint's number as it was last known."""
        cached = self._known.get(endpoint_id or "")
        return None if cached is None else cached[1].endpoint_no

    async def find(self, state: State, endpoint_id: str | None) -> Endpoint | None:
        """The endpoint, None if there is none. Raises psycopg.Error, TokenUnreadableError."""
        name = endpoint_id or ""
        cached = self._known.get(name)
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        stored = await row(state.readers, "webhooks", "endpoint", {"endpoint_id": endpoint_id})
        if stored is None:  # unknown addresses are not kept: anybody can make up any number of them
            self._known.pop(name, None)
            return None
        made = endpoint_of(stored, state.config.key)
        if len(self._known) >= _ENDPOINTS_MAX:
            self._known.clear()
        self._known[name] = (time.monotonic() + _KNOWN_SECONDS, made)
        return made


@router.post(
    "/{endpoint_id}",
    responses=_ANSWERS,
    openapi_extra=_BODY,
    response_class=Response,
    summary="A webhook",
)
async def receive(request: Request, endpoint_id: EndpointId) -> Response:
    """200: it is stored, or was already. Anything else: send it again later."""
    return await _receive(request, endpoint_id)


@router.get("/{endpoint_id}", include_in_schema=False)
async def introduce(request: Request, endpoint_id: EndpointId) -> Response:
    """Some vendors introduce an address by GET, and want the code in the query back."""
    state = await from_known_source(request)
    attempt: Attempt = request.scope["state"]["attempt"]
    refusals = f"refused:{endpoint_id}:{attempt.source.subject(state.config.key)}"[:200]
    if (waiting := state.limits.closed_seconds(refusals)) > 0:
        raise too_many("your address for deliveries that prove nothing", waiting)
    endpoint, webhook = await _place(request, state, endpoint_id, refusals)
    query = request.scope["query_string"].decode("latin-1")
    greeting = kit.handshake(webhook, {}, b"", query) if webhook.greets_by_get else None
    if greeting is None:
        raise HTTPException(405, headers={"allow": "POST"})
    return await _greet(state, endpoint, attempt, refusals, b"", greeting, datetime.now(UTC))


@router.post(
    "",
    responses=_ANSWERS,
    openapi_extra=_BODY,
    response_class=Response,
    summary="A webhook of the only custom system",
)
async def receive_default(request: Request) -> Response:
    """As the address with an id, for the endpoint made with `--default`."""
    return await _receive(request, None)


async def _receive(request: Request, endpoint_id: str | None) -> Response:
    state = await from_known_source(request)
    attempt: Attempt = request.scope["state"]["attempt"]
    refusals = f"refused:{endpoint_id}:{attempt.source.subject(state.config.key)}"[:200]
    if (waiting := state.limits.closed_seconds(refusals)) > 0:
        attempt.endpoint_no = request.app.state.endpoints.number(endpoint_id)
        raise too_many("your address for deliveries that prove nothing", waiting)
    endpoint, webhook = await _place(request, state, endpoint_id, refusals)
    request.scope["state"]["body_bytes_max"] = min(
        endpoint.body_bytes_max, webhook.body_bytes_max, BODY_BYTES_LIMIT
    )
    body = await request.body()
    now = datetime.now(UTC)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
    ]
    query = request.scope["query_string"].decode("latin-1")
    if (greeting := kit.handshake(webhook, headers, body, query)) is not None:
        return await _greet(state, endpoint, attempt, refusals, body, greeting, now)
    certificate = await _certificate(state, webhook, headers, body)
    url = f"{state.config.public_url}{request.scope['path']}"
    outcome = kit.verify(
        webhook,
        [SecretStr(secret) for secret in endpoint.secrets],
        headers,
        body,
        now,
        url,
        query,
        certificate,
    )
    if isinstance(outcome, kit.Refused):
        return await _refuse(state, endpoint, attempt, refusals, outcome)
    async with answering():
        await state.limits.require(
            f"endpoint:{endpoint.endpoint_no}",
            endpoint.events_per_minute,
            "this endpoint",
            attempt,
        )
    try:
        kind = _kind(webhook, body, headers)
    except NotJson as error:
        return _not_json(endpoint, attempt, error)
    if kind is None:  # signed, without an event: the vendor tests the address
        attempt.outcome = "handshake"
        return Response()
    key = kit.delivery_key(webhook, headers, body, now)
    body = kit.without_secrets(webhook.scheme, body, endpoint.secrets)
    return await _store(state, endpoint, attempt, (key, kind, body), _kept(webhook, headers), now)


async def _place(
    request: Request, state: State, endpoint_id: str | None, refusals: str
) -> tuple[Endpoint, kit.Webhook]:
    """The endpoint and how its webhooks work. Raises Problem."""
    attempt: Attempt = request.scope["state"]["attempt"]
    async with answering():
        try:
            endpoint = await request.app.state.endpoints.find(state, endpoint_id)
        except TokenUnreadableError:
            # No traceback is needed: the message says it all.
            reason = TokenUnreadableError.MESSAGE
            log.error("a webhook's secret cannot be read: %s", reason)  # noqa: TRY400
            raise retry_later(
                "not_ready", "This endpoint cannot check signatures just now.", seconds=60
            ) from None
        if endpoint is None:
            await _count_refusal(state, refusals)
            raise Problem(404, "unknown_endpoint", "There is no such endpoint.")
    attempt.endpoint_no = endpoint.endpoint_no
    if not attempt.source.is_in(endpoint.allowed_networks):
        raise Problem(
            403, "network_not_allowed", "This endpoint does not hear senders in your network."
        )
    if endpoint.disabled_at is not None:
        raise Problem(
            410, "endpoint_disabled", "This endpoint is disabled. Send nothing more here."
        )
    try:
        webhook = declaration(endpoint.system, endpoint.options)
    except Misconfigured as error:
        # No traceback is needed: the message says it all.
        log.error("endpoint %s: %s", endpoint.endpoint_no, error)  # noqa: TRY400
        webhook = None
    if webhook is None:
        raise retry_later(
            "not_ready", "This endpoint cannot check signatures just now.", seconds=60
        )
    return endpoint, webhook


async def _certificate(
    state: State, webhook: kit.Webhook, headers: Sequence[tuple[str, str]], body: bytes
) -> bytes | None:
    """The certificate that a delivery is signed with; None where it needs none, or none can be.

    Raises Problem: it cannot be had now, so the delivery is to be sent again.
    """
    address = kit.certificate_address(webhook, headers, body)
    if address is None or (pem := state.certificates.known(address)) is not None:
        return None if address is None else pem
    try:
        return await asyncio.to_thread(state.certificates.get, address)
    except CertificateAwayError as error:
        log.warning("the certificate of a webhook of %s: %s", webhook.system, error)
        raise retry_later(
            "not_ready", "This endpoint cannot check signatures just now.", seconds=60
        ) from None


async def _count_refusal(state: State, subject: str) -> None:
    waiting = await state.limits.wait_seconds(subject, REFUSED_PER_MINUTE, burst=REFUSED_PER_MINUTE)
    if waiting > 0:
        raise too_many("your address for deliveries that prove nothing", waiting)


async def _refuse(
    state: State, endpoint: Endpoint, attempt: Attempt, subject: str, refused: kit.Refused
) -> Response:
    try:
        await _count_refusal(state, subject)
    except psycopg.OperationalError:
        log.warning("a refusal could not be counted: the database is away")
    attempt.outcome = refused.reason.replace(" ", "_")
    if endpoint.system in DESCRIBED_WEBHOOKS:
        raise Problem(refused.status, attempt.outcome, f"Not accepted: {refused.reason}.")
    return Response(
        status_code=refused.status
    )  # the vendors' own programs want no body, Xero's least of all


def _not_json(endpoint: Endpoint, attempt: Attempt, error: NotJson) -> Response:
    """Nobody could ever use it, so whoever sent it is told."""
    attempt.outcome = "not_json"
    if endpoint.system in DESCRIBED_WEBHOOKS:
        raise Problem(400, "not_json", f"The body is signed and is not JSON: {error}.")
    return Response(status_code=400)  # the vendors' own programs want no body


async def _greet(
    state: State,
    endpoint: Endpoint,
    attempt: Attempt,
    subject: str,
    body: bytes,
    greeting: kit.Handshake,
    now: datetime,
) -> Response:  # fmt: skip
    """Answers a handshake.

    A handshake proves nothing, so only an endpoint that awaits one stores it, and a run asks the
    vendor whether it is true.

    One without a code (a shop's ping) is answered and never stored. All count as deliveries that
    prove nothing.
    """
    async with answering():
        await _count_refusal(state, subject)
    if greeting.verifier is not None:
        if endpoint.handshake != "awaited":
            raise Problem(403, "handshake_not_awaited", "This endpoint awaits no verification.")
        # Each is stored: the same code is sent again when somebody asks for it, after it was lost
        # or could not be confirmed.
        key = f"handshake:{hashlib.sha256(body).hexdigest()}:{now.timestamp():f}"
        return await _store(state, endpoint, attempt, (key, HANDSHAKE, body), {}, now)
    attempt.outcome = "handshake"
    return Response(greeting.body, greeting.status, media_type="text/plain")


async def _store(
    state: State,
    endpoint: Endpoint,
    attempt: Attempt,
    what: tuple[str, str, bytes],
    headers: Mapping[str, str],
    now: datetime,
) -> Response:
    key, kind, body = what
    address = None if attempt.source.address is None else str(attempt.source.address)
    event = NewEvent(
        endpoint.endpoint_no, key.replace("\x00", ""), kind, headers, body, address, now
    )
    try:
        number = await state.intake.store(event, attempt)
    except NotStoredError as error:
        log.warning("a webhook was not stored: %s", error)
        raise retry_later("not_stored", "The event could not be stored. Send it again.") from None
    if number is not None:
        state.nudge.poke()
    return Response()


def _kind(webhook: kit.Webhook, body: bytes, headers: Sequence[tuple[str, str]]) -> str | None:
    """What it is about, in the sender's words; None if about nothing.

    What cannot be read is stored all the same, unless it is no JSON at all: raises NotJson.
    """
    try:
        events = kit.events(webhook, body, headers)
    except NotJson:
        raise
    except kit.BadBody:
        return "unreadable"
    kinds = sorted({event.type or "document" for event in events})
    return ", ".join(kinds)[:200].replace("\x00", "") if events else None


def _kept(webhook: kit.Webhook, headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Headers that reading it again may need.

    Never signatures: they name things, and are not long.
    """
    wanted = {name.lower() for name in (*webhook.scheme.id_headers, *webhook.kept_headers)}
    kept = [
        (name.lower(), value.replace("\x00", ""))
        for name, value in headers
        if len(value) <= 300 and (name.lower() in wanted or _KEPT.match(name.lower()))
    ]
    return dict(sorted(kept, key=lambda header: header[0] not in wanted)[:_KEPT_MAX])
