"""The simulated Square behaves as its vendor documents it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from simulator import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, ManualClock, World, client, handler
from simulator.deliveries import mac
from simulator.oauth import seed_refresh_token
from simulator.webhooks import Announcer

LOCATION = ACCOUNTS["square"]
SEARCH = "/v2/orders/search"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def square(world: World) -> httpx.Client:
    return client(world, "square")


def post(api: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    response = api.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def everything(api: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    """All orders of a search, page by page."""
    asked = {"location_ids": [LOCATION], "limit": 40, **body}
    page = post(api, SEARCH, asked)
    orders = list(page.get("orders", []))
    while "cursor" in page:
        page = post(api, SEARCH, asked | {"cursor": page["cursor"]})
        orders += page["orders"]
    return orders


def test_every_sale_and_return_is_in_an_order(square: httpx.Client, world: World) -> None:
    orders = everything(square)
    truth = {row.external_id: row for row in world.truth() if row.system == "square"}
    sold = {order["id"]: order for order in orders if "line_items" in order}
    back = {f"return/{order['id']}": order for order in orders if "returns" in order}
    assert {*sold, *back} == set(truth)
    assert set(sold) & {key.partition("/")[2] for key in back}  # exchanges
    states = {"paid": "COMPLETED", "draft": "OPEN", "void": "CANCELED"}
    for key, order in {**sold, **back}.items():
        assert order["state"] == states[truth[key].status]
        assert (
            order["net_amounts"]["total_money"]["amount"]
            == sum(
                (1 if row.kind == "sale" else -1) * round(float(row.total) * 100)
                for name in (order["id"], f"return/{order['id']}")
                if (row := truth.get(name))
            )
            + order["total_tip_money"]["amount"]
        )
    only_back = [order for order in back.values() if "line_items" not in order]
    assert {order["total_money"]["amount"] for order in only_back} == {0}
    assert {"customer_id" in order for order in only_back} == {True, False}


def test_lists_are_newest_first_by_default_and_half_a_thousand_long(square: httpx.Client) -> None:
    page = post(square, SEARCH, {"location_ids": [LOCATION]})
    times = [order["created_at"] for order in page["orders"]]
    assert times == sorted(times, reverse=True)
    assert len(times) <= 500


def updated(start: str, end: str | None = None) -> dict[str, Any]:
    times = {"start_at": start, **({"end_at": end} if end else {})}
    return {
        "filter": {"date_time_filter": {"updated_at": times}},
        "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
    }


def test_both_ends_of_a_time_are_in_it(square: httpx.Client) -> None:
    times = [
        order["updated_at"] for order in everything(square, query=updated("2009-01-01T00:00:00Z"))
    ]
    assert times == sorted(times)
    inside = everything(square, query=updated(times[10], times[20]))
    assert [order["updated_at"] for order in inside] == [
        time for time in times if times[10] <= time <= times[20]
    ]


def test_an_edited_order_hides_another_one_from_who_follows_the_cursor(
    square: httpx.Client, world: World, clock: ManualClock
) -> None:
    """The list ends at the time of the first request: what is edited later leaves it."""
    books = world.books["square"]
    asked = {"location_ids": [LOCATION], "limit": 10, "query": updated("2009-01-01T00:00:00Z")}
    whole = [order["id"] for order in everything(square, query=asked["query"])]
    page = post(square, SEARCH, asked)
    first = [order["id"] for order in page["orders"]]
    moved = next(
        books.documents["SalesReceipt"][key]
        for key in first
        if key in books.documents["SalesReceipt"]
    )
    clock.advance(minutes=1)
    moved.touch(clock())
    following = post(square, SEARCH, asked | {"cursor": page["cursor"]})["orders"]
    assert following[0]["id"] == whole[11]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"location_ids": []}, "MISSING_REQUIRED_PARAMETER"),
        ({"location_ids": [LOCATION] * 11}, "ARRAY_LENGTH_TOO_LONG"),
        ({"location_ids": ["L0"]}, "FORBIDDEN"),
        ({"limit": 1001}, "INVALID_VALUE"),
        ({"cursor": "none"}, "INVALID_CURSOR"),
        ({"query": updated("2026-01-01T00:00:00Z") | {"sort": {}}}, "BAD_REQUEST"),
        ({"query": updated("2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z")}, "INVALID_TIME_RANGE"),
        ({"page": 2}, "BAD_REQUEST"),
    ],
)
def test_what_a_search_refuses(square: httpx.Client, change: dict[str, Any], code: str) -> None:
    answer = square.post(SEARCH, json={"location_ids": [LOCATION]} | change)
    error = answer.json()["errors"][0]
    assert answer.status_code in (400, 403)
    assert error["code"] == code
    assert {"category", "detail"} <= set(error)


def test_a_cursor_is_of_its_query_and_ends(square: httpx.Client, clock: ManualClock) -> None:
    asked = {"location_ids": [LOCATION], "limit": 5}
    cursor = post(square, SEARCH, asked)["cursor"]
    assert square.post(SEARCH, json=asked | {"limit": 6, "cursor": cursor}).status_code == 400
    assert len(post(square, SEARCH, asked | {"cursor": cursor})["orders"]) == 5
    clock.advance(minutes=6)
    assert square.post(SEARCH, json=asked | {"cursor": cursor}).status_code == 400


def test_what_is_empty_is_left_out(square: httpx.Client) -> None:
    assert (
        post(square, SEARCH, {"location_ids": [LOCATION], "query": updated("2026-03-10T12:00:00Z")})
        == {}
    )
    assert post(square, "/v2/orders/batch-retrieve", {"order_ids": ["nothing"]}) == {}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/orders/batch-retrieve", "order_ids"),
        ("/v2/customers/bulk-retrieve", "customer_ids"),
        ("/v2/catalog/batch-retrieve", "object_ids"),
    ],
)
def test_batches_have_a_hundred_ids(square: httpx.Client, path: str, name: str) -> None:
    assert square.post(path, json={name: ["x"] * 100}).status_code == 200
    assert square.post(path, json={name: ["x"] * 101}).status_code == 400
    assert square.post(path, json={}).status_code == 400


def test_tokens_are_asked_for_in_json_and_last_a_month(world: World, clock: ManualClock) -> None:
    serve = handler(world, "square")
    form = {
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "refresh_token",
        "refresh_token": seed_refresh_token("square"),
    }  # fmt: skip
    refused = serve(httpx.Request("POST", "http://x/oauth2/token", data=form))
    assert refused.status_code == 400
    token = serve(httpx.Request("POST", "http://x/oauth2/token", json=form)).json()
    assert "expires_in" not in token
    assert datetime.fromisoformat(token["expires_at"]) == clock() + timedelta(days=30)
    assert token["refresh_token"] == form["refresh_token"]  # the same one, for ever
    headers = {"authorization": f"Bearer {token['access_token']}", "square-version": "2025-08-20"}
    locations = httpx.Request("GET", "http://x/v2/locations", headers=headers)
    answer = serve(locations)
    assert answer.headers["square-version"] == "2025-08-20"
    clock.advance(days=31)
    assert serve(locations).json()["errors"][0]["code"] == "ACCESS_TOKEN_EXPIRED"


def test_a_429_does_not_say_when_to_come_back(clock: ManualClock) -> None:
    world = World(seed=5, customers=5, invoices=5, now=clock, limit_scale=0.05)
    api = client(world, "square")
    answers = [api.get("/v2/locations") for _ in range(3)]
    assert answers[-1].status_code == 429
    assert answers[-1].json()["errors"][0]["category"] == "RATE_LIMIT_ERROR"
    assert "retry-after" not in answers[-1].headers


def test_webhooks_hold_ids_only_and_sign_the_address(world: World) -> None:
    announcer = Announcer(world, {"square": "key"})
    made: list[Any] = []
    while not made:
        world.evolve(systems=("square",))
        made = announcer.changes()
    for delivery in made:
        url = "https://points.example/hook"
        signature = delivery.headers(world.now(), url)["x-square-hmacsha256-signature"]
        assert signature == mac(b"key", url.encode() + delivery.body)
        assert b"total_money" not in delivery.body
        assert b"customer_id" not in delivery.body
