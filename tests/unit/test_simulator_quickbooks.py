"""The simulated QuickBooks Online behaves as its vendor documents it."""

import json
from datetime import UTC, datetime, timedelta
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
QBO = f"/v3/company/{ACCOUNTS['quickbooks']}"


def get(api: httpx.Client, path: str, **params: Any) -> Any:
    response = api.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def query(api: httpx.Client, statement: str) -> dict[str, Any]:
    body: dict[str, Any] = get(api, f"{QBO}/query", query=statement)["QueryResponse"]
    return body


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 10, 12, tzinfo=UTC))


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(seed=5, customers=60, invoices=300, now=clock)


@pytest.fixture
def quickbooks(world: World) -> httpx.Client:
    return client(world, "quickbooks")


def test_quickbooks_pages_through_everything_once(quickbooks: httpx.Client, world: World) -> None:
    ids, start = [], 1
    while rows := query(
        quickbooks,
        f"SELECT * FROM Invoice ORDER BY Metadata.LastUpdatedTime ASC STARTPOSITION {start} MAXRESULTS 70",
    ).get("Invoice"):
        ids += [row["Id"] for row in rows]
        start += 70
    alive = [
        row
        for row in world.truth()
        if row.system == "quickbooks" and row.kind == "invoice" and not row.deleted
    ]
    assert sorted(ids) == sorted(row.external_id for row in alive)
    assert query(quickbooks, "SELECT COUNT(*) FROM Invoice") == {"totalCount": len(ids)}
    assert len(query(quickbooks, "SELECT * FROM Invoice")["Invoice"]) == 100
    assert query(quickbooks, "SELECT * FROM Invoice STARTPOSITION 5000 MAXRESULTS 10").keys() == {
        "startPosition",
        "maxResults",
    }


def test_quickbooks_query_language(quickbooks: httpx.Client) -> None:
    example = query(quickbooks, "SELECT * FROM Invoice WHERE DocNumber = 'INV-001'")["Invoice"]
    assert [row["TotalAmt"] for row in example] == [150]
    key = example[0]["CustomerRef"]["value"]
    phone = query(
        quickbooks, f"SELECT * FROM Customer WHERE Id IN ('{key}') AND Active IN (true, false)"
    )
    assert phone["Customer"][0]["PrimaryPhone"] == {"FreeFormNumber": "+244 923 456 789"}
    assert "totalCount" not in phone
    since = "2026-03-01T00:00:00-08:00"
    for spelling in ("Metadata", "MetaData"):
        rows = query(
            quickbooks, f"SELECT * FROM Invoice WHERE {spelling}.LastUpdatedTime >= '{since}'"
        )["Invoice"]
        assert rows
        assert all(
            datetime.fromisoformat(row["MetaData"]["LastUpdatedTime"])
            >= datetime.fromisoformat(since)
            for row in rows
        )
    descending = query(quickbooks, "SELECT Id FROM Invoice ORDERBY TotalAmt DESC MAXRESULTS 5")[
        "Invoice"
    ]
    assert descending[0].keys() == {"Id", "domain", "sparse"}
    assert (
        query(quickbooks, "SELECT *, Sku FROM Item WHERE Sku LIKE 'ATW-5%'")["Item"][0]["Sku"]
        == "ATW-5L"
    )
    body = quickbooks.post(f"{QBO}/query", content=b"SELECT COUNT(*) FROM Customer")
    assert body.json()["QueryResponse"]["totalCount"] > 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELEC * FROM Invoice",
        "SELECT * FROM invoice",
        "SELECT * FROM Invoice WHERE Nope = '1'",
        "SELECT * FROM Invoice '",
    ],
)
def test_quickbooks_refuses_bad_queries(quickbooks: httpx.Client, statement: str) -> None:
    response = quickbooks.get(f"{QBO}/query", params={"query": statement})
    assert response.status_code == 400
    assert response.json()["Fault"]["type"] == "ValidationFault"


def test_quickbooks_hides_inactive_customers_unless_asked(
    quickbooks: httpx.Client, world: World
) -> None:
    customer = next(iter(world.books["quickbooks"].customers.values()))
    customer.active = False
    assert not query(quickbooks, f"SELECT * FROM Customer WHERE Id = '{customer.id}'").get(
        "Customer"
    )
    assert query(
        quickbooks, f"SELECT * FROM Customer WHERE Id = '{customer.id}' AND Active IN (true,false)"
    )["Customer"]


def test_quickbooks_voids_zero_the_amounts_and_only_cdc_tells_of_deletions(
    quickbooks: httpx.Client, world: World
) -> None:
    books, now = world.books["quickbooks"], world.now()
    fresh = [
        row for row in books.all("Invoice") if not (row.paid_minor or row.taken_back or row.deleted)
    ]
    fresh = [row for row in fresh if row.status == "open" and row.number != "INV-001"]
    assert books.void(fresh[0], now)
    assert books.delete(fresh[1], now)
    voided = get(quickbooks, f"{QBO}/invoice/{fresh[0].id}")["Invoice"]
    assert (voided["TotalAmt"], voided["PrivateNote"], voided["LinkedTxn"]) == (0, "Voided", [])
    gone = quickbooks.get(f"{QBO}/invoice/{fresh[1].id}")
    assert (gone.status_code, gone.json()["Fault"]["Error"][0]["code"]) == (400, "610")
    since = (now - timedelta(minutes=1)).isoformat()
    (answer,) = get(quickbooks, f"{QBO}/cdc", entities="Invoice,RefundReceipt", changedSince=since)[
        "CDCResponse"
    ]
    invoices = {row["Id"]: row for row in answer["QueryResponse"][0]["Invoice"]}
    assert invoices[fresh[1].id]["status"] == "Deleted"
    assert answer["QueryResponse"][1] == {}
    late = quickbooks.get(
        f"{QBO}/cdc", params={"entities": "Invoice", "changedSince": "2025-01-01"}
    )
    assert late.status_code == 400


def test_quickbooks_batch(quickbooks: httpx.Client) -> None:
    items = [
        {"bId": "a", "Query": "SELECT COUNT(*) FROM Invoice"},
        {"bId": "b", "Query": "nonsense"},
    ]
    answer = quickbooks.post(f"{QBO}/batch", json={"BatchItemRequest": items}).json()[
        "BatchItemResponse"
    ]
    assert answer[0]["QueryResponse"]["totalCount"] > 0
    assert answer[1]["Fault"]["type"] == "ValidationFault"
    assert quickbooks.post(f"{QBO}/batch", json={"BatchItemRequest": items * 16}).status_code == 400


def published(path: str) -> Any:
    file = SAMPLES / path
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("entity", "schema"),
    [
        ("Invoice", "invoices"),
        ("SalesReceipt", "sales_receipts"),
        ("CreditMemo", "credit_memos"),
        ("RefundReceipt", "refund_receipts"),
        ("Payment", "payments"),
        ("Customer", "customers"),
        ("Item", "items"),
    ],
)
def test_quickbooks_fields_are_known_to_a_public_schema(
    quickbooks: httpx.Client, entity: str, schema: str
) -> None:
    known = set(published(f"quickbooks/singer-tap/{schema}.json")["properties"]) | {"sparse"}
    used = {name for row in query(quickbooks, f"SELECT * FROM {entity}")[entity] for name in row}
    assert used <= known, used - known
