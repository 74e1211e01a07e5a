"""Seeded faults on the wire: all rates are 0 by default, and no request fails for ever."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from random import Random
from threading import Lock

import httpx

from simulator.registry import VENDORS

_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
#: Rates in the order in which they are tried; the rest of the probability is an undisturbed answer.
KINDS = (
    "rate_429",
    "rate_500",
    "timeouts",
    "truncated_json",
    "html",
    "repeated_page",
    "errors_in_200",
    "slow",
)


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as shares of the requests (0 to 1)."""

    seed: int = 0
    rate_429: float = 0  # throttled, with Retry-After
    rate_500: float = 0  # the vendor's own server error body
    timeouts: float = 0  # no answer in time
    truncated_json: float = 0  # 200, body cut short
    html: float = 0  # 200, a gateway's page instead of JSON
    repeated_page: float = 0  # the last answer of the same listing again
    errors_in_200: float = 0  # an error body with status 200, of vendors that have the habit
    slow: float = 0  # answered after `slow_seconds`
    slow_seconds: float = 2
    retry_after_seconds: int | None = 1
    vendors: Collection[str] = tuple(VENDORS)
    max_in_a_row: int = 2  # per method and URL, so that a bounded number of retries gets through
    token_endpoints: bool = (
        False  # whether token requests are failed too (before they have any effect)
    )


class FaultPlan:
    """Draws the faults of a run, one stream per vendor."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._streams: dict[str, Random] = {}
        self._running: dict[tuple[str, str, bytes], int] = {}
        self._last: dict[str, httpx.Response] = {}
        self._lock = Lock()
        self.counts: dict[str, int] = {}

    def draw(self, vendor: str, request: httpx.Request, *, token: bool) -> str | None:
        """Which fault, if any, hits this request."""
        faults = self.faults
        if vendor not in faults.vendors or (token and not faults.token_endpoints):
            return None
        key = (request.method, str(request.url), request.content)
        with self._lock:
            stream = self._streams.setdefault(vendor, Random(f"{faults.seed}/{vendor}"))
            kind = self._pick(vendor, stream.random())
            running = self._running.get(key, 0)
            if kind is None or running >= faults.max_in_a_row:
                self._running.pop(key, None)
                return None
            self._running[key] = running + 1
            self.counts[f"{vendor}/{kind}"] = self.counts.get(f"{vendor}/{kind}", 0) + 1
            return kind

    def _pick(self, vendor: str, point: float) -> str | None:
        for kind in KINDS:
            if kind == "errors_in_200" and VENDORS[vendor].error_in_200 is None:
                continue
            share = getattr(self.faults, kind)
            if point < share:
                return kind
            point -= share
        return None

    def spoil(
        self, kind: str | None, vendor: str, request: httpx.Request, response: httpx.Response
    ) -> httpx.Response:
        """Applies the faults that change an answer the vendor has already made."""
        if response.status_code != httpx.codes.OK:
            return response
        if kind == "truncated_json":
            body = response.content
            return httpx.Response(200, content=body[: len(body) * 2 // 3], headers=_typed(response))
        if kind == "html":
            return httpx.Response(200, content=_HTML, headers={"content-type": "text/html"})
        # Where lists differ in the body alone, a page of the same list differs in its numbers.
        asked = (
            re.sub(rb"\d+", b"", request.content).decode() if VENDORS[vendor].asks_in_body else ""
        )
        listing = f"{vendor} {request.method} {request.url.path} {asked}"
        with self._lock:
            earlier = self._last.get(listing)
            self._last[listing] = response
        if (
            kind == "repeated_page"
            and earlier is not None
            and " IN (" not in asked
            and '"$in"' not in asked
        ):
            return httpx.Response(200, content=earlier.content, headers=_typed(earlier))
        return response


def _typed(response: httpx.Response) -> dict[str, str]:
    return {"content-type": response.headers.get("content-type", "application/json")}
