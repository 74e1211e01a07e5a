"""What is particular to Shopify: points of cost, long orders, errors beside data, and what an order is worth after all that happened to it."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import CredentialsRejected, PermissionMissing, RateLimited
from connectors.kit.http.client import Timing, open_client
from connectors.kit.http.retry import RetryDecision
from connectors.kit.mapping import map_page, map_pages, try_record
from connectors.kit.read.fetch import fetch
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, RetryPolicy, Window
from connectors.shopify.graphql import (
    EVENTS_MAX,
    ORDERS_MAX,
    QUERIES,
    VERSION,
    global_id,
)
from panel.blocks import BLOCKS
from simulator.systems.shopify.schema import COST_MAX, Query

SPEC = SYSTEMS["shopify"]
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples" / "shopify"
SHEET = SAMPLES.parents[1] / "vendors" / "shopify.md"
ACCOUNT = Account("shopify", "agua-twezah")


@pytest.fixture
def bench(benches: Callable[..., Any]) -> Any:
    return benches("shopify")


def money(amount: str, theirs: str | None = None) -> dict[str, Any]:
    return {
        "shopMoney": {"amount": amount},
        "presentmentMoney": {"amount": theirs or amount, "currencyCode": "EUR"},
    }


def line(sku: str, price: str, sold: int = 1, left: int | None = None, **more: Any) -> Any:
    return {
        "id": f"gid://shopify/LineItem/{sku}", "sku": sku, "title": f"Água {sku}", "quantity": sold,
        "currentQuantity": sold if left is None else left, "isGiftCard": False,
        "discountedUnitPriceAfterAllDiscountsSet": money(price), **more,
    }  # fmt: skip


def order(*lines: Any, total: str, now: str | None = None, back: str = "0.0", **more: Any) -> Any:
    """An order as the query asks for it."""
    return {
        "legacyResourceId": "450789469", "name": "#1001", "test": False,
        "processedAt": "2026-01-10T09:00:00Z", "updatedAt": "2026-01-11T10:00:00Z", "cancelledAt": None,
        "displayFinancialStatus": "PAID", "currencyCode": "AOA", "phone": None,
        "customer": {"legacyResourceId": "207119551", "defaultPhoneNumber": {"phoneNumber": "+244923456789"}},
        "billingAddress": None, "shippingAddress": None,
        "totalPriceSet": money(total, "1.00"), "currentTotalPriceSet": money(total if now is None else now),
        "totalRefundedSet": money(back), "totalTaxSet": money("0.0"), "currentTotalTaxSet": money("0.0"),
        "totalTipReceivedSet": money("0.0"),
        "lineItems": {"nodes": list(lines), "pageInfo": {"hasNextPage": False, "endCursor": None}},
        **more,
    }  # fmt: skip


def page_of(*orders: Any) -> bytes:
    return json.dumps(
        {"data": {"orders": {"nodes": orders, "pageInfo": {"hasNextPage": False}}}}
    ).encode()


def mapped(*orders: Any) -> Any:
    return map_page(SPEC, SPEC.streams[0], ACCOUNT, page_of(*orders), page_id=1)


def worth(one: Any) -> tuple[str, int, int, list[tuple[str, int]]]:
    """Status, total, given back, and (sku, quantity) of the lines."""
    read = mapped(one)
    assert read.problems.is_empty(), read.problems.to_dicts()
    (row,) = read.invoices.to_dicts()
    lines = [(sku, int(count)) for sku, count in read.lines.select("sku", "quantity").rows()]
    return row["status"], row["total_minor"], row["amount_refunded_minor"], lines


A, B = line("A", "100.00"), line("B", "60.00")
CARD = line("CARD", "50.00", isGiftCard=True)
WORTH = {
    "paid": (order(A, B, total="160.00"), ("paid", 16000, 0, [("A", 1), ("B", 1)])),
    "a line given back in money": (
        order(A, line("B", "60.00", 1, 0), total="160.00", now="100.00", back="60.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 16000, 6000, [("A", 1), ("B", 1)]),
    ),
    "all of it given back": (
        order(line("A", "100.00", 1, 0), total="100.00", now="0.0", back="100.00", displayFinancialStatus="REFUNDED"),
        ("paid", 10000, 10000, [("A", 1)]),
    ),
    "money without goods, which lowers the current total": (
        order(A, total="100.00", now="90.00", back="10.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 10000, 1000, [("A", 1)]),
    ),
    "money without goods, which does not": (
        order(A, total="100.00", back="10.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 10000, 1000, [("A", 1)]),
    ),
    "exchanged for the same price": (
        order(line("A", "100.00", 1, 0), line("C", "100.00"), total="200.00", now="100.00"),
        ("paid", 10000, 0, [("C", 1)]),
    ),
    "exchanged for less, the rest given back": (
        order(line("A", "100.00", 1, 0), B, total="160.00", now="60.00", back="40.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 10000, 4000, [("B", 1)]),
    ),
    "exchanged for more, the rest not paid yet": (
        order(line("B", "60.00", 1, 0), A, total="160.00", now="100.00", displayFinancialStatus="PARTIALLY_PAID"),
        ("open", 10000, 0, [("A", 1)]),
    ),
    "edited before it was paid": (
        order(A, line("B", "60.00", 3, 1), total="280.00", now="160.00", displayFinancialStatus="PENDING"),
        ("open", 16000, 0, [("A", 1), ("B", 1)]),
    ),
    "authorised": (order(A, total="100.00", displayFinancialStatus="AUTHORIZED"), ("open", 10000, 0, [("A", 1)])),
    "expired": (order(A, total="100.00", displayFinancialStatus="EXPIRED"), ("void", 10000, 0, [("A", 1)])),
    "payment voided": (order(A, total="100.00", displayFinancialStatus="VOIDED"), ("void", 10000, 0, [("A", 1)])),
    "cancelled and given back": (
        order(line("A", "100.00", 1, 0), total="100.00", now="0.0", back="100.00", displayFinancialStatus="REFUNDED", cancelledAt="2026-01-12T10:00:00Z"),
        ("void", 10000, 10000, [("A", 1)]),
    ),
    "a tip is nothing that was bought": (
        order(A, total="115.00", totalTipReceivedSet=money("15.00")), ("paid", 10000, 0, [("A", 1)]),
    ),
    "a gift card is sold": (order(A, CARD, total="150.00"), ("paid", 10000, 0, [("A", 1)])),
    "nothing but a gift card": (order(CARD, total="50.00"), ("paid", 0, 0, [])),
    "the gift card is given back": (
        order(A, line("CARD", "50.00", 1, 0, isGiftCard=True), total="150.00", now="100.00", back="50.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 10000, 0, [("A", 1)]),
    ),
    "shipping counts": (order(A, total="120.00"), ("paid", 12000, 0, [("A", 1)])),
    "a fee is kept of what is given back": (
        order(A, line("B", "60.00", 1, 0), total="160.00", now="110.00", back="50.00", displayFinancialStatus="PARTIALLY_REFUNDED"),
        ("paid", 16000, 5000, [("A", 1), ("B", 1)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WORTH)
def test_what_an_order_is_worth(case: str) -> None:
    assert worth(WORTH[case][0]) == WORTH[case][1]


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [("JPY", "1000", 1000), ("KWD", "1.234", 1234), ("AOA", "0.0", 0)],
)
def test_amounts_are_read_by_the_shops_currency(currency: str, amount: str, minor: int) -> None:
    """The buyer's currency (presentment money) is not looked at."""
    assert worth(order(total=amount, currencyCode=currency))[1] == minor


def test_the_sale_has_its_moment() -> None:
    (row,) = mapped(order(A, total="100.00")).invoices.to_dicts()
    assert row["issued_at"].isoformat() == "2026-01-10T09:00:00+00:00"
    assert (row["kind"], row["invoice_number"], row["external_id"]) == ("sale", "#1001", "450789469")  # fmt: skip


def test_tests_and_nobodys_orders_are_left_out_and_phones_are_found() -> None:
    address = {"phone": "923 456 789"}
    read = mapped(
        order(total="1.00", test=True),
        order(total="1.00", customer=None),
        order(total="1.00", customer=None, shippingAddress=address),
        order(total="1.00", phone="+244 923 000 001"),
        order(total="1.00", customer={"legacyResourceId": "7", "defaultPhoneNumber": None}),
    )
    assert read.walk_ins.height == 1
    assert read.problems.is_empty()  # the last one's phone is looked up
    assert read.invoices["customer_phone"].to_list() == ["+244923456789", "+244923000001", None]


def test_a_state_that_is_missing_or_new_is_a_reject() -> None:
    for state in (None, "PAID_BY_DREAM"):
        read = mapped(order(A, total="100.00", displayFinancialStatus=state))
        assert read.problems["field"].to_list() == ["status"]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(value=ANYTHING, data=st.data())
def test_any_value_anywhere_is_survived(value: Any, data: st.DataObject) -> None:
    """The order is read, named as a reject, left out as a test's or nobody's, and never lost."""
    one = order(A, total="100.00")
    name = data.draw(st.sampled_from(sorted(one)))
    one[name] = value
    if name == "lineItems":
        one[name] = {"nodes": [A | {data.draw(st.sampled_from(sorted(A))): value}]}
    read = mapped(one, order(total="1.00", legacyResourceId="2"))
    assert read.record_count == 2
    assert "2" in read.invoices["external_id"].to_list()
    told = {*read.invoices["record_no"], *read.problems["record_no"], *read.walk_ins["record_no"]}
    assert 0 in told or (name, value) == ("test", True)


def test_every_query_costs_less_than_shopify_allows() -> None:
    """By the vendor's rule: an object a point, a list as many as are asked for."""
    largest: dict[str, dict[str, Any]] = {
        "orders": {"first": ORDERS_MAX, "search": ""},
        "orders by id": {"ids": [global_id("Order", "1")] * ORDERS_MAX},
        "lines": {"id": global_id("Order", "1"), "first": 250, "after": "x"},
        "customers": {"ids": [global_id("Customer", "1")] * 100},
        "events": {"first": EVENTS_MAX, "search": ""},
    }
    costs = {name: Query.read(text, largest[name]).requested_cost for name, text in QUERIES.items()}
    assert max(costs.values()) < COST_MAX
    assert costs["orders"] == 901


def test_pages_go_on_behind_the_last_id_and_not_by_a_cursor(bench: Any) -> None:
    bench.page_size = 10
    pages = bench.pages("orders")
    sent = [json.loads(request.content)["variables"] for request in bench.api_requests()]
    ids = [
        int(row["legacyResourceId"])
        for page in pages
        for row in json.loads(page.body)["data"]["orders"]["nodes"]
    ]
    assert ids == sorted(set(ids))
    assert sent[0]["search"] == "id:>=1"
    assert sent[1]["search"] == f"id:>={ids[9] + 1}"
    assert all(request.url.path.endswith(f"/api/{VERSION}/graphql.json") for request in bench.api_requests())  # fmt: skip


def test_a_window_is_sent_in_utc(bench: Any, since: Any) -> None:
    bench.pages("orders", Window(since, None))
    asked = json.loads(bench.api_requests()[0].content)["variables"]["search"]
    assert asked == "id:>=1 updated_at:>='2026-05-15T12:00:00Z'"


def long_order(bench: Any, lines: int) -> Any:
    """An order of so many lines, paid."""
    books = bench.world.books["shopify"]
    products, buyer = list(books.products.values()), next(iter(books.customers.values()))
    rows = [(products[number % 9], 1, products[number % 9].unit_minor) for number in range(lines)]
    document = books.record("Invoice", buyer, rows, bench.clock())
    books.pay(document, document.balance_minor, bench.clock())
    return document


@pytest.mark.parametrize("count", [6, 7, 256, 257, 500])
def test_orders_longer_than_a_page_are_read_whole(benches: Callable[..., Any], count: int) -> None:
    """From the list and by id, as a webhook has it."""
    bench = benches("shopify", invoices=3)
    document = long_order(bench, count)
    read = bench.read().lines
    assert read.filter(external_id=document.id).height == count
    with bench.client() as client:
        (found,) = fetch(SPEC, SPEC.streams[0], client, [document.id, "999"])
    assert found.ids == {document.id}
    alone = map_pages(SPEC, SPEC.streams[0], bench.connection, [(1, found.page.body)])
    assert alone.lines.height == count
    assert alone.lines["line_no"].to_list() == list(range(1, count + 1))


def test_orders_by_id_are_asked_for_together_and_unknown_ones_are_in_no_page(bench: Any) -> None:
    known = [row.external_id for row in bench.world.truth() if row.system == "shopify"][:30]
    with bench.client() as client:
        pages = list(fetch(SPEC, SPEC.streams[0], client, [*known, "1", "2"]))
    gone = {row.external_id for row in bench.world.truth() if row.deleted}
    assert set().union(*(page.ids for page in pages)) == set(known) - gone
    assert len(bench.api_requests()) == 2


def test_data_without_the_customers_scope_is_no_data(bench: Any) -> None:
    """Orders come, their customers are null: as sales to nobody they would all be left out."""
    bench.world.grants["shopify"].scope = "read_orders,read_all_orders"
    with pytest.raises(PermissionMissing, match=r'ACCESS_DENIED.*block "shopify"'):
        bench.pages("orders")


def test_without_the_scope_for_all_orders_older_ones_are_not_shown(
    benches: Callable[..., Any],
) -> None:
    """Nothing says so; and no list of what is left may take them for deleted."""
    bench = benches("shopify", days=200)
    every = bench.read().invoices.height
    bench.world.grants["shopify"].scope = "read_orders,read_customers"
    bench.requests.clear()
    read = bench.read(Window(bench.clock() - timedelta(days=300), None))
    assert 0 < read.invoices.height < every
    assert read.listed.is_empty()
    gone = {row.external_id for row in bench.world.truth() if row.system == "shopify" and row.deleted}  # fmt: skip
    assert set(read.deletions["external_id"]) == gone


THROTTLED = {
    "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
    "extensions": {
        "cost": {
            "requestedQueryCost": 752,
            "actualQueryCost": None,
            "throttleStatus": {
                "maximumAvailable": 1000.0,
                "currentlyAvailable": 666,
                "restoreRate": 50.0,
            },
        }
    },
}


def test_throttled_by_cost_waits_as_long_as_the_points_take(bench: Any) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(200, json=THROTTLED)
    )
    with pytest.raises(RateLimited) as caught:
        bench.pages("orders")
    assert caught.value.retry_after_seconds == pytest.approx((752 - 666) / 50)
    assert RetryDecision(RetryPolicy()).backoff(caught.value) == pytest.approx(1.72)


class Resting:
    """Counts as the database does: after an answer nobody is let in for as long as it asked."""

    def __init__(self, clock: simulator.ManualClock) -> None:
        self.clock, self.until, self.rests = clock, clock(), 0

    def enter(self) -> tuple[int, float]:
        return 1, max(0.0, (self.until - self.clock()).total_seconds())

    def leave(self, _number: int, rest_seconds: float) -> None:
        self.rests += rest_seconds > 0
        self.until = self.clock() + timedelta(seconds=rest_seconds)


def test_whole_pages_stay_within_the_points_of_the_smallest_plan(
    benches: Callable[..., Any],
) -> None:
    """Every answer says how long to wait for the next one, so that not one is throttled."""
    bench = benches("shopify", limit_scale=1, invoices=400)
    limit = Resting(bench.clock)
    timing = Timing(lambda: bench.clock().timestamp(), bench.clock.sleep, bench.clock)
    transport = httpx.MockTransport(simulator.handler(bench.world, "shopify"))
    with open_client(
        bench.connection, SPEC, bench.tokens, transport=transport, timing=timing,
        on_call=bench.calls.append, shared_limit=limit,
    ) as client:  # fmt: skip
        pages = list(extract(SPEC, SPEC.streams[0], client, Window()))
    assert sum(page.record_count for page in pages) > 350
    assert limit.rests > 5
    assert not [call for call in bench.calls if call.throttled]


def test_a_call_that_is_throttled_by_cost_is_counted_as_such(bench: Any) -> None:
    bench.with_spec(retry=RetryPolicy(attempts=1))
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(200, json=THROTTLED)
    )
    with pytest.raises(RateLimited):
        bench.pages("orders")
    assert [call.throttled for call in bench.calls if call.operation == "orders"] == [True]


def test_a_token_that_does_not_end(bench: Any) -> None:
    """Made in the shop's admin before 2026: sent with every call, and never renewed."""
    token = bench.world.grants["shopify"].issue_access()
    bench.changes = {
        "options": {"login": "access_token"},
        "secrets": {"access_token": SecretStr(token)},
    }
    assert bench.pages("orders")
    assert {request.headers["x-shopify-access-token"] for request in bench.requests} == {token}
    assert all("authorization" not in request.headers for request in bench.requests)
    bench.changes["secrets"] = {"access_token": SecretStr("shpat_wrong")}
    with pytest.raises(CredentialsRejected, match=r'Access token.*block "shopify"') as caught:
        bench.pages("orders")
    assert "shpat_wrong" not in str(caught.value)


def test_a_token_of_a_day_is_fetched_with_the_apps_own_credentials(bench: Any) -> None:
    bench.pages("orders")
    asked = bench.requests[0]
    assert asked.url.path.endswith("/admin/oauth/access_token")
    assert b"grant_type=client_credentials" in asked.content
    assert bench.requests[1].headers["x-shopify-access-token"] == bench.tokens.held.access_token
    assert bench.tokens.held.refresh_token == ""


@pytest.mark.parametrize(("status", "kind"), [(402, PermissionMissing), (423, PermissionMissing)])
def test_a_frozen_or_locked_shop_is_the_owners(bench: Any, status: int, kind: Any) -> None:
    bench.before = lambda request: (
        None if "token" in request.url.path else httpx.Response(status, json={"errors": "secret"})
    )
    with pytest.raises(kind) as caught:
        bench.pages("orders")
    assert "secret" not in str(caught.value)


def test_another_version_than_was_asked_for_is_said_once(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.changes = {"options": {"api_version": "2023-01"}}
    bench.page_size = 20
    assert len(bench.pages("orders")) > 2
    said = [line for line in caplog.messages if "2023-01" in line]
    assert len(said) == 1
    assert "version 2023-01 of the API has ended, 2025-01 answers in its place" in said[0]
    caplog.clear()
    bench.changes = {}
    bench.pages("orders")
    assert not caplog.messages


def test_deletions_are_asked_for_unless_switched_off(bench: Any, since: Any) -> None:
    assert bench.pages("deleted_orders") == []  # the first read: nothing could be gone
    assert bench.requests == []
    assert bench.pages("deleted_orders", Window(since, None))
    asked = json.loads(bench.api_requests()[-1].content)["variables"]["search"]
    assert asked == "id:>=1 action:destroy subject_type:ORDER created_at:>='2026-05-15T12:00:00Z'"
    bench.changes = {"options": {"read_deletions": False}}
    assert bench.pages("deleted_orders", Window(since, None)) == []


def test_events_about_other_things_delete_nothing() -> None:
    """However the server filters."""
    nodes = [
        {"id": "gid://shopify/BasicEvent/1", "action": "destroy", "createdAt": "2026-01-10T09:00:00Z", "subjectType": "PRODUCT", "subjectId": "gid://shopify/Product/1"},
        {"id": "gid://shopify/BasicEvent/2", "action": "create", "createdAt": "2026-01-10T09:00:00Z", "subjectType": "ORDER", "subjectId": "gid://shopify/Order/2"},
        {"id": "gid://shopify/CommentEvent/3", "action": "destroy", "createdAt": "2026-01-10T09:00:00Z"},
        {"id": "gid://shopify/BasicEvent/4", "action": "destroy", "createdAt": "2026-01-10T09:00:00Z", "subjectType": "ORDER", "subjectId": "gid://shopify/Order/4"},
    ]  # fmt: skip
    body = json.dumps({"data": {"events": {"nodes": nodes}}}).encode()
    read = map_page(SPEC, SPEC.stream("deleted_orders"), ACCOUNT, body, page_id=1)
    assert read.deletions["external_id"].to_list() == ["4"]


def test_phones_that_are_not_on_the_order_are_looked_up_at_the_customer(bench: Any) -> None:
    read = bench.read()
    truth = {row.external_id: row for row in bench.world.truth() if row.system == "shopify"}
    elsewhere = {
        one.id for one in bench.world.books["shopify"].customers.values() if one.phone_slot
    }
    found = read.invoices.filter(read.invoices["customer_external_id"].is_in(list(elsewhere)))
    assert found["customer_phone"].is_not_null().sum() > 5
    for key, number in found.select("external_id", "customer_phone").rows():
        assert number in (truth[key].phone_e164, None)


@pytest.mark.parametrize(
    ("shop", "account"),
    [("agua-twezah", "agua-twezah"), ("Agua-Twezah.myshopify.com", "agua-twezah")],
)
def test_the_form(shop: str, account: str) -> None:
    block = BLOCKS["shopify"](shop=shop)
    assert "Client ID, Client secret" in block.missing()
    block = BLOCKS["shopify"](shop=shop, client_id="i", client_secret="s")
    assert (block.missing(), block.connection().account) == ("", account)
    assert "Access token" in BLOCKS["shopify"](shop=shop, login="access_token").missing()


def test_the_shop_is_the_host() -> None:
    with pytest.raises(ValueError, match="shop"):
        BLOCKS["shopify"](shop="evil.example/agua")


samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no published samples in {SAMPLES}")


def sample(name: str) -> dict[str, Any]:
    (result,) = try_record(SPEC, SPEC.streams[0], ACCOUNT, (SAMPLES / name).read_bytes())
    return result


@samples
def test_the_published_order_maps() -> None:
    result = sample("rest_fixture_order.json")
    assert result["ok"], result["problems"]
    row = result["invoice"]
    assert (row["total_minor"], row["tax_minor"], row["status"]) == (40994, 1194, "open")
    assert (row["customer_external_id"], row["amount_refunded_minor"]) == ("207119551", 0)
    assert [entry["sku"] for entry in result["lines"]] == ["IPOD2008GREEN", "IPOD2008RED", "IPOD2008BLACK"]  # fmt: skip


@samples
def test_a_published_order_that_hides_what_it_gave_back_is_a_reject() -> None:
    """It says that it was partly refunded, and neither how much nor what is left."""
    result = sample("rest_fixture_orders.json")
    assert [(problem["field"], problem["reason"]) for problem in result["problems"]] == [
        ("amount_refunded_minor", "missing")
    ]


@samples
@pytest.mark.parametrize(
    "name", ["refund", "customer", "product", "shop", "graphql", "transactions"]
)
def test_published_payloads_that_are_no_orders_are_named(name: str) -> None:
    result = try_record(
        SPEC, SPEC.streams[0], ACCOUNT, (SAMPLES / f"rest_fixture_{name}.json").read_bytes()
    )
    assert not any(entry["ok"] for entry in result)
    assert all("is not an invoice of Shopify" in entry["problems"][0]["reason"] for entry in result)


@samples
@pytest.mark.parametrize("topic", ["orders_create", "orders_updated", "orders_cancelled"])
def test_the_old_spelling_is_that_of_the_published_schemas(topic: str) -> None:
    """Every path in it leads somewhere, and a value is a text or a number."""
    schema = json.loads((SAMPLES / f"webhook_2026-07_{topic}.schema.json").read_text())
    stream = SPEC.streams[0]
    paths = [path for field in (*stream.fields.values(), *stream.helpers.values()) for path in field.paths]  # fmt: skip
    old = [path for path in paths if "_" in path and path != "/customer/phone"]
    assert len(old) > 10
    for path in old:
        place = schema
        for part in path.strip("/").split("/"):
            place = place["properties"][part]
        assert place["type"] != "object"


@samples
def test_the_answer_of_the_vendors_sheet_maps() -> None:
    text = SHEET.read_text().partition("```json\n")[2].partition("```")[0]
    body = text.replace('"…"', '"2026-01-11T10:00:00Z"').encode()
    read = map_page(SPEC, SPEC.streams[0], ACCOUNT, body, page_id=1)
    assert read.problems.is_empty()
    (row,) = read.invoices.to_dicts()
    assert (row["total_minor"], row["amount_refunded_minor"], row["tax_minor"]) == (40994, 5000, 1194)  # fmt: skip
    assert (row["customer_phone"], row["customer_external_id"]) == ("+557734881234", "207119551")


def test_the_simulated_shop_has_what_the_suites_need() -> None:
    world = simulator.World(seed=11, customers=40, invoices=300)
    entities = {one.entity for one in world.books["shopify"].all()}
    assert entities == {"Invoice", "Refund", "GuestOrder", "TestOrder"}
    world.evolve(150, systems=("shopify",))
    assert any(one.removed for one in world.books["shopify"].all())
