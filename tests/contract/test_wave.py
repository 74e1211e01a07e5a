"""What is special about Wave: GraphQL, errors with status 200, and the two ways to log in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import CredentialsRejected, PermissionMissing
from connectors.kit.http.client import open_client
from connectors.kit.mapping import map_page
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, Window
from connectors.wave.connector import BusinessHidden
from panel.blocks import BLOCKS
from panel.connect.check import who_must_act
from tests.contract.conftest import MemoryTokens

SPEC = SYSTEMS["wave"]
BUSINESS = "QnVzaW5lc3M6MQ=="
TOKEN = Account(
    "wave",
    BUSINESS,
    options={"login": "full_access_token"},
    secrets={"full_access_token": SecretStr("t0ken")},
)


def amount(value: Any) -> dict[str, Any]:
    return {"value": value}


NODE: dict[str, Any] = {
    "id": "SW52b2ljZTox",
    "status": "PARTIAL",
    "invoiceNumber": "12",
    "invoiceDate": "2026-05-01",
    "createdAt": "2026-05-01T10:00:00.000Z",
    "modifiedAt": "2026-05-04T09:00:00.000Z",
    "currency": {"code": "USD"},
    "customer": {"id": "Q3VzdG9tZXI6MQ==", "phone": "222 123 456", "mobile": "+244 923 456 789"},
    "taxTotal": amount("6.00"),
    "total": amount("106.00"),
    "amountPaid": amount("50.00"),
    "items": [
        {
            "product": {"id": "UDox", "name": "Água 5L"},
            "description": "",
            "quantity": "2",
            "unitPrice": "50.00",
            "subtotal": amount("100.00"),
        }
    ],
}


def page(*nodes: dict[str, Any], number: int = 1, pages: int = 1) -> dict[str, Any]:
    info = {"currentPage": number, "totalPages": pages, "totalCount": len(nodes)}
    edges = [{"node": node} for node in nodes]
    return {"data": {"business": {"id": BUSINESS, "invoices": {"pageInfo": info, "edges": edges}}}}


def invoice(**changes: Any) -> dict[str, Any]:
    body = json.dumps(page(NODE | changes)).encode()
    result = map_page(SPEC, SPEC.stream("invoices"), TOKEN, body, page_id=1)
    assert result.problems.to_dicts() == []
    return result.invoices.to_dicts()[0] | {"lines": result.lines.to_dicts()}


def test_an_invoice() -> None:
    row = invoice()
    assert (row["external_id"], row["invoice_number"], row["status"]) == (NODE["id"], "12", "open")
    assert (row["total_minor"], row["tax_minor"], row["subtotal_minor"]) == (10600, 600, 10000)
    assert (row["customer_phone"], row["amount_paid_minor"]) == ("+244923456789", 5000)
    (line,) = row["lines"]
    assert (line["name"], line["amount_minor"], int(line["quantity"])) == ("Água 5L", 10000, 2)


def test_an_invoice_that_was_made_on_its_day_has_a_time() -> None:
    row, earlier = invoice(), invoice(invoiceDate="2026-04-30")
    assert (row["issued_at"], row["time_known"]) == (datetime(2026, 5, 1, 10, tzinfo=UTC), True)
    assert (earlier["issued_at"].hour, earlier["time_known"]) == (23, False)  # midnight in Luanda


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("DRAFT", "draft"), ("SAVED", "open"), ("SENT", "open"), ("VIEWED", "open"), ("UNPAID", "open"),
        ("PARTIAL", "open"), ("OVERDUE", "open"), ("PAID", "paid"), ("OVERPAID", "paid"),
    ],
)  # fmt: skip
def test_which_states_earn(state: str, status: str) -> None:
    assert invoice(status=state)["status"] == status


def test_money_is_a_text_or_a_number_and_has_the_currencys_decimals() -> None:
    assert invoice(total=amount(106.5))["total_minor"] == 10650
    yen = {"currency": {"code": "JPY"}, "amountPaid": amount("0"), "taxTotal": amount("0")}
    assert invoice(**yen, total=amount("1500"), items=[])["total_minor"] == 1500


def read(answer: Any, account: Account = TOKEN, stream: str = "invoices") -> list[Any]:
    tokens = MemoryTokens()
    transport = httpx.MockTransport(answer)
    with open_client(account, SPEC, tokens, transport=transport) as client:
        return list(extract(SPEC, SPEC.stream(stream), client, Window()))


def test_pages_are_asked_for_by_variables() -> None:
    nodes = [NODE | {"id": f"id{number:03d}"} for number in range(120)]
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.url.path == "/graphql/public"
        variables = json.loads(request.content)["variables"]
        asked.append((variables["page"], variables["size"]))
        assert variables["business"] == BUSINESS
        begin = (variables["page"] - 1) * variables["size"]
        body = page(*nodes[begin : begin + variables["size"]], pages=-(-120 // variables["size"]))
        body["data"]["business"]["invoices"]["pageInfo"]["totalCount"] = 120
        return httpx.Response(200, json=body)

    bodies = [json.loads(one.body) for one in read(answer)]
    edges = [one["data"]["business"]["invoices"]["edges"] for one in bodies]
    assert {edge["node"]["id"] for part in edges for edge in part} == {one["id"] for one in nodes}
    assert asked[0] == (1, 50)


@pytest.mark.parametrize(
    ("code", "error"),
    [("UNAUTHENTICATED", CredentialsRejected), ("NOT_FOUND", PermissionMissing)],
)
def test_errors_come_with_status_200(code: str, error: type[Exception]) -> None:
    body = {"data": None, "errors": [{"message": "s3cr3t", "extensions": {"code": code}}]}
    with pytest.raises(error, match=code) as caught:
        read(lambda _: httpx.Response(200, json=body))
    assert "s3cr3t" not in str(caught.value)


def test_a_business_without_a_paid_plan_is_not_shown() -> None:
    with pytest.raises(BusinessHidden, match="paid plan") as caught:
        read(lambda _: httpx.Response(200, json={"data": {"business": None}}))
    assert who_must_act(caught.value).startswith("operator")


def test_the_first_read_lists_no_ids_and_reads_nothing_again() -> None:
    def nothing(_: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing is to be asked for")

    assert read(nothing, stream="invoice_census") == []
    assert read(nothing, stream="recent_invoices") == []


def test_recent_invoices_are_read_again_whatever_their_time_of_change(
    benches: Callable[..., Any],
) -> None:
    """Whether a payment moves it is not documented; this one does not."""
    bench = benches("wave")
    bench.changes = {"options": {"deletions_hours": 0, "recheck_days": 10}}
    books, now = bench.world.books["wave"], bench.clock()
    old = now - timedelta(days=8)
    sold = books.record("Invoice", next(iter(books.customers.values())), rows_of(books), old)
    books.pay(sold, sold.total_minor, old)
    window = Window(now - timedelta(minutes=10), None)
    rows = {row["external_id"]: row for row in bench.read(window).invoices.to_dicts()}
    assert rows[sold.id]["status"] == "paid"
    assert rows[sold.id]["updated_at"] < window.since
    assert not [row for row in rows.values() if row["issued_at"] < now - timedelta(days=11)]


def rows_of(books: Any) -> list[tuple[Any, int, int]]:
    return [(next(iter(books.products.values())), 1, 100)]


def test_a_full_access_token_reads_the_simulated_business(benches: Callable[..., Any]) -> None:
    bench = benches("wave")
    whole = bench.pages("invoices")
    key = {"full_access_token": SecretStr("sim-full-access")}
    bench.changes = {"options": {"login": "full_access_token"}, "secrets": key}
    assert [one.body for one in bench.pages("invoices")] == [one.body for one in whole]


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("{", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query { nothing { id } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query { businesses { edges { node { sku } } } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query { businesses { edges } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($b: ID!) { business(id: $b) { id } }", {}, "VARIABLE_VALUE"),
        ("query ($b: ID!) { business(id: $b) { id } }", {"b": "x"}, "NOT_FOUND"),
    ],
)
def test_the_simulated_wave_refuses_what_wave_refuses(
    benches: Callable[..., Any], query: str, variables: dict[str, Any], code: str
) -> None:
    bench = benches("wave")
    with simulator.client(bench.world, "wave") as client:
        body = {"query": query, "variables": variables}
        answer = client.post("/graphql/public", json=body)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["extensions"]["code"] == code


def test_a_token_of_ones_own_needs_the_business() -> None:
    made = {"client_id": "-", "client_secret": "-", "login": "full_access_token"}
    assert "Full access token" in BLOCKS["wave"](**made).missing()
    assert "Business ID" in BLOCKS["wave"](**made, full_access_token="t").missing()
    assert BLOCKS["wave"](**made, full_access_token="t", business_id=BUSINESS).missing() == ""
