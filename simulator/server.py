"""The simulator over HTTP: one ASGI application for all vendors, under a prefix each."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

import httpx

from simulator import SYSTEMS, handler
from simulator.faults import FaultPlan, Faults
from simulator.wire import Handler
from simulator.world import World

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: How many things happen, and in which systems.
Evolve = Callable[[int, Collection[str]], list[tuple[str, str]]]

#: Most things that one request lets happen.
STEPS_MAX: Final = 1_000
#: How long a request that is to time out is kept waiting before a gateway's 504 ends it.
HANG_SECONDS: Final = 60.0
_BODY_LIMIT_BYTES: Final = 4_000_000


class Application:
    """Plain ASGI: `/quickbooks/...`, `/xero/...`, and so on, and `/` for a health check.

    Three are no vendor's: `POST /evolve?steps=N` calls `evolve` and answers with what happened
    (`&systems=xero,stripe` lets it happen there only);
    `PUT /webhooks` tells `introduce` where webhooks are to be sent,
    `{"xero": {"url": "http://...", "secret": "..."}}`; `PUT /faults` says what goes wrong from now
    on, as fields of `Faults`: `{"rate_500": 0.5}`, and `{}` for nothing.
    """

    def __init__(
        self,
        world: World,
        *,
        hang_seconds: float = HANG_SECONDS,
        evolve: Evolve | None = None,
        introduce: Callable[[Any], None] | None = None,
    ) -> None:
        self._world = world
        self._evolve = evolve or (lambda steps, systems: world.evolve(steps, systems=systems))
        self._introduce = introduce
        self._handlers: dict[str, Handler] = {name: handler(world, name) for name in SYSTEMS}
        self._hang_seconds = hang_seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request; other kinds of scope are left alone."""
        if scope["type"] == "http":
            await _send(send, await self._respond(scope, await _body(receive)))

    async def _respond(self, scope: Message, body: bytes) -> httpx.Response:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        vendor = scope["path"].split("/")[1]
        if (scope["method"], scope["path"]) == ("POST", "/evolve"):
            return await self._let_happen(scope["query_string"])
        if (scope["method"], scope["path"]) == ("PUT", "/webhooks") and self._introduce is not None:
            try:
                self._introduce(json.loads(body))
            except ValueError as error:
                return httpx.Response(400, json={"error": str(error)})
            return httpx.Response(204)
        if (scope["method"], scope["path"]) == ("PUT", "/faults"):
            return self._spoil(body)
        if vendor not in self._handlers:
            ready = scope["path"] == "/"
            return httpx.Response(
                200 if ready else 404,
                json={"status": "ok" if ready else "not found", "vendors": list(SYSTEMS)},
            )
        target = raw_path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        host, port = scope.get("server") or ("127.0.0.1", 80)
        url = httpx.URL(scheme="http", host=host, port=port, raw_path=target)
        request = httpx.Request(scope["method"], url, headers=scope["headers"], content=body)
        try:
            # Slow answers wait in the thread, not in the loop.
            return await asyncio.to_thread(self._handlers[vendor], request)
        except httpx.TimeoutException:
            await asyncio.sleep(self._hang_seconds)
            return httpx.Response(504, text="Gateway Timeout")

    def _spoil(self, body: bytes) -> httpx.Response:
        try:
            self._world.faults = FaultPlan(Faults(**json.loads(body)))
        except (ValueError, TypeError) as error:
            return httpx.Response(400, json={"error": str(error)})
        return httpx.Response(204)

    async def _let_happen(self, query: bytes) -> httpx.Response:
        wanted = httpx.QueryParams(query.decode())
        steps, systems = wanted.get("steps", "1"), wanted.get("systems")
        if not steps.isdecimal() or not 1 <= int(steps) <= STEPS_MAX:
            return httpx.Response(400, json={"error": f"steps: 1 to {STEPS_MAX}"})
        where = SYSTEMS if systems is None else tuple(systems.split(","))
        if unknown := sorted({*where} - {*SYSTEMS}):
            return httpx.Response(400, json={"error": f"systems: unknown: {unknown}"})
        happened = await asyncio.to_thread(self._evolve, int(steps), where)
        return httpx.Response(200, json={"happened": happened})


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body") or len(body) > _BODY_LIMIT_BYTES:
            return body


async def _send(send: Send, response: httpx.Response) -> None:
    headers = [(name.lower(), value) for name, value in response.headers.raw]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
