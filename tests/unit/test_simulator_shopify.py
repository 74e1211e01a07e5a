"""The simulated Shopify behaves as its sheet says: cost, throttling, cursors, searches, scopes, errors in 200."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from simulator import CLIENT_ID, CLIENT_SECRET, ManualClock, World, handler
from simulator.systems.shopify.api import BUCKET, RESTORE_RATE

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
PATH = "/admin/api/2026-10/graphql.json"
LIST = """query($first: Int!, $after: String, $query: String, $sort: OrderSortKeys = ID) {
  orders(first: $first, after: $after, query: $query, sortKey: $sort) {
    nodes { legacyResourceId updatedAt name } pageInfo { hasNextPage endCursor } } }"""


class Shop:
    """The simulated API, asked as a client asks."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(NOW)
        self.world = World(seed=5, customers=20, invoices=90, now=self.clock, **options)
        self.answer = handler(self.world, "shopify")
        self.token = self.world.grants["shopify"].issue_access()

    def send(self, body: Any, path: str = PATH, **headers: str) -> httpx.Response:
        own = {"x-shopify-access-token": self.token, "content-type": "application/json"}
        url = f"http://shopify.test{path}"
        return self.answer(httpx.Request("POST", url, json=body, headers=own | headers))

    def ask(self, text: str, /, **variables: Any) -> Any:
        response = self.send({"query": text, "variables": variables})
        assert response.status_code == 200
        return json.loads(response.content)

    def code(self, text: str, /, **variables: Any) -> str:
        """The code of the error that a query gives, with status 200."""
        return str(self.ask(text, **variables)["errors"][0]["extensions"]["code"])


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_tokens_of_a_day_for_the_apps_own_credentials(shop: Shop) -> None:
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials"}  # fmt: skip
    granted = shop.send(form, "/admin/oauth/access_token").json()
    assert (granted["expires_in"], "refresh_token" in granted) == (86_399, False)
    shop.token = granted["access_token"]
    assert "data" in shop.ask("{ shop { name } }")
    shop.clock.advance(hours=25)
    assert shop.send({"query": "{ shop { name } }"}).status_code == 401
    refused = shop.send(form | {"client_secret": "x"}, "/admin/oauth/access_token")
    assert refused.json() == {"error": "invalid_client"}


def test_a_wrong_token_is_told_in_a_text(shop: Shop) -> None:
    shop.token = "shpat_wrong"
    response = shop.send({"query": "{ shop { name } }"})
    assert response.status_code == 401
    assert isinstance(response.json()["errors"], str)
    assert response.headers["www-authenticate"] == 'Basic Realm="Shopify API Authentication"'


def test_a_version_that_ended_is_answered_by_the_oldest(shop: Shop) -> None:
    body = {"query": "{ shop { name } }"}
    served = [
        shop.send(body, f"/admin/api/{version}/graphql.json").headers["x-shopify-api-version"]
        for version in ("2026-10", "2023-01")
    ]
    assert served == ["2026-10", "2025-01"]


def test_cursors_lead_through_a_list_and_belong_to_it(shop: Shop) -> None:
    found: list[str] = []
    after = None
    while True:
        page = shop.ask(LIST, first=40, after=after)["data"]["orders"]
        found += [row["legacyResourceId"] for row in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == sorted(set(found), key=int)
    assert shop.code(LIST, first=40, after=after, query="id:>=5") == "invalidCursor"
    assert shop.code(LIST, first=40, after="nonsense") == "invalidCursor"


def test_searches(shop: Shop) -> None:
    def found(query: str, **more: Any) -> list[Any]:
        return list(shop.ask(LIST, first=200, query=query, **more)["data"]["orders"]["nodes"])

    every = found("")
    since = (NOW - timedelta(days=20)).strftime("%Y-%m-%dT%H:%M:%SZ")
    late = found(f"updated_at:>='{since}'", sort="UPDATED_AT")
    assert [row["updatedAt"] for row in late] == sorted(
        row["updatedAt"] for row in every if row["updatedAt"] >= since
    )
    half = every[len(every) // 2]["legacyResourceId"]
    assert found(f"id:>={half}") == every[len(every) // 2 :]
    assert found(f"name:{every[3]['name']}") == [every[3]]
    assert shop.code(LIST, first=1, query="colour:red") == "badSearch"
    assert shop.code(LIST, first=1, query="id:1 OR id:2") == "badSearch"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ orders(first: 1) { nodes { total } } }", "undefinedField"),
        ("{ orders(first: 1, colour: RED) { nodes { id } } }", "argumentNotAccepted"),
        ("{ orders { nodes { id } } }", "missingArgument"),
        ("{ orders(first: 251) { nodes { id } } }", "invalidArgument"),
        ("{ orders(first: 1) { nodes } }", "selectionMismatch"),
        ("{ orders(first: $n) { nodes { id } } }", "variableNotDefined"),
        ("{ orders(first: 1) { nodes { ... on Cow { id } } } }", "undefinedType"),
        ("{ orders(first: 250) { nodes { lineItems(first: 250) { nodes { id } } } } }", "MAX_COST_EXCEEDED"),
        ("{ orders(first: 1) ", "parseError"),
        ('{ node(id: "7") { id } }', "argumentLiteralsIncompatible"),
    ],
)  # fmt: skip
def test_errors_come_with_status_200(shop: Shop, query: str, code: str) -> None:
    assert shop.code(query) == code


def test_cost_is_an_object_a_point_and_lists_multiply(shop: Shop) -> None:
    query = "{ orders(first: 10) { nodes { id customer { id } totalPriceSet { shopMoney { amount } } } pageInfo { hasNextPage } } }"
    cost = shop.ask(query)["extensions"]["cost"]
    assert cost["requestedQueryCost"] == 10 * (1 + 1 + 2) + 1
    assert 31 <= cost["actualQueryCost"] <= 42
    assert cost["throttleStatus"]["restoreRate"] == RESTORE_RATE


def test_an_empty_bucket_throttles_with_status_200_until_points_come_back() -> None:
    shop = Shop(limit_scale=1)
    query = "{ orders(first: 90) { nodes { id totalPriceSet { shopMoney { amount } presentmentMoney { amount } } lineItems(first: 1) { nodes { id sku } } } } }"
    asked = 0
    while "errors" not in (answer := shop.ask(query)):
        asked += 1
        shop.clock.advance(seconds=0.1)
    assert asked >= BUCKET / 500
    assert answer["errors"][0]["extensions"]["code"] == "THROTTLED"
    cost = answer["extensions"]["cost"]
    assert cost["actualQueryCost"] is None
    lacking = cost["requestedQueryCost"] - cost["throttleStatus"]["currentlyAvailable"]
    shop.clock.advance(seconds=lacking / RESTORE_RATE + 1)
    assert "data" in shop.ask(query)


def test_scopes(shop: Shop) -> None:
    query = "{ orders(first: 200) { nodes { createdAt customer { id } } } }"
    every = shop.ask(query)["data"]["orders"]["nodes"]
    shop.world.grants["shopify"].scope = "read_orders"
    answer = shop.ask(query)
    assert answer["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"
    recent = answer["data"]["orders"]["nodes"]
    assert 0 < len(recent) < len(every)
    assert {row["customer"] for row in recent} == {None}


def test_ids_that_are_not_there_are_null(shop: Shop) -> None:
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename ... on Order { name } } }"
    ids = ["gid://shopify/Order/450789469", "gid://shopify/Order/1"]
    nodes = shop.ask(query, ids=ids)["data"]["nodes"]
    assert nodes == [{"__typename": "Order", "name": "#1001"}, None]


def test_an_order_keeps_its_refunds_and_what_was_swapped(shop: Shop) -> None:
    books = shop.world.books["shopify"]
    buyer, (water, big, *_) = next(iter(books.customers.values())), list(books.products.values())
    order = books.record("Invoice", buyer, [(water, 2, 10_000)], NOW, tax_bps=0)
    assert not books.take_back(order, [1], NOW)  # nothing was paid
    assert books.pay(order, 20_000, NOW)
    assert books.take_back(order, [1], NOW)
    swapped = books.record("Invoice", buyer, [(water, 1, 10_000)], NOW, tax_bps=0)
    assert not books.exchange(swapped, 0, big, 1, NOW)
    assert books.pay(swapped, 10_000, NOW)
    assert books.exchange(swapped, 0, big, 1, NOW)
    query = """query($id: ID!) { order(id: $id) { displayFinancialStatus
      totalPriceSet { shopMoney { amount } } currentTotalPriceSet { shopMoney { amount } }
      totalRefundedSet { shopMoney { amount } }
      lineItems(first: 9) { nodes { quantity currentQuantity } }
      refunds { refundLineItems(first: 9) { nodes { quantity lineItem { id } } } } } }"""

    def shown(document: Any) -> Any:
        seen = shop.ask(query, id=f"gid://shopify/Order/{document.id}")["data"]["order"]
        totals = (seen[f"{name}Set"]["shopMoney"]["amount"] for name in ("totalPrice", "currentTotalPrice", "totalRefunded"))  # fmt: skip
        left = [(line["quantity"], line["currentQuantity"]) for line in seen["lineItems"]["nodes"]]
        return seen["displayFinancialStatus"], *totals, left

    assert shown(order) == ("PARTIALLY_REFUNDED", "200.00", "100.00", "100.00", [(2, 1)])
    total = f"{big.unit_minor // 100}.{big.unit_minor % 100:02d}"
    whole = f"{(10_000 + big.unit_minor) // 100}.{big.unit_minor % 100:02d}"
    assert shown(swapped) == ("PARTIALLY_PAID", whole, total, "0.0", [(1, 0), (1, 1)])
    assert books.void(swapped, NOW) is False  # it was returned already
