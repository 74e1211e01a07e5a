"""One bench for every connector: a client whose network is a function, whose token store is a variable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import polars as pl
import pytest
import stamina

import simulator
from connectors import DESCRIBED, SYSTEMS, spec_for
from connectors.kit.http.auth import Token
from connectors.kit.http.client import Client, Timing, open_client
from connectors.kit.http.responses import Call
from connectors.kit.mapping import Mapped, fill, map_lookup, map_pages, missing
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, ConnectorSpec, Page, Window
from tests.support.systems import ENCRYPTED, SIMULATED
from tests.support.vendors import credentials, token_path

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
Handler = Callable[[httpx.Request], httpx.Response]
#: Systems described by an operator, as they are described here.
OPTIONS = {"custom": {"authentication": "client credentials", "requests_at_once": 4}}


@dataclass
class MemoryTokens:
    """A token store in a variable; `kept` lists what was stored, in order."""

    held: Token | None = None
    kept: list[Token] = field(default_factory=list)

    def read(self) -> Token | None:
        return self.held

    def refresh(self, stale: Token | None, renew: Callable[[Token | None], Token]) -> Token:
        if self.held is not None and self.held != stale:
            return self.held
        self.held = renew(self.held)
        self.kept.append(self.held)
        return self.held


@dataclass
class Bench:
    """One system under test."""

    spec: ConnectorSpec
    world: simulator.World
    clock: simulator.ManualClock
    tokens: MemoryTokens = field(default_factory=MemoryTokens)
    calls: list[Call] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    page_size: int | None = 25
    before: Callable[[httpx.Request], httpx.Response | None] | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> Account:
        name = self.spec.name
        # A custom system may be reached without encryption on this machine.
        scheme = "https" if name in ENCRYPTED - {*DESCRIBED} else "http"
        return Account(
            system=name,
            account=simulator.ACCOUNTS[name],
            base_url=f"{scheme}://127.0.0.1:9/{name}",
            token_url=f"http://127.0.0.1:9/{name}{token_path(name)}",
            page_size=self.page_size,
            redirect_uri="https://example.org/consent",
            **{"options": OPTIONS.get(name, {}), **credentials(self.world, name), **self.changes},
        )

    @contextmanager
    def client(self) -> Iterator[Client]:
        api = simulator.handler(self.world, self.spec.name)

        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            early = self.before(request) if self.before else None
            return api(request) if early is None else early

        timing = Timing(
            monotonic=lambda: self.clock().timestamp(), sleep=self.clock.sleep, now=self.clock
        )
        with open_client(
            self.connection,
            self.spec,
            self.tokens,
            transport=httpx.MockTransport(answer),
            on_call=self.calls.append,
            timing=timing,
        ) as client:
            yield client

    def pages(self, stream: str, window: Window | None = None, **options: Any) -> list[Page]:
        with self.client() as client:
            return list(
                extract(self.spec, self.spec.stream(stream), client, window or Window(), **options)
            )

    def read(self, window: Window | None = None) -> Mapped:
        """Everything, as one sync reads it."""
        parts = []
        for stream in self.spec.streams:
            pages = [
                (number, page.body)
                for number, page in enumerate(self.pages(stream.name, window), 1)
            ]
            parts.append(self._filled(stream.name, pages))
        return Mapped(
            *(
                pl.concat([getattr(one, name) for one in parts])
                for name in ("invoices", "lines", "problems", "deletions")
            ),
            record_count=sum(one.record_count for one in parts),
            listed=pl.concat([one.listed for one in parts]),
        )

    def _filled(self, stream: str, pages: list[tuple[int, bytes]]) -> Mapped:
        of = self.spec.stream(stream)
        mapped = map_pages(self.spec, of, self.connection, pages)
        frames = {"customers": [], "items": []}
        for lookup in self.spec.lookups:
            ids = missing(self.spec, mapped)[lookup.name]
            with self.client() as client:
                for page in look_up(self.spec, lookup, client, ids):
                    frames[lookup.name].append(
                        map_lookup(self.spec, lookup, self.connection, page.body)
                    )
        customers = pl.concat(
            [
                pl.DataFrame(schema={"external_id": pl.String, "phone": pl.String}),
                *frames["customers"],
            ]
        )
        customers = customers.unique("external_id", keep="last", maintain_order=True)
        empty = pl.DataFrame(schema={"external_id": pl.String, "name": pl.String, "sku": pl.String})
        return fill(mapped, customers, pl.concat([empty, *frames["items"]]))

    def api_requests(self) -> list[httpx.Request]:
        """Requests sent, but those for tokens."""
        return [request for request in self.requests if "token" not in request.url.path]

    def with_spec(self, **changes: Any) -> None:
        self.spec = replace(self.spec, **changes)


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Retries happen, their waits do not."""
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture(params=sorted([*SIMULATED, *OPTIONS]))
def bench(request: pytest.FixtureRequest) -> Bench:
    """Every system in turn, over a small world."""
    return make_bench(request.param)


def make_bench(system: str, **world: Any) -> Bench:
    clock = simulator.ManualClock(NOW)
    options = {
        "customers": 30,
        "invoices": 120,
        "now": clock,
        "days": 25,
        "sleep": clock.sleep,
        "systems": (system,),
    } | world
    bench = Bench(SYSTEMS.get(system, SYSTEMS["xero"]), simulator.World(seed=11, **options), clock)
    if system in DESCRIBED:
        bench.spec = replace(bench.spec, name=system)
        bench.spec = spec_for(bench.connection)
    return bench


@cache
def whole_read(system: str, **world: int) -> Mapped:
    """A full read of a system's small world, for all tests that only look at it."""
    return make_bench(system, **world).read()


@pytest.fixture
def benches() -> Callable[..., Bench]:
    """Makes a bench of one system, with options of the simulated world."""
    return make_bench


@pytest.fixture
def since() -> datetime:
    return NOW - timedelta(days=5)
