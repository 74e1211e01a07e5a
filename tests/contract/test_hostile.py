"""The hostile vendor: every fault of tests/support/hostile.py against every billing system."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

import simulator
from connectors.kit.errors import ConnectorError, TooManyPages, UnexpectedShape
from connectors.kit.mapping import map_pages
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import Lookup, PageRequest, Stream, Window
from tests.contract.conftest import OPTIONS, make_bench, whole_read
from tests.support import hostile
from tests.support.hostile import FAULTS, Fault, Scene
from tests.support.systems import SIMULATED

ROOT = Path(__file__).resolve().parents[2]
#: A world of a few pages.
SMALL = {"customers": 10, "invoices": 40}


@pytest.fixture(params=sorted([*SIMULATED, *OPTIONS]))
def bench(request: pytest.FixtureRequest) -> Any:
    """Every system in turn, over a world of a few pages: each fault reads it once or twice."""
    return make_bench(request.param, **SMALL)


@cache
def calm_pages(system: str) -> list[int]:
    """Records on each page of ten of the first list, before anything goes wrong."""
    bench = make_bench(system, **SMALL)
    bench.page_size = 10
    return [page.record_count for page in bench.pages(bench.spec.streams[0].name)]


def is_put_together(stream: Stream) -> bool:
    """Whether pages are stored with what was asked for one by one: documents, or their lines."""
    return stream.incomplete or any(rest.when == rest.owner for rest in stream.rest)


def play(bench: Any, fault: Fault) -> None:
    """From now on the vendor answers every request for a list with the fault."""
    stream = bench.spec.streams[0]
    scene = Scene(bench.spec.name, stream.records, bench.clock.sleep)
    api = simulator.handler(bench.world, bench.spec.name)

    def spoiled(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        response = api(request)
        scene.path = request.url.path
        return fault.spoil(scene, response) if response.is_success else response

    bench.before = spoiled
    bench.with_spec(**fault.bounds)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_a_fault_does_to_a_run(bench: Any, fault: Fault) -> None:
    """It comes to the same result, or ends bounded in requests and time, saying what happened; then it passes."""
    bench.page_size = 10
    stream, spec, calm = bench.spec.streams[0].name, bench.spec, calm_pages(bench.spec.name)
    play(bench, fault)
    if fault.error is None:
        assert [page.record_count for page in bench.pages(stream)] == calm
    else:
        with pytest.raises(fault.error, match=fault.says) as caught:
            bench.pages(stream)
        # (An operator's own API has errors of its own for a list that is elsewhere, and for saying
        # that it failed.)
        own = {spec.no_list, spec.error_answer} if fault.error is UnexpectedShape else set()
        assert type(caught.value) in {fault.error, *own}
        assert "secret" not in str(caught.value)
        assert str(caught.value).rstrip().endswith(".")  # advice
        assert bool(getattr(caught.value, "body", None)) == fault.kept
        asked = [
            (request.method, str(request.url), request.content) for request in bench.api_requests()
        ]
        assert fault.requests is None or max(map(asked.count, asked)) == fault.requests
    assert {request.url.host for request in bench.requests} == {"127.0.0.1"}
    bench.before, bench.spec = None, spec
    assert [page.record_count for page in bench.pages(stream)] == calm


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.error is None], ids=lambda fault: fault.name
)
def test_what_is_read_in_spite_of_it_is_the_same(bench: Any, fault: Fault) -> None:
    calm = whole_read(bench.spec.name, **SMALL)
    play(bench, fault)
    again = bench.read()
    assert again.invoices.equals(calm.invoices)
    assert again.lines.equals(calm.lines)


def test_bombs_stay_small_in_memory(benches: Callable[..., Any]) -> None:
    """100 MB never exist: what is unpacked is counted piece by piece."""
    bench = benches("custom")
    (fault,) = (fault for fault in FAULTS if fault.name == "gzip_bomb")
    play(bench, fault)
    hostile.bomb()
    tracemalloc.start()
    try:
        with pytest.raises(ConnectorError, match="larger than"):
            bench.pages(bench.spec.streams[0].name)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_other_charsets_keep_their_letters(benches: Callable[..., Any]) -> None:
    """Not only is it read: names are what they were."""
    bench = benches("xero")
    names = [name for name in bench.read().lines["name"].to_list() if name and not name.isascii()]
    assert names
    for fault in FAULTS:
        if fault.name in ("old_charset", "utf16", "wrong_charset", "byte_order_mark"):
            play(bench, fault)
            assert [
                name for name in bench.read().lines["name"].to_list() if name and not name.isascii()
            ] == names


def test_a_letter_that_is_not_utf8_costs_one_record(bench: Any) -> None:
    """The rest of the page is read."""
    pages = bench.pages(bench.spec.streams[0].name)
    page = next(page for page in pages if page.record_count)
    calm = map_pages(bench.spec, bench.spec.streams[0], bench.connection, [(1, page.body)])
    number = calm.invoices["invoice_number"][3].encode()
    spoiled = page.body.replace(b'"' + number + b'"', b'"' + number[:-1] + b'\xff"')
    assert spoiled != page.body
    again = map_pages(bench.spec, bench.spec.streams[0], bench.connection, [(1, spoiled)])
    assert calm.invoices.height - again.invoices.height == 1
    assert again.problems.height > calm.problems.height


def test_half_a_character_costs_nothing_where_nobody_reads_it(bench: Any) -> None:
    """Pages are read as without it, and stay as they were sent."""
    calm = bench.read()
    stream = bench.spec.streams[0].name
    api = simulator.handler(bench.world, bench.spec.name)

    def spoiled(request: httpx.Request) -> httpx.Response | None:
        response = api(request)
        if "token" in request.url.path or not response.is_success or b"{" not in response.content:
            return None
        body = response.content.replace(b"{", rb'{"_note":"\ud83d","_rate":NaN,', 1)
        return httpx.Response(
            200, content=body.replace(b",}", b"}"), headers={"content-type": "application/json"}
        )

    bench.before = spoiled
    again = bench.read()
    assert again.invoices.equals(calm.invoices)
    assert again.lines.equals(calm.lines)
    if not is_put_together(bench.spec.streams[0]):
        assert rb'"\ud83d","_rate":NaN' in bench.pages(stream)[0].body


def test_only_what_can_be_unpacked_safely_is_asked_for(bench: Any) -> None:
    bench.pages(bench.spec.streams[0].name)
    assert {request.headers["accept-encoding"] for request in bench.api_requests()} == {"gzip"}


@pytest.mark.parametrize(
    ("off", "ahead"), [(-7200, 7200), (7200, 0), (0, 0)], ids=["behind", "ahead", "agreeing"]
)
def test_the_vendors_clock_is_compared(bench: Any, off: int, ahead: int) -> None:
    """By the Date of its answers, to two seconds; a slow answer, or a Date that is none, says nothing."""
    api = simulator.handler(bench.world, bench.spec.name)
    dates = iter([None, "yesterday", "Thu, 99 Foo 2026", "Fri, 31 Dec 9999 23:59:59 -2300"])

    def dated(request: httpx.Request) -> httpx.Response:
        response = api(request)
        bench.clock.sleep(20)
        said = next(dates, "") if "token" not in request.url.path else None
        told = format_datetime(bench.clock() + timedelta(seconds=off)) if said == "" else said
        if told:
            response.headers["date"] = told
        return response

    bench.before, bench.page_size = dated, 10
    with bench.client() as client:
        stream = bench.spec.streams[0]
        request = stream.first(client.account, Window(), bench.clock())
        for _ in range(6):
            client.send(request, "invoices")
        assert client.clock_ahead_seconds == pytest.approx(
            max(0, ahead - 20 if ahead else 0), abs=2
        )


def test_endless_empty_pages_of_a_lookup(benches: Callable[..., Any]) -> None:
    """Nothing in them, and always another one: no records repeat, and it ends all the same."""
    bench = benches("xero")
    bench.with_spec(page_limit=5)
    real = bench.spec.lookup("customers")

    def turning(request: PageRequest) -> Any:
        while True:
            yield request
            request = request.turn()

    lookup: Lookup = replace(real, paginate=turning)
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(200, json={"Contacts": []})
    )
    with bench.client() as client, pytest.raises(TooManyPages, match="more than 5 pages"):
        list(look_up(bench.spec, lookup, client, {"a"}))
    assert len(bench.api_requests()) == 6


def test_nothing_changed_since_is_an_empty_list(benches: Callable[..., Any], since: Any) -> None:
    """304 to a conditional request: no page, no error; to any other request it is none of the vendor's answers."""
    bench = benches("xero")
    bench.before = lambda request: None if "token" in request.url.path else httpx.Response(304)
    assert bench.pages("invoices", Window(since)) == []
    assert "if-modified-since" in bench.api_requests()[-1].headers
    with pytest.raises(ConnectorError, match="304"):
        bench.pages("invoices")


def test_the_guide_has_the_same_table() -> None:
    guide = (ROOT / "docs" / "hostile-vendors.md").read_text()
    wanted = hostile.table()
    assert wanted in guide, (
        f"docs/hostile-vendors.md must hold (python -m tests.support.hostile prints it):\n{wanted}"
    )
