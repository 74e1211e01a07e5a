"""The simulated Stripe, held to what its documentation says."""

import base64
from datetime import timedelta
from typing import Any

import httpx
import pytest

from simulator import ManualClock, World, client
from simulator.systems.stripe.books import StripeBooks
from simulator.systems.stripe.system import API_KEY
from tests.unit.test_simulator import NOW, make_world

OLD, NEW = {"stripe-version": "2025-02-24.acacia"}, {"stripe-version": "2025-03-31.basil"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    return make_world(clock=clock, invoices=80)


@pytest.fixture
def api(world: World) -> httpx.Client:
    """With the account's key, which does not end."""
    api = client(world, "stripe")
    api.headers["authorization"] = f"Bearer {API_KEY}"
    return api


def books(world: World) -> StripeBooks:
    kept = world.books["stripe"]
    assert isinstance(kept, StripeBooks)
    return kept


def refused(response: httpx.Response) -> tuple[int, Any, Any]:
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert response.headers["request-id"].startswith("req_")
    return response.status_code, error.get("code"), error.get("param")


def test_lists_are_newest_first_and_paged_by_the_last_id(api: httpx.Client) -> None:
    whole = api.get("/v1/invoices?limit=100").json()
    created = [row["created"] for row in whole["data"]]
    assert created == sorted(created, reverse=True)
    assert (whole["object"], whole["url"], whole["has_more"]) == ("list", "/v1/invoices", False)
    read, after = [], ""
    while True:
        page = api.get(f"/v1/invoices?limit=7{after}").json()
        read += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        after = f"&starting_after={read[-1]}"
    assert read == [row["id"] for row in whole["data"]]
    assert len(api.get("/v1/invoices").json()["data"]) == 10
    middle = created[len(created) // 2]
    for operator, inside in (("gte", created.count(middle)), ("gt", 0)):
        page = api.get(f"/v1/invoices?limit=100&created[{operator}]={middle}").json()
        assert len(page["data"]) == sum(at > middle for at in created) + inside


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "parameter_invalid_integer", "limit"),
        ("limit=101", "parameter_invalid_integer", "limit"),
        ("pineapple=1", "parameter_unknown", "pineapple"),
        ("updated[gte]=1", "parameter_unknown", "updated"),
        ("created[since]=1", "parameter_unknown", "created"),
        ("starting_after=in_nothing", "resource_missing", "starting_after"),
        ("expand[]=data.lines_of_all", None, "expand"),
    ],
)
def test_refusals(api: httpx.Client, query: str, code: str | None, param: str) -> None:
    assert refused(api.get(f"/v1/invoices?{query}")) == (400, code, param)


def test_what_the_version_changes(api: httpx.Client) -> None:
    """Since 2025-03-31 an invoice and its charge do not name each other."""
    query = "/v1/invoices?limit=100&status=paid"
    old, new = (api.get(query, headers=version).json()["data"] for version in (OLD, NEW))
    assert all("charge" in row and "tax" in row and "total_taxes" not in row for row in old)
    assert not any("charge" in row or "tax" in row for row in new)
    assert {"price"} <= old[0]["lines"]["data"][0].keys()
    assert {"pricing", "taxes"} <= new[0]["lines"]["data"][0].keys()
    assert refused(api.get(f"{query}&expand[]=data.charge", headers=NEW))[0] == 400
    expanded = api.get(f"{query}&expand[]=data.charge", headers=OLD).json()["data"]
    paid = [row for row in expanded if row["charge"]]  # the others were credited as a whole
    assert {row["charge"]["invoice"] == row["id"] for row in paid} == {True}
    (charge,) = api.get("/v1/charges?limit=1", headers=NEW).json()["data"]
    assert "invoice" not in charge
    assert api.get("/v1/charges?limit=1").json()["data"] == [charge]


def test_keys(world: World) -> None:
    bare = client(world, "stripe")
    for value, status in (
        (f"Bearer {API_KEY}", 200),
        (f"Basic {base64.b64encode(f'{API_KEY}:'.encode()).decode()}", 200),
        ("Bearer sk_live_other", 401),
        ("Basic nonsense", 401),
        ("", 401),
    ):
        answer = bare.get("/v1/invoices", headers={"authorization": value})
        assert answer.status_code == status, value
    assert refused(bare.get("/v1/invoices", headers={"stripe-account": "acct_other"}))[0] == 403


def test_events_are_kept_thirty_days_and_hold_what_was(
    api: httpx.Client, world: World, clock: ManualClock
) -> None:
    kept = books(world)
    customer, product = next(iter(kept.customers.values())), next(iter(kept.products.values()))
    sale = kept.record("Invoice", customer, [(product, 2, 500)], clock(), status="draft")
    clock.advance(hours=1)
    assert kept.edit(sale, 0, 5, clock())
    assert kept.approve(sale, clock())
    assert not kept.edit(sale, 0, 1, clock())
    assert not kept.delete(sale, clock())
    since = int((clock() - timedelta(hours=2)).timestamp())
    query = f"/v1/events?limit=100&created[gte]={since}"
    events = [
        row for row in api.get(query).json()["data"] if row["data"]["object"]["id"] == sale.id
    ]
    assert [row["type"] for row in events] == [
        "invoice.finalized", "invoice.updated", "invoice.created",
    ]  # fmt: skip
    quantities = [row["data"]["object"]["lines"]["data"][0]["quantity"] for row in events]
    assert quantities == [5, 5, 2]
    assert [row["data"]["object"]["number"] for row in events][1:] == [None, None]
    wanted = api.get("/v1/events?types[]=invoice.updated&types[]=invoice.voided&limit=100").json()
    assert {row["type"] for row in wanted["data"]} <= {"invoice.updated", "invoice.voided"}
    assert api.get("/v1/events?type=invoice.*&limit=1").json()["data"]
    assert refused(api.get("/v1/events?types[]=invoice.*"))[0] == 400
    clock.advance(days=31)
    assert api.get("/v1/events").json()["data"] == []


def test_a_void_invoice_keeps_its_amounts(
    api: httpx.Client, world: World, clock: ManualClock
) -> None:
    kept = books(world)
    open_one = next(row for row in kept.all("Invoice") if kept.void(row, clock()))
    shown = api.get(f"/v1/invoices/{open_one.id}").json()
    assert (shown["status"], shown["total"]) == ("void", open_one.total_minor)
    assert shown["amount_due"] == shown["total"] > 0
    assert shown["status_transitions"]["voided_at"] == int(clock().timestamp())


def test_a_429_does_not_say_when(clock: ManualClock) -> None:
    api = client(make_world(clock=clock, invoices=1, limit_scale=1), "stripe")
    answers = [api.get("/v1/customers") for _ in range(26)]
    assert [answer.status_code for answer in answers] == [200] * 25 + [429]
    assert answers[-1].headers["stripe-rate-limited-reason"] == "global-rate"
    assert "retry-after" not in answers[-1].headers
