"""One HTTP client per account.

It sends single requests, and turns every failure into the error that fits it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from connectors.kit.errors import (
    Misconfigured,
    RateLimited,
    Transient,
    UnexpectedShape,
)
from connectors.kit.http.auth import Token, TokenStore, open_session
from connectors.kit.http.body import ACCEPT_ENCODING, UnaskedEncodingError, pieces, utf8
from connectors.kit.http.probe import clock_skew_seconds, why_no_answer
from connectors.kit.http.ratelimit import Limiter, SharedLimit, TooLong
from connectors.kit.http.responses import (
    Answer,
    Call,
    day_reset_seconds,
    day_used_up,
    failure,
    fault_code,
    refused_for_seconds,
    refuses_proof,
    rest_seconds,
)
from connectors.kit.http.urls import base_url, join_url, shown
from connectors.kit.spec import Account, ConnectorSpec, Grant, PageRequest, of_account

# Their messages have whole URLs in them, with the query, which may hold a key.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timing:
    """The clocks that a client uses; replaced in tests."""

    #: Seconds, for measuring.
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    #: UTC.
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


SYSTEM_TIME = Timing()
#: A longer answer with a status of success is not searched for an error code, because it would be
#: decoded twice.
ERROR_BYTES_MAX = 4096
#: How long nothing is asked for an account whose requests of the day are used up. Then one is
#: tried: vendors do not say when the next is free.
DAY_USED_UP_SECONDS = 900.0


@contextmanager
def open_client(
    account: Account,
    spec: ConnectorSpec,
    tokens: TokenStore,
    *,
    transport: httpx.BaseTransport | None = None,
    on_call: Callable[[Call], None] | None = None,
    timing: Timing = SYSTEM_TIME,
    shared_limit: SharedLimit | None = None,
) -> Iterator["Client"]:
    """A client for one account; it is closed at the end.

    Args:
        account: The account.
        spec: Its billing system.
        tokens: Where its live token is kept.
        transport: Replaces the network in tests.
        on_call: Is given every request sent, also failed ones; several threads may call it.
        timing: Clock and sleep.
        shared_limit: Counts the requests of the account over all processes; without it this client
            counts alone.

    Raises:
        Misconfigured: If the base URL is not an http(s) URL.
    """
    timeout = httpx.Timeout(account.timeout_seconds, pool=None)
    if transport is None and spec.transport is not None:
        transport = spec.transport(account)
    limits = httpx.Limits(max_connections=spec.rate.concurrency, keepalive_expiry=30)
    with httpx.Client(
        transport=transport,
        timeout=timeout,
        limits=limits,
        follow_redirects=False,
        headers={"accept-encoding": ACCEPT_ENCODING},
    ) as http:
        yield Client(account, spec, tokens, http, on_call or (lambda _: None), timing, shared_limit)


class Client:
    """Sends single requests for one account.

    Each request is authorised, kept within the vendor's limits, and bounded in time and size.
    """

    def __init__(
        self,
        account: Account,
        spec: ConnectorSpec,
        tokens: TokenStore,
        http: httpx.Client,
        on_call: Callable[[Call], None],
        timing: Timing,
        shared_limit: SharedLimit | None = None,
    ) -> None:
        self.account = account
        self.spec = spec
        self.timing = timing
        self._http = http
        self._on_call = on_call
        self._base = base_url(account, spec)
        self._limiter = Limiter(
            spec.rate,
            monotonic=timing.monotonic,
            sleep=timing.sleep,
            shared=shared_limit,
            wait_seconds_max=spec.retry.longest_wait_seconds,
        )
        auth = spec.auth(account)
        self._refused = auth.refused
        self._session = open_session(account, auth, tokens, self._ask_token, timing.now)
        self._ahead_seconds = 0.0
        self._warned: set[str] = set()

    @property
    def clock_ahead_seconds(self) -> float:
        """By how many seconds our clock is ahead of the vendor's; 0 if it is not.

        It is taken from the answers so far, and exact to a second or two.
        """
        return self._ahead_seconds

    def token(self, *, renew: bool = False) -> Token | None:
        """The token in use, renewed first with `renew`; None where requests carry no token.

        Raises:
            CredentialsRejected: If it cannot be renewed.
        """
        return self._session.current(renew=renew)

    def send(self, request: PageRequest, operation: str) -> Answer:
        """Sends one request; a refused token is renewed once.

        Raises:
            ConnectorError: Retriable, NeedsOperator or ContractBroken.
        """
        response, answer, used = self._exchange(request, operation)
        if self._proof_refused(response, answer) and self._session.renewed(used):
            response, answer, _ = self._exchange(request, operation)
        refused = response.is_success and self._is_error(response, answer)
        if refused or (not response.is_success and not _unchanged(response, request)):
            raise failure(
                self.spec,
                response,
                answer.body,
                operation=operation,
                refused=self._refused,
                now=self.timing.now(),
            )
        return answer

    def _proof_refused(self, response: httpx.Response, answer: Answer) -> bool:
        """Whether the vendor refused our credentials, by status 401 or a code that says the same.

        Examples are a 400 for a token that ended, and an error in an answer with status 200.
        """
        if response.status_code == 401:
            return True
        is_long = len(answer.body) > ERROR_BYTES_MAX and not self.spec.errors_beside_records
        if response.is_success and is_long:
            return False
        return refuses_proof(self.spec, fault_code(self.spec, answer.body))

    def _is_error(self, response: httpx.Response, answer: Answer) -> bool:
        """Whether an answer with a status of success is an error all the same."""
        if self._proof_refused(response, answer):
            return True
        return self.spec.errors_beside_records and fault_code(self.spec, answer.body) is not None

    def _exchange(
        self, request: PageRequest, operation: str
    ) -> tuple[httpx.Response, Answer, Token | None]:
        """Sends a request with its proof; returns the answer and the token used."""
        headers = {
            "accept": "application/json",
            **self.spec.headers(self.account),
            **request.headers,
        }
        content = request.body.encode() if request.body is not None else None
        built = self._http.build_request(
            request.method,
            join_url(self._base, request.path),
            params={**self.spec.params(self.account), **request.params},
            headers=headers,
            content=content,
        )
        used = self._session.sign(built)
        sent_at = self.timing.now()
        response, answer = self._measured(built, operation)
        # Compared with the time of sending, because a slow answer is no wrong clock. The largest
        # difference counts: there may be many servers.
        skew_seconds = clock_skew_seconds(response.headers.get("date", ""), sent_at) or 0.0
        self._ahead_seconds = max(self._ahead_seconds, skew_seconds)
        self._warn(response)
        return response, answer, used

    def _warn(self, response: httpx.Response) -> None:
        """Logs what the headers of an answer warn of, once."""
        if self.spec.warning is None:
            return
        text = self.spec.warning(self.account, response.headers)
        if text is not None and text not in self._warned:
            self._warned.add(text)
            log.warning("%s: %s", self.spec.name, text)

    def _ask_token(self, grant: Grant, refresh_token: str) -> httpx.Response:
        """The answer to a request for a token, which counts against the vendor's limits too."""
        url = self.account.token_url or of_account(self.spec.token_url, self.account)
        try:
            request = grant(self.account, url, refresh_token)
        except httpx.InvalidURL as error:
            raise Misconfigured(self.spec.name, "token", "the token URL is not a URL") from error
        request.extensions["timeout"] = self._http.timeout.as_dict()
        response, answer = self._measured(request, "token")
        return httpx.Response(response.status_code, content=answer.body, request=request)

    def _measured(self, request: httpx.Request, operation: str) -> tuple[httpx.Response, Answer]:
        """Waits for the request's turn, then sends it and reads the whole answer."""
        try:
            with self._limiter.slot() as turn:
                response, answer = self._sent(request, operation)
                turn.rest_seconds = self._rest_seconds(response, answer)
        except TooLong as late:
            raise RateLimited(
                self.spec.name,
                operation,
                "the vendor's limit is used up",
                retry_after_seconds=late.wait_seconds,
                now=self.timing.now(),
                call=shown(request),
            ) from None
        return response, answer

    def _sent(self, request: httpx.Request, operation: str) -> tuple[httpx.Response, Answer]:
        """Sends a request and reads the whole answer; the call is reported whatever happens."""
        started, status, throttled = self.timing.monotonic(), 0, False
        try:
            response = self._http.send(request, stream=True)
            status = response.status_code
            throttled = status == httpx.codes.TOO_MANY_REQUESTS
            try:
                body = self._body(response, operation, started)
            finally:
                response.close()
            throttled = throttled or self._throttles(body)
        except httpx.UnsupportedProtocol as error:
            raise Misconfigured(
                self.spec.name, operation, "the base URL is not an http(s) URL"
            ) from error
        except UnaskedEncodingError as encoding:
            detail = f"the answer is packed in a way that was not asked for ({encoding})"
            raise UnexpectedShape(
                self.spec.name, operation, detail, call=shown(request), status=status
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            detail = f"no answer: {why_no_answer(error)}"
            raise Transient(self.spec.name, operation, detail, call=shown(request)) from None
        finally:
            elapsed_ms = round((self.timing.monotonic() - started) * 1000)
            self._on_call(Call(self.spec.name, operation, status, elapsed_ms, throttled))
        content_type = response.headers.get("content-type", "")
        if self.spec.transport is None:  # files keep their encoding
            body = utf8(body, content_type)
        link = response.headers.get("link", "")
        return response, Answer(body, content_type, self.timing.now(), elapsed_ms, status, link)

    def _throttles(self, body: bytes) -> bool:
        """Whether a body says that the limit is reached, of vendors that say so in bodies."""
        if self.spec.rest_seconds is None or len(body) > ERROR_BYTES_MAX:
            return False
        kind = self.spec.errors.get(fault_code(self.spec, body) or "")
        return kind is not None and issubclass(kind, RateLimited)

    def _rest_seconds(self, response: httpx.Response, answer: Answer) -> float:
        """For how many seconds nobody may ask for this account, as the answer says."""
        rate = self.spec.rate
        if response.status_code == 429:
            now = self.timing.now()
            return refused_for_seconds(self.spec, response, answer.body, now) or 0.0
        if not day_used_up(rate, response):
            return rest_seconds(self.spec, answer.body) or 0.0
        reset_seconds = day_reset_seconds(rate, response)
        return DAY_USED_UP_SECONDS if reset_seconds is None else reset_seconds

    def _body(self, response: httpx.Response, operation: str, started: float) -> bytes:
        """The body, within the limits of size and time.

        The limit of time is needed because an endless trickle of bytes never trips a read timeout.
        """
        chunks: list[bytes] = []
        size, latest = 0, started + 4 * self.account.timeout_seconds
        for chunk in pieces(response):
            size += len(chunk)
            chunks.append(chunk)
            if size > self.spec.body_bytes_limit:
                detail = f"the answer is larger than {self.spec.body_bytes_limit} bytes"
                raise UnexpectedShape(
                    self.spec.name,
                    operation,
                    detail,
                    call=shown(response.request),
                    status=response.status_code,
                )
            if self.timing.monotonic() > latest:
                raise Transient(
                    self.spec.name,
                    operation,
                    "the answer takes too long",
                    call=shown(response.request),
                )
        return b"".join(chunks)


def _unchanged(response: httpx.Response, request: PageRequest) -> bool:
    """Whether nothing changed: status 304 to a request for changes since a time."""
    return (
        response.status_code == httpx.codes.NOT_MODIFIED and "If-Modified-Since" in request.headers
    )
