"""Sends webhooks, signed per Standard Webhooks: bounded in time, size and number, no redirects.

A message goes to an address that was checked (`destination`), under the name in its URL: TLS and
the header Host use the name, the connection uses the address.
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import httpx

from connectors.kit.http.probe import why_no_answer
from connectors.kit.http.responses import retry_after_seconds
from connectors.kit.webhooks.destination import (
    Destination,
    ForbiddenDestinationError,
    Network,
    Resolve,
    UnknownHostError,
    checked_addresses,
    destination,
    resolve,
)
from connectors.kit.webhooks.signatures import Unusable, standard_signature

#: From the name to the last byte of the answer.
SEND_SECONDS_MAX: Final = 15.0
CONNECT_SECONDS_MAX: Final = 5.0
#: The largest body that is sent.
BODY_BYTES_MAX: Final = 20_000
#: Of the answer's body nothing is used; so much is read, so that the connection can be used again.
_ANSWER_BYTES_MAX: Final = 4_096
#: Addresses of one name that are tried.
_ADDRESSES_MAX: Final = 3
#: How many receivers' connections are kept open.
_CLIENTS_MAX: Final = 50


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to one receiver."""

    #: The same at every attempt: the receiver knows a repeated message by it. No dots.
    message_id: str
    url: str
    #: JSON.
    body: bytes
    #: Each of them signs.
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True)
class SendResult:
    """What came of an attempt."""

    #: Status of the answer; None: none came.
    status: int | None
    #: Why it failed, for an operator; "" for success. Never the answer's text.
    error: str = ""
    #: How long the receiver asks to wait.
    retry_after_seconds: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the message was accepted."""
        return not self.error


class Sender:
    """Sends messages from any thread; a thread of its own has the event loop.

    A context manager. What is under way when it is left is cancelled.
    """

    def __init__(self, allowed: Sequence[Network] = (), resolve: Resolve = resolve) -> None:
        self._allowed, self._resolve = allowed, resolve
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks out", daemon=True)
        #: By authority and address. (A client of its own for each name: two names at one address
        #: must not share a connection, whose certificate is the first one's.)
        self._clients: dict[tuple[str, str], httpx.AsyncClient] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancels what is under way."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(CONNECT_SECONDS_MAX)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONNECT_SECONDS_MAX)
        if not self._thread.is_alive():
            self._loop.close()

    def send(self, message: OutgoingMessage) -> "Future[SendResult]":
        """Begins to send. The result never raises, except CancelledError."""
        return asyncio.run_coroutine_threadsafe(self._send(message), self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _close(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            with suppress(Exception):
                await client.aclose()

    async def _send(self, message: OutgoingMessage) -> SendResult:
        try:
            _require_sendable(message)
            async with asyncio.timeout(SEND_SECONDS_MAX):
                return await self._try_addresses(message)
        except TimeoutError:
            why = f"no answer within {SEND_SECONDS_MAX:.0f} seconds"
        except (_UnsendableError, ForbiddenDestinationError, UnknownHostError, Unusable) as error:
            why = str(error)
        except (httpx.HTTPError, OSError) as error:
            why = why_no_answer(error)
        except Exception as error:  # noqa: BLE001 - one message must not end the others
            why = f"{type(error).__name__}: a defect"
        return SendResult(None, why)

    async def _try_addresses(self, message: OutgoingMessage) -> SendResult:
        where = destination(message.url)
        addresses = await checked_addresses(where, self._allowed, self._resolve)
        *others, last = addresses[:_ADDRESSES_MAX]
        for address in others:
            try:
                return await self._post(message, where, address)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post(message, where, last)

    async def _post(self, message: OutgoingMessage, where: Destination, address: str) -> SendResult:
        now = datetime.now(UTC)
        stamp = int(now.timestamp())
        headers = {
            "host": where.authority,
            "content-type": "application/json",
            "user-agent": "twezah-webhooks",
            "accept-encoding": "identity",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": standard_signature(
                message.secrets, message.message_id, stamp, message.body
            ),
        }
        host = f"[{address}]" if ":" in address else address
        url = f"{where.scheme}://{host}:{where.port}{where.path}"
        extensions = {"sni_hostname": where.host} if where.scheme == "https" else {}
        request = self._client(where, address).build_request(
            "POST", url, content=message.body, headers=headers, extensions=extensions
        )
        async with _streamed(self._client(where, address), request) as response:
            return _result(response, now)

    def _client(self, where: Destination, address: str) -> httpx.AsyncClient:
        key = (where.authority, address)
        if key not in self._clients:
            if len(self._clients) >= _CLIENTS_MAX:
                oldest = self._clients.pop(next(iter(self._clients)))
                # Messages that use it have ended by then.
                self._loop.call_later(2 * SEND_SECONDS_MAX, self._forget, oldest)
            timeout = httpx.Timeout(SEND_SECONDS_MAX, connect=CONNECT_SECONDS_MAX, pool=None)
            limits = httpx.Limits(max_connections=None, keepalive_expiry=20)
            # (No proxy of the environment: it would resolve the name again.)
            self._clients[key] = httpx.AsyncClient(
                timeout=timeout, limits=limits, follow_redirects=False, trust_env=False
            )
        return self._clients[key]

    def _forget(self, client: httpx.AsyncClient) -> None:
        closing = self._loop.create_task(client.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class _UnsendableError(ValueError):
    """The message cannot be sent as it is."""


def _require_sendable(message: OutgoingMessage) -> None:
    if len(message.body) > BODY_BYTES_MAX:
        raise _UnsendableError(f"the message is larger than {BODY_BYTES_MAX} bytes")
    if not message.secrets:
        raise _UnsendableError("the receiver has no secret to sign with: enter one")


class _streamed:  # noqa: N801 - used like a function
    """An answer of which little is read."""

    def __init__(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        self._client, self._request = client, request

    async def __aenter__(self) -> httpx.Response:
        self._response = await self._client.send(self._request, stream=True)
        return self._response

    async def __aexit__(self, *_: object) -> None:
        read = 0
        with suppress(httpx.HTTPError):
            async for piece in self._response.aiter_raw():
                read += len(piece)
                if read > _ANSWER_BYTES_MAX:
                    break
        await self._response.aclose()


def _result(response: httpx.Response, now: datetime) -> SendResult:
    status = response.status_code
    if response.is_success:
        return SendResult(status)
    why = "answered with a redirect, which is not followed" if 300 <= status < 400 else "refused"
    return SendResult(status, f"{why}: HTTP {status}", retry_after_seconds(response, now))
