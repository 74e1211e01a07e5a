"""The simulated Zoho Books behaves as its fact sheet says, where that hurts a reader."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from simulator import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, ManualClock, World, client
from simulator import seed_refresh_token as seed

ORG = {"organization_id": ACCOUNTS["zoho_books"]}
BOOKS = "/books/v3"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=40, invoices=120, now=clock)


@pytest.fixture
def api(world: World) -> httpx.Client:
    return client(world, "zoho_books")


@pytest.fixture
def get(world: World, api: httpx.Client) -> Callable[..., httpx.Response]:
    token = world.grants["zoho_books"].issue_access()

    def send(path: str, **params: str) -> httpx.Response:
        headers = {"authorization": f"Zoho-oauthtoken {token}"}
        return api.get(f"{BOOKS}{path}", params=ORG | params, headers=headers)

    return send


def refresh(api: httpx.Client, token: str, secret: str = CLIENT_SECRET) -> Any:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    keys = {"client_id": CLIENT_ID, "client_secret": secret}
    answer = api.post("/oauth/v2/token", data=form | keys)
    assert answer.status_code == 200
    return answer.json()


def test_a_refresh_token_is_never_replaced_and_refusals_come_with_200(api: httpx.Client) -> None:
    first, second = refresh(api, seed("zoho_books")), refresh(api, seed("zoho_books"))
    assert first["access_token"] != second["access_token"]
    assert (first["expires_in"], first["token_type"]) == (3600, "Bearer")
    assert "refresh_token" not in first
    assert refresh(api, "other") == {"error": "invalid_code"}
    assert refresh(api, seed("zoho_books"), "wrong") == {"error": "invalid_client"}


def test_refused_tokens(api: httpx.Client) -> None:
    api.headers.pop("authorization", None)
    for headers, code in (({}, 14), ({"authorization": "Zoho-oauthtoken x"}, 57)):
        answer = api.get(f"{BOOKS}/invoices", params=ORG, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_every_call_but_one_names_the_organization(get: Callable[..., httpx.Response]) -> None:
    assert get("/invoices", organization_id="").status_code == 400
    (listed,) = get("/organizations", organization_id="").json()["organizations"]
    assert listed["organization_id"] == ACCOUNTS["zoho_books"]


def test_lists_are_paged_newest_first_and_have_no_lines(get: Callable[..., httpx.Response]) -> None:
    ids, page = [], 1
    while True:
        body = get("/invoices", page=str(page), per_page="50").json()
        ids += [row["invoice_id"] for row in body["invoices"]]
        assert not any("line_items" in row for row in body["invoices"])
        if not body["page_context"]["has_more_page"]:
            break
        page += 1
    assert page > 1
    assert ids == sorted(ids, key=int, reverse=True)
    single = get(f"/invoices/{ids[0]}").json()["invoice"]
    assert single["line_items"]
    assert isinstance(single["total"], int | float)
    assert get("/invoices", per_page="1000").json()["page_context"]["per_page"] == 200


def test_the_filter_is_known_for_invoices_only_and_leaves_out_its_second(
    get: Callable[..., httpx.Response], world: World
) -> None:
    books = world.books["zoho_books"]
    latest = max(row.updated_at for row in books.all("Invoice") if not row.deleted)
    at = f"{latest:%Y-%m-%dT%H:%M:%S}+0000"
    before = f"{latest - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}+0000"
    assert get("/invoices", last_modified_time=at).json()["invoices"] == []
    assert get("/invoices", last_modified_time=before).json()["invoices"]
    assert get("/invoices", last_modified_time="2026-01-01T00:00:00Z").json()["code"] == 4
    assert get("/invoices", last_modifed_time=at).json()["invoices"], "unknown ones are ignored"
    notes = get("/creditnotes").json()["creditnotes"]
    assert get("/creditnotes", last_modified_time=at).json()["creditnotes"] == notes != []


def test_a_void_invoice_keeps_its_amounts_and_a_deleted_one_is_gone(
    get: Callable[..., httpx.Response], world: World
) -> None:
    books = world.books["zoho_books"]
    free = [row for row in books.all("Invoice") if row.status == "open" and not row.payments]
    void = next(row for row in free if books.void(row, world.now()))
    body = get(f"/invoices/{void.id}").json()["invoice"]
    assert (body["status"], body["balance"]) == ("void", body["total"])
    gone = next(row for row in free if books.delete(row, world.now()))
    answer = get(f"/invoices/{gone.id}")
    assert (answer.status_code, answer.json()["code"]) == (404, 1002)


def test_an_invoice_becomes_overdue_without_a_change(
    get: Callable[..., httpx.Response], world: World, clock: ManualClock
) -> None:
    rows = get("/invoices", per_page="200").json()["invoices"]
    sent = next(row for row in rows if row["status"] == "sent")
    clock.advance(minutes=59)
    world.grants["zoho_books"].access_seconds = 10**9
    world.grants["zoho_books"].state.access = {
        token: clock() + timedelta(days=99) for token in world.grants["zoho_books"].state.access
    }
    clock.advance(days=40)
    later = get(f"/invoices/{sent['invoice_id']}").json()["invoice"]
    assert later["status"] == "overdue"
    assert later["last_modified_time"] == sent["last_modified_time"]


def test_a_payment_says_alone_what_it_paid(get: Callable[..., httpx.Response]) -> None:
    listed = get("/customerpayments").json()["customerpayments"][0]
    single = get(f"/customerpayments/{listed['payment_id']}").json()["payment"]
    assert "invoices" not in listed
    assert single["invoices"][0]["invoice_number"] == listed["invoice_numbers"]


def test_limits(clock: ManualClock) -> None:
    """100 a minute; nobody says when to come back, but headers say how much of the day is left."""
    world = World(seed=5, customers=5, invoices=5, now=clock, limit_scale=1)
    token = world.grants["zoho_books"].issue_access()
    api, headers = client(world, "zoho_books"), {"authorization": f"Zoho-oauthtoken {token}"}
    answers = [api.get(f"{BOOKS}/items", params=ORG, headers=headers) for _ in range(101)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [429]
    assert answers[99].headers["x-rate-limit-remaining"] == "9900"
    assert answers[99].headers["x-rate-limit-reset"] == str(11 * 3600)
    assert "retry-after" not in answers[100].headers
