"""What the vendors' modules share: reading requests, writing answers, and when limits and faults apply."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import httpx

from simulator.consent import authorize
from simulator.limits import Throttled
from simulator.registry import VENDORS
from simulator.world import World

Handler = Callable[[httpx.Request], httpx.Response]
encode = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


class Vendor(Protocol):
    """One vendor's API over the world; `path` never carries the simulator's own prefix."""

    name: str

    def is_token_path(self, path: str) -> bool:
        """Whether this is the token endpoint (no limits, no bearer token)."""

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        """The undisturbed answer."""

    def throttled(self, limit: Throttled) -> httpx.Response:
        """The vendor's 429."""

    def broken(self) -> httpx.Response:
        """The vendor's 500."""


def number(minor: int) -> int | float:
    """Minor units as the JSON number vendors write: 275 or 12.75.

    Below 2**53 the shortest text of the quotient is exactly the decimal, so nothing is lost in the
    JSON.
    """
    whole, rest = divmod(minor, 100)
    return minor / 100 if rest else whole


def json_response(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> httpx.Response:
    """An answer of JSON made from plain values."""
    return raw_response(encode(value).encode(), status, headers)


def raw_response(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None
) -> httpx.Response:
    """An answer of ready JSON."""
    return httpx.Response(
        status,
        content=body,
        headers={"content-type": "application/json;charset=UTF-8"} | (headers or {}),
    )


def xml_response(root: str, status: int = 200) -> httpx.Response:
    """The least an XML client would get: vendors answer XML unless asked for JSON."""
    body = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><{root}/>'.encode()
    return httpx.Response(status, content=body, headers={"content-type": "text/xml; charset=utf-8"})


def unsupported(params: httpx.QueryParams, *served: str) -> str | None:
    """The first parameter of a query that is not served; a filter that is ignored would hide a client's mistake."""
    return next((name for name in params if name not in served), None)


def join(rows: Iterable[bytes]) -> bytes:
    """A JSON array of ready JSON values."""
    return b"[" + b",".join(rows) + b"]"


def cached(cache: dict[str, bytes], view: str, render: Callable[[], Any]) -> bytes:
    """A record's JSON, kept until the record changes."""
    body = cache.get(view)
    if body is None:
        body = cache[view] = encode(render()).encode()
    return body


def instant(text: str) -> datetime:
    """An ISO instant; without an offset it is UTC.

    Raises:
        ValueError: If it is none.
    """
    value = datetime.fromisoformat(text)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def serve(world: World, vendor: Vendor, request: httpx.Request) -> httpx.Response:
    """Limits first, then the drawn fault, then the answer, as a gateway before an application does."""
    request.read()
    path = request.url.path.removeprefix(f"/{vendor.name}")
    consent = VENDORS[vendor.name].consent
    if consent is not None and path == consent.path and request.method == "GET":
        codes, account = world.grants[vendor.name].codes, world.accounts[vendor.name][-1]
        return authorize(vendor.name, codes, request, world.consent, account)
    token = vendor.is_token_path(path)
    if token:
        fault = world.faults.draw(vendor.name, request, token=True)
        return _disturbed(world, vendor, request, path, fault)
    limit = world.limits[vendor.name].enter(path)
    if limit is not None:
        return vendor.throttled(limit)
    try:
        return _disturbed(
            world, vendor, request, path, world.faults.draw(vendor.name, request, token=False)
        )
    finally:
        world.limits[vendor.name].leave()


def _disturbed(
    world: World, vendor: Vendor, request: httpx.Request, path: str, fault: str | None
) -> httpx.Response:
    faults = world.faults.faults
    if fault == "rate_429":
        response = vendor.throttled(Throttled("minute", faults.retry_after_seconds or 60))
        if faults.retry_after_seconds is None:
            response.headers.pop("retry-after", None)
        else:
            response.headers["retry-after"] = str(faults.retry_after_seconds)
        return response
    if fault == "rate_500":
        return vendor.broken()
    if fault == "timeouts":
        raise httpx.ReadTimeout("simulated: no answer in time", request=request)
    if fault == "slow":
        world.sleep(faults.slow_seconds)
    if fault == "errors_in_200":
        return json_response(VENDORS[vendor.name].error_in_200)
    with world.lock:
        response = vendor.answer(request, path)
    return (
        world.faults.spoil(fault, vendor.name, request, response)
        if not vendor.is_token_path(path)
        else response
    )
