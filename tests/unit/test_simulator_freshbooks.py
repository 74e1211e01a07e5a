"""The simulated FreshBooks behaves as its vendor documents it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator import (
    ACCOUNTS,
    ManualClock,
    World,
    client,
)

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
FRESHBOOKS = f"/accounting/account/{ACCOUNTS['freshbooks']}"


def get(api: httpx.Client, path: str, **params: Any) -> Any:
    response = api.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def freshbooks(world: World) -> httpx.Client:
    return client(world, "freshbooks")


def test_freshbooks_pages_through_everything_that_is_not_deleted(
    freshbooks: httpx.Client, world: World
) -> None:
    ids, page = [], 1
    while True:
        params = {"page": page, "per_page": 500, "include[]": "lines"}
        body = get(freshbooks, f"{FRESHBOOKS}/invoices/invoices", **params)["response"]["result"]
        assert body["per_page"] == 100
        ids += [row["id"] for row in body["invoices"] if row["lines"]]
        if page >= body["pages"]:
            break
        page += 1
    truth = [row for row in world.truth() if row.system == "freshbooks" and row.kind == "invoice"]
    assert sorted(map(str, ids)) == sorted(row.external_id for row in truth if not row.deleted)
    assert ids == sorted(ids, reverse=True)
    deleted = get(
        freshbooks, f"{FRESHBOOKS}/invoices/invoices", **{"search[vis_state]": 1, "per_page": 100}
    )
    shown = deleted["response"]["result"]["invoices"]
    assert sorted(str(row["id"]) for row in shown) == sorted(
        row.external_id for row in truth if row.deleted
    )
    assert "lines" not in shown[0]
    beyond = get(freshbooks, f"{FRESHBOOKS}/invoices/invoices", page=999)["response"]["result"]
    assert beyond["invoices"] == []


def test_freshbooks_searches_by_new_york_days_and_ignores_the_sort_key(
    freshbooks: httpx.Client,
) -> None:
    params = {"search[updated_min]": "2026-03-09", "per_page": 100, "sort": "updated_asc"}
    rows = get(freshbooks, f"{FRESHBOOKS}/invoices/invoices", **params)["response"]["result"][
        "invoices"
    ]
    assert rows
    assert all(row["updated"] >= "2026-03-09" for row in rows)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    ids = {"search[ids][]": [101, 102]}
    clients = get(freshbooks, f"{FRESHBOOKS}/users/clients", **ids)["response"]["result"]["clients"]
    assert [row["id"] for row in clients] == [102, 101]


def test_freshbooks_amount_is_lines_and_discount_and_tax(freshbooks: httpx.Client) -> None:
    params = {"per_page": 100, "include[]": "lines"}
    rows = get(freshbooks, f"{FRESHBOOKS}/invoices/invoices", **params)["response"]["result"][
        "invoices"
    ]
    assert any(row["discount_total"]["amount"].startswith("-") for row in rows)
    for row in rows:
        net = sum(round(float(line["amount"]["amount"]) * 100) for line in row["lines"])
        net += round(float(row["discount_total"]["amount"]) * 100)
        assert round(float(row["amount"]["amount"]) * 100) == pytest.approx(
            net * 1.14, abs=len(row["lines"])
        )


def test_freshbooks_errors_in_both_styles(freshbooks: httpx.Client) -> None:
    path = f"{FRESHBOOKS}/users/clients/9"
    old = freshbooks.get(path)
    expected = {
        "errno": 1012,
        "field": "userid",
        "message": "Client not found.",
        "object": "client",
        "value": "9",
    }
    assert old.json() == {"response": {"errors": [expected]}}
    new = freshbooks.get(path, headers={"x-api-version": "2023-02-20"})
    assert (new.status_code, new.json()["code"]) == (404, 5)
    assert freshbooks.get(f"{FRESHBOOKS}/items/items", params={"page": "x"}).status_code == 400


def published(path: str) -> Any:
    file = SAMPLES / path
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    return json.loads(file.read_text())


def test_freshbooks_clients_have_the_published_fields(freshbooks: httpx.Client) -> None:
    expected = published("freshbooks/list_clients_response.json")["response"]["result"]["clients"][
        0
    ]
    ours = get(freshbooks, f"{FRESHBOOKS}/users/clients")["response"]["result"]["clients"][0]
    assert set(ours) == set(expected)
