"""What is particular to one vendor: limits, lookups, deletions, totals, and pages without paging."""

import json
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import httpx
import pytest

import simulator
from connectors.kit.errors import RateLimited
from connectors.kit.http.retry import RetryDecision
from connectors.kit.mapping import map_lookup
from connectors.kit.read.look_up import look_up
from connectors.kit.spec import RetryPolicy, Window
from tests.support.systems import SIMULATED


def ids_on(bench: Any, pages: list[Any], lookup: str) -> list[str]:
    of = bench.spec.lookup(lookup)
    return [
        key
        for page in pages
        for key in map_lookup(bench.spec, of, bench.connection, page.body)["external_id"]
    ]


#: Systems whose customers are looked up.
WITH_CUSTOMERS = sorted(
    name
    for name, spec in SIMULATED.items()
    if any(lookup.name == "customers" for lookup in spec.lookups)
)


def in_batches(bench: Any, customers: Collection[str]) -> bool:
    """Whether one request asks for many customers."""
    requests = bench.spec.lookup("customers").requests(bench.connection, sorted(customers))
    return 0 < len(list(requests)) < len(customers)


@pytest.mark.parametrize("system", sorted(SIMULATED))
def test_stays_within_the_vendors_limits(benches: Callable[..., Any], system: str) -> None:
    """Where the simulator enforces the published limits, not one call is throttled."""
    bench = benches(system, limit_scale=1, invoices=200)
    bench.page_size = 1
    bench.pages(bench.spec.streams[0].name)
    assert len(bench.calls) > 140
    assert not [call for call in bench.calls if call.throttled]


def test_quickbooks_429_without_retry_after_waits_a_minute(benches: Callable[..., Any]) -> None:
    bench = benches("quickbooks")
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: None if "token" in request.url.path else httpx.Response(429)
    with pytest.raises(RateLimited) as caught:
        bench.pages("invoices")
    assert caught.value.retry_after_seconds == 60
    assert RetryDecision(RetryPolicy()).backoff(caught.value) == 60


@pytest.mark.parametrize("system", WITH_CUSTOMERS)
def test_customers_are_read_in_batches(benches: Callable[..., Any], system: str) -> None:
    bench = benches(system, customers=130, invoices=1)
    customers = bench.world.books[system].customers
    if not in_batches(bench, customers):
        pytest.skip("each customer is asked for alone")
    with bench.client() as client:
        pages = list(
            look_up(bench.spec, bench.spec.lookup("customers"), client, [*customers, "999999"])
        )
    found = set(ids_on(bench, pages, "customers"))
    assert found == set(customers)
    assert len(bench.api_requests()) < len(customers) / 3
    assert [page.page_no for page in pages] == list(range(1, len(pages) + 1))


def test_freshbooks_asks_one_by_one_for_clients_that_do_not_come_back(
    benches: Callable[..., Any],
) -> None:
    """A server that does not know search[ids] lists its first page; the others are asked for by id."""
    bench = benches("freshbooks", customers=20)
    keys = sorted(bench.world.books["freshbooks"].customers)

    def deaf(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/clients"):
            body = {
                "response": {
                    "result": {"clients": [], "page": 1, "pages": 1, "per_page": 15, "total": 0}
                }
            }
            return httpx.Response(200, json=body)
        return None

    bench.before = deaf
    with bench.client() as client:
        pages = list(look_up(bench.spec, bench.spec.lookup("customers"), client, keys))
    assert sorted(ids_on(bench, pages, "customers")) == keys


def test_no_ids_no_calls(bench: Any) -> None:
    with bench.client() as client:
        for lookup in bench.spec.lookups:
            assert list(look_up(bench.spec, lookup, client, [])) == []
    assert bench.requests == []


@pytest.mark.parametrize("days", [None, 31])
def test_quickbooks_deletions_need_a_recent_window(
    benches: Callable[..., Any], days: int | None
) -> None:
    bench = benches("quickbooks")
    since = bench.clock() - timedelta(days=days) if days else None
    assert bench.pages("deletions", Window(since, None)) == []


def test_quickbooks_full_change_data_is_asked_for_by_entity(benches: Callable[..., Any]) -> None:
    """A thousand objects may be cut off and there is no paging: each entity is asked for alone."""
    bench = benches("quickbooks")
    many = {"QueryResponse": [{"Invoice": [{"Id": str(n)} for n in range(1000)]}]}
    one = {"QueryResponse": [{"CreditMemo": [{"Id": "7", "status": "Deleted"}]}, {}]}

    def full(request: httpx.Request) -> httpx.Response | None:
        entities = request.url.params.get("entities")
        if entities is None:
            return None
        return httpx.Response(200, json={"CDCResponse": [many if "," in entities else one]})

    bench.before = full
    pages = bench.pages("deletions", Window(bench.clock() - timedelta(days=1), None))
    asked = [request.url.params["entities"] for request in bench.api_requests()]
    entities = ["Invoice", "SalesReceipt", "CreditMemo", "RefundReceipt"]
    assert asked == [",".join(entities), *entities]  # none of them is full by itself
    assert [page.page_no for page in pages] == [1, 2, 3, 4, 5]


def test_quickbooks_deletions_beyond_a_thousand_changes_are_found(
    benches: Callable[..., Any],
) -> None:
    """An entity that fills an answer by itself may have been cut off: all that still exist are listed instead."""
    bench = benches("quickbooks", invoices=1700, days=20)
    mapped = bench.read(Window(bench.clock() - timedelta(days=25), None))
    asked = [request.url.params.get("query", "") for request in bench.api_requests()]
    assert any(one.startswith("SELECT Id FROM Invoice") for one in asked)
    truth = [row for row in bench.world.truth() if row.system == "quickbooks"]
    known = {row.external_id for row in truth if row.kind == "invoice" and not row.deleted}
    assert set(mapped.listed["external_id"]) == known
    assert set(mapped.listed["kind"]) == {"invoice"}
    told = set(mapped.deletions["external_id"])
    gone = {row.external_id for row in truth if row.deleted}
    assert told < gone  # cut off, indeed
    assert {one for one in gone - told if "/" in one} == set()


def test_quickbooks_deletions_older_than_change_data_are_found(benches: Callable[..., Any]) -> None:
    """Change data goes thirty days back: after a longer pause, all that still exist are listed."""
    bench = benches("quickbooks", invoices=300)
    mapped = bench.read(Window(bench.clock() - timedelta(days=45), None))
    alive = {
        row.external_id
        for row in bench.world.truth()
        if row.system == "quickbooks" and not row.deleted
    }
    assert set(mapped.listed["external_id"]) == alive
    assert set(mapped.listed["kind"]) == {"invoice", "sale", "credit_note", "refund"}
    assert mapped.deletions.is_empty()


def test_a_cut_off_list_of_what_exists_is_no_list_of_deletions(benches: Callable[..., Any]) -> None:
    """A short page of ids is not taken for the last one: what is missing would lose its points."""
    bench = benches("quickbooks", invoices=300)

    def short(request: httpx.Request) -> httpx.Response | None:
        statement = request.url.params.get("query", "")
        if not statement.startswith("SELECT Id") or "MAXRESULTS 20" in statement:
            return None
        url = request.url.copy_set_param(
            "query", statement.replace("MAXRESULTS 1000", "MAXRESULTS 20")
        )
        with simulator.client(bench.world, "quickbooks") as api:
            answer = api.get(
                url.raw_path.decode().removeprefix("/quickbooks"), headers=request.headers
            )
        body = answer.json()
        body["QueryResponse"].pop("totalCount", None)
        return httpx.Response(200, json=body)

    bench.before = short
    mapped = bench.read(Window(bench.clock() - timedelta(days=45), None))
    alive = {
        row.external_id
        for row in bench.world.truth()
        if row.system == "quickbooks" and not row.deleted
    }
    assert set(mapped.listed["external_id"]) == alive


def xero_server(total: int, size: int) -> Callable[[httpx.Request], httpx.Response | None]:
    """A server that pages by its own size and says nothing about it."""
    rows = [{"InvoiceID": f"id-{number}", "Type": "ACCREC"} for number in range(total)]

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        page = int(request.url.params["page"])
        return httpx.Response(200, json={"Invoices": rows[(page - 1) * size : page * size]})

    return answer


@pytest.mark.parametrize("total", [0, 99, 100, 101, 200, 250])
def test_xero_servers_without_a_pagination_object(benches: Callable[..., Any], total: int) -> None:
    """We ask for a thousand, the server gives a hundred at most and no page count: all is read."""
    bench = benches("xero")
    bench.page_size = None
    bench.before = xero_server(total, 100)
    rows = [
        row["InvoiceID"]
        for page in bench.pages("invoices")
        for row in json.loads(page.body)["Invoices"]
    ]
    assert sorted(set(rows)) == sorted(f"id-{number}" for number in range(total))


def test_a_total_higher_than_what_was_listed_is_read_again(benches: Callable[..., Any]) -> None:
    """A row skipped by a shifting list is found in the second pass; a total that is simply wrong ends the third."""
    bench = benches("xero")
    bench.page_size = None
    rows = [{"InvoiceID": f"id-{number}", "Type": "ACCREC"} for number in range(5)]

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "token" in request.url.path:
            return None
        shown = rows[1:] if len(bench.api_requests()) == 1 else rows
        pagination = {"page": 1, "pageSize": 100, "pageCount": 1, "itemCount": 5}
        return httpx.Response(200, json={"pagination": pagination, "Invoices": shown})

    bench.before = answer
    assert [page.record_count for page in bench.pages("invoices")] == [4, 5]
    rows.pop()
    bench.requests.clear()
    assert len(bench.pages("invoices")) == 3


def test_xero_sends_the_window_as_a_header(benches: Callable[..., Any]) -> None:
    bench = benches("xero")
    bench.pages("invoices")
    bench.pages("invoices", Window(bench.clock() - timedelta(hours=1), None))
    sent = [request.headers.get("if-modified-since") for request in bench.api_requests()]
    assert sent[0] is None
    assert sent[-1] == "2026-05-20T11:00:00Z"
    assert {request.headers["xero-tenant-id"] for request in bench.api_requests()} == {
        bench.connection.account
    }


def test_freshbooks_renews_with_a_json_body(benches: Callable[..., Any]) -> None:
    bench = benches("freshbooks")
    bench.pages("invoices")
    body = json.loads(bench.requests[0].content)
    assert body["grant_type"] == "refresh_token"
    assert body["redirect_uri"] == bench.connection.redirect_uri
    assert "authorization" not in bench.requests[0].headers


@pytest.mark.parametrize("system", ["quickbooks", "xero"])
def test_the_others_renew_with_basic_and_a_form(benches: Callable[..., Any], system: str) -> None:
    bench = benches(system)
    bench.pages("invoices")
    assert bench.requests[0].headers["authorization"].startswith("Basic ")
    assert b"grant_type=refresh_token" in bench.requests[0].content
