"""What came back: a successful answer, or the error that fits a refusal."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx

from connectors.kit.errors import (
    ConnectorError,
    CredentialsRejected,
    PermissionMissing,
    RateLimited,
    Transient,
    UnexpectedShape,
)
from connectors.kit.http.probe import clock_skew_seconds
from connectors.kit.http.urls import shown
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.reader import UNREADABLE, error_code
from connectors.kit.spec import ConnectorSpec, Page, PageRequest, RateLimit

#: The longest wait that is believed: the vendors' longest limit is a day. After it the vendor is
#: asked again.
RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
#: Codes for a refused token: those of RFC 6750 and RFC 6749, and other spellings in use.
_REFUSED_TOKEN: Final = (
    "invalid_token",
    "expired_token",
    "token_expired",
    "invalid_grant",
    "unauthenticated",
)
_WHOLE: Final = Decoder(Any)


@dataclass(frozen=True)
class Call:
    """One request that was sent, for the run's report."""

    system: str
    #: The list, or "token" and the like.
    operation: str
    #: 0: no answer.
    status: int
    elapsed_ms: int
    #: Whether the vendor refused it for its rate limit.
    throttled: bool


@dataclass(frozen=True)
class Answer:
    """A successful answer."""

    body: bytes
    content_type: str
    #: UTC.
    fetched_at: datetime
    elapsed_ms: int
    status: int
    #: The Link header.
    link: str = ""


def page_of(
    name: str, request: PageRequest, following: PageRequest | None, answer: Answer, count: int
) -> Page:
    """An answer as the page of a list or a lookup, to be stored.

    Args:
        name: The list or lookup.
        request: What was asked for.
        following: The next request, None after the last page.
        answer: What came back.
        count: The records in it.
    """
    return Page(
        stream=name,
        page_no=request.page_no,
        body=answer.body,
        content_type=answer.content_type,
        fetched_at=answer.fetched_at,
        request=request,
        next_request=following,
        record_count=count,
        elapsed_ms=answer.elapsed_ms,
    )


def failure(
    spec: ConnectorSpec,
    response: httpx.Response,
    body: bytes,
    *,
    operation: str,
    refused: type[CredentialsRejected],
    now: datetime,
) -> ConnectorError:
    """The error that fits an answer that is no success.

    Args:
        spec: The billing system.
        response: The answer.
        body: Its body.
        operation: What was asked for.
        refused: The error for a refused token or key.
        now: UTC, for what the vendor says about when to come back.
    """
    status, call = response.status_code, shown(response.request)
    request_id = response.headers.get(spec.request_id_header)
    code = fault_code(spec, body)
    by_code = spec.errors.get(code or "")
    kind: type[ConnectorError] = refused
    if status == 401 and by_code is not None and issubclass(by_code, PermissionMissing):
        kind = by_code  # some vendors say so with 401: the proof is right, the role too small
    elif status != 401:
        usual = refused if refuses_proof(spec, code) else _kind(response)
        kind = spec.errors.get(code or "") or spec.errors.get(status) or usual
    detail = f"code {code}" if code else (response.reason_phrase or "refused")
    if response.is_success and spec.errors_beside_records:
        kind = spec.error_answer if kind is UnexpectedShape else kind
        detail = f"an error answer, {detail}"
    if issubclass(kind, RateLimited):
        return RateLimited(
            spec.name,
            operation,
            retry_after_seconds=refused_for_seconds(spec, response, body, now),
            now=now,
            call=call,
            status=status,
            request_id=request_id,
        )
    if 300 <= status < 400:
        host = httpx.URL(response.headers.get("location", "")).host
        detail = (
            "redirects are not followed (this one leads to "
            f"{host or 'another page of the same server'})"
        )
    error = kind(spec.name, operation, detail, call=call, status=status, request_id=request_id)
    if isinstance(error, UnexpectedShape):
        error.body = body
    return error


def refuses_proof(spec: ConnectorSpec, code: str | None) -> bool:
    """Whether an error code says that the token or key is refused.

    The system's own codes count first, then those of RFC 6750.
    """
    kind = spec.errors.get(code or "")
    return code in _REFUSED_TOKEN if kind is None else issubclass(kind, CredentialsRejected)


def _kind(response: httpx.Response) -> type[ConnectorError]:
    status = response.status_code
    if status == 403:
        return PermissionMissing
    if status == 429 or (status == 503 and "retry-after" in response.headers):
        return RateLimited
    return Transient if status in (408, 425) or status >= 500 else UnexpectedShape


def fault_code(spec: ConnectorSpec, body: bytes) -> str | None:
    """The vendor's error code in a body, None where there is none."""
    try:
        return error_code(spec, _WHOLE.decode(body))
    except UNREADABLE:
        return None


def rest_seconds(spec: ConnectorSpec, body: bytes) -> float | None:
    """For how many seconds nobody should ask, as a body says; None where it does not."""
    if spec.rest_seconds is None:
        return None
    try:
        seconds = spec.rest_seconds(_WHOLE.decode(body))
    except (*UNREADABLE, LookupError, TypeError, ValueError, AttributeError):
        return None
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


def retry_after_seconds(response: httpx.Response, now: datetime) -> float | None:
    """How long the vendor asks us to wait, in seconds, a day at most; None where it does not say.

    The header holds seconds or an HTTP date.
    """
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        behind = clock_skew_seconds(value, now)
        seconds = math.nan if behind is None else -behind
    return None if math.isnan(seconds) else min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


def day_used_up(rate: RateLimit, response: httpx.Response) -> bool:
    """Whether the answer says that no request of today is left."""
    left = response.headers.get(rate.day_left_header, "") if rate.day_left_header else ""
    return left.strip() == "0"


def day_reset_seconds(rate: RateLimit, response: httpx.Response) -> float | None:
    """In how many seconds the limit of the day begins anew; None where the answer does not say."""
    value = response.headers.get(rate.day_reset_header, "") if rate.day_reset_header else ""
    try:
        seconds = float(value)
    except ValueError:
        return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), RETRY_AFTER_SECONDS_MAX)


def refused_for_seconds(
    spec: ConnectorSpec, response: httpx.Response, body: bytes, now: datetime
) -> float | None:
    """How long nobody may ask after a refusal for the rate; None where nothing says so.

    The answer's own word for it counts, in its header or else in its body; then the beginning of
    the vendor's next day where today's requests are used up; then what the system's description
    says.
    """
    wait_seconds = retry_after_seconds(response, now)
    if wait_seconds is None:
        wait_seconds = rest_seconds(spec, body)
    if wait_seconds is None and day_used_up(spec.rate, response):
        wait_seconds = day_reset_seconds(spec.rate, response)
    return spec.rate.retry_after_seconds if wait_seconds is None else wait_seconds
