"""What surrounds every request.

Its id, its limits of time and size, HTTPS, security headers, metrics and the audit.
"""

import asyncio
import contextlib
import logging
import secrets
import time
import traceback
from typing import Any, Final

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.attempts import Attempt
from api.client_address import source_of
from api.limits import source_subject
from api.problems import Problem, answer, retry_later
from api.rate_limit import RateLimit
from api.state import State

#: A body must be here by then, and the answer by then, both from the first byte.
BODY_SECONDS_MAX: Final = 10.0
ANSWER_SECONDS_MAX: Final = 20.0
#: Bodies of everything but webhooks, whose endpoints have limits of their own.
BODY_BYTES_MAX: Final = 65_536
#: A refused body is still taken, and dropped, for so long: a connection closed on bytes that were
#: not read is reset, and the answer with it (RFC 9112, section 9.6).
LINGER_SECONDS_MAX: Final = 5.0
LINGER_BYTES_MAX: Final = 67_108_864
#: Answered without HTTPS too: they say nothing private, and who watches the process asks its
#: address, where the proxy that speaks HTTPS is not.
_PLAIN_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready"})
_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}
log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware; `state` is the application's."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; anything but HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Guarded(self._app, self._state, scope, receive, send).run()


class _Guarded:
    """One request."""

    def __init__(
        self, app: ASGIApp, state: State, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._app, self._state = app, state
        # HEAD is answered like GET; the server leaves the body out.
        self._scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self._receive, self._send = receive, send
        self.attempt = Attempt(scope["method"], source_of(scope))
        self._request_id = secrets.token_hex(10)
        self._started = False
        self._body_ended = False
        self._is_too_large = False
        #: The route of a webhook sets its own.
        shared = self._scope.setdefault("state", {})
        shared.update(
            attempt=self.attempt, request_id=self._request_id, body_bytes_max=BODY_BYTES_MAX
        )

    async def run(self) -> None:
        """Answers the request, whatever happens."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._answered()
        except TimeoutError:
            await self._fail(retry_later("too_slow", "The answer took too long. Try again."))
        except Problem as problem:
            await self._fail(problem)
        except ClientDisconnect:  # the sender hung up: nobody can be answered
            self.attempt.outcome = "hung_up"
            self.attempt.close(499)
            self._started = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
            # Neither the message nor the values: they may hold personal data.
            where = "".join(traceback.format_tb(error.__traceback__)[-4:])
            name = type(error).__name__
            log.error("request %s failed: %s\n%s", self._request_id, name, where)  # noqa: TRY400
            detail = (
                "This is a defect. Report it with the request_id, which is in the log of the API."
            )
            await self._fail(Problem(500, "internal_error", detail))
        finally:
            self._note()

    async def _answered(self) -> None:
        config = self._state.config
        if (
            self._scope["scheme"] != "https"
            and not self.attempt.source.is_loopback
            and not config.plain_http
            and self._scope["path"] not in _PLAIN_PATHS
        ):
            raise Problem(403, "https_required", "Only HTTPS is answered from other machines.")
        length = _declared_length(self._scope)
        if length is not None and length > config.body_bytes_max:
            self._too_large(config.body_bytes_max)
        await self._app(self._scope, self._limited_receive, self._completed_send)

    async def _limited_receive(self) -> Message:
        """The next part of the body, while there is time and room left."""
        if self._body_ended:
            return await self._receive()
        left = self.attempt.started + BODY_SECONDS_MAX - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)):
                message = await self._receive()
        except TimeoutError:
            detail = f"The body did not arrive within {BODY_SECONDS_MAX:.0f} s."
            raise Problem(408, "too_slow_sender", detail, headers={"Connection": "close"}) from None
        if message["type"] == "http.request":
            self.attempt.body_bytes += len(message.get("body", b""))
            self._body_ended = not message.get("more_body", False)
            if self.attempt.body_bytes > self._scope["state"]["body_bytes_max"]:
                self._too_large(self._scope["state"]["body_bytes_max"])
        return message

    def _too_large(self, bytes_max: int) -> None:
        self._is_too_large = True
        detail = f"The body is larger than {bytes_max} bytes."
        raise Problem(413, "too_large", detail, headers={"Connection": "close"})

    async def _completed_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers["x-request-id"] = self._request_id
            headers.update(self._rate_limit().headers())
            if self._scope["scheme"] == "https":
                headers["strict-transport-security"] = "max-age=31536000"
            self.attempt.close(message["status"])
        elif self._is_too_large and not message.get("more_body", False):
            # The whole answer is sent; only its end, with which the server closes the connection,
            # waits.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _rate_limit(self) -> RateLimit:
        """The narrowest limit that the request was counted in; else that of its address."""
        if self.attempt.rate_limit is not None:
            return self.attempt.rate_limit
        subject = source_subject(self.attempt.source, self._state.config)
        return self._state.limits.left(subject, self._state.config.source_per_minute)

    async def _linger(self) -> None:
        """Reads the rest of a refused body and drops it, up to the limits."""
        dropped_bytes = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS_MAX):
                while not self._body_ended and dropped_bytes <= LINGER_BYTES_MAX:
                    message = await self._receive()
                    dropped_bytes += len(message.get("body", b""))
                    self._body_ended = not message.get(
                        "more_body", False
                    )  # a sender who hung up sends nothing more

    async def _fail(self, problem: Problem) -> None:
        if self._started:  # too late to say anything else; the server closes the connection
            return
        response = answer(Request(self._scope), problem)
        await response(self._scope, self._receive, self._completed_send)

    def _note(self) -> None:
        attempt, route = self.attempt, self._scope.get("route")
        attempt.route = getattr(route, "path", "unknown")
        if attempt.status == 0:  # nothing was sent: the sender hung up
            attempt.close(499)
            attempt.outcome = "hung_up"
        attempt.outcome = attempt.outcome or ("ok" if attempt.status < 400 else "refused")
        self._state.metrics.count(attempt)
        if not attempt.recorded:
            self._state.intake.audit.add(attempt)


def _declared_length(scope: Any) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            try:
                return int(value)
            except ValueError:
                return None
    return None
