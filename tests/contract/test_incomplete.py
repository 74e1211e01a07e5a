"""An answer that is a part is not taken for the whole."""

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import httpx
import pytest

from connectors.kit.errors import Misconfigured, Transient
from connectors.kit.mapping import map_lookup, map_page
from connectors.kit.read.look_up import look_up
from connectors.kit.read.pages import extract
from connectors.kit.spec import Window
from tests.contract.test_moving_lists import APIS, Desk, Moving
from tests.contract.test_vendors import WITH_CUSTOMERS, in_batches


@pytest.mark.parametrize("system", WITH_CUSTOMERS)
def test_customers_that_did_not_come_are_asked_for_again(
    benches: Callable[..., Any], system: str
) -> None:
    """A server gives fewer records than it was asked for; nobody's phone is missing for that."""
    bench = benches(system, customers=130, invoices=1)
    customers = bench.world.books[system].customers
    of = bench.spec.lookup("customers")
    if not in_batches(bench, customers) or of.paginate or of.keyed or not of.records:
        pytest.skip("each is asked for alone, or an answer is no list in an object")
    serve, cut = bench.client, 0

    def short(response: httpx.Response) -> httpx.Response:
        nonlocal cut
        body = response.json()
        *above, last = of.records.strip("/").split("/")
        place = body
        for part in above:
            place = place.get(part) or {}
        if isinstance(place, dict) and len(place.get(last) or ()) > 20:
            place[last], cut = place[last][:20], cut + 1
            return httpx.Response(200, json=body)
        return response

    with serve() as client:
        send = client._http.send
        client._http.send = lambda request, **more: short(_read(send(request, **more)))
        pages = list(look_up(bench.spec, bench.spec.lookup("customers"), client, list(customers)))
    found = {
        key
        for page in pages
        for key in map_lookup(bench.spec, of, bench.connection, page.body)["external_id"]
    }
    assert cut
    assert found == set(customers)


def _read(response: httpx.Response) -> httpx.Response:
    response.read()
    return response


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_packed_body_that_is_cut_off_is_no_answer(bench: Any, cut: int) -> None:
    """Asked for again, and then said so: half a body might be read as a whole one."""
    packed = gzip.compress(b"[" + b" " * 5000 + b"]")[:-cut]

    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield packed

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Cut())

    bench.before = answer
    with pytest.raises(Transient, match="no answer"):
        bench.pages(bench.spec.streams[0].name)
    assert len(bench.api_requests()) == bench.spec.retry.attempts


@pytest.mark.parametrize("system", ["netsuite", "sage_intacct"])
def test_a_page_with_nothing_and_more_to_come_is_not_the_last(
    benches: Callable[..., Any], system: str
) -> None:
    bench = benches(system)
    empty = {
        "netsuite": {"items": [], "hasMore": True, "count": 0, "offset": 0, "totalResults": 40},
        "sage_intacct": {"ia::result": [], "ia::meta": {"totalCount": 40, "next": 26}},
    }[system]

    def hollow(request: httpx.Request) -> httpx.Response | None:
        return None if "token" in request.url.path else httpx.Response(200, json=empty)

    bench.before = hollow
    for stream in bench.spec.streams:
        with pytest.raises(Transient):
            bench.pages(stream.name, Window(bench.clock() - timedelta(days=1), None))


def test_a_part_of_a_list_without_paging_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """206 says that there is more; without paging nobody would ask for it."""
    desk = Desk("offset", Moving("id asc", Random(1)), still=True, options={"paging": "none"})

    def part(moving: Moving, _params: httpx.QueryParams) -> httpx.Response:
        return httpx.Response(206, json={"data": moving.listed()[:5]})

    monkeypatch.setitem(APIS, "offset", (part, APIS["offset"][1]))
    with desk.client() as client, pytest.raises(Misconfigured, match="206"):
        list(extract(desk.spec, desk.spec.streams[0], client, Window()))


@pytest.mark.parametrize(("more", "ok"), [(True, False), (False, True), (None, True)])
def test_the_first_page_of_a_documents_lines_is_not_all_of_them(
    *, more: bool | None, ok: bool
) -> None:
    desk = Desk("offset", Moving("id asc", Random(1)), options={"lines": "/lines/data"})
    row = desk.moving.listed()[0] | {
        "lines": {"data": [{"sku": "A", "quantity": 1, "amount": "1.00"}]}
    }
    if more is not None:
        row["lines"]["has_more"] = more
    body = json.dumps({"data": [row]}).encode()
    mapped = map_page(desk.spec, desk.spec.streams[0], desk.connection, body, page_id=1)
    assert mapped.problems.is_empty() is ok
    if not ok:
        assert mapped.problems["field"].to_list() == ["all_lines"]
