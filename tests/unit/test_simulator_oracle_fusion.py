"""Oracle Fusion's simulator: pages that are cut, lists without order, errors, and what is hidden."""

from typing import Any

import httpx
import pytest

from simulator import CLIENT_ID, CLIENT_SECRET, World, client, handler
from simulator.systems.oracle_fusion.api import PARTIES, RECEIVABLES

SYSTEM = "oracle_fusion"
INVOICES = f"{RECEIVABLES}/receivablesInvoices"
MEMOS = f"{RECEIVABLES}/receivablesCreditMemos"
KEY = "CustomerTransactionId"


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, customers=40, invoices=160, systems=(SYSTEM,))


def asked(world: World, path: str, **params: Any) -> dict[str, Any]:
    answer = client(world, SYSTEM).get(path, params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_page_has_25_rows_and_499_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = asked(world, INVOICES)
    assert (usual["count"], usual["limit"], usual["hasMore"]) == (25, 25, True)
    assert asked(world, INVOICES, limit=10_000)["limit"] == 499
    monkeypatch.setattr("simulator.systems.oracle_fusion.api.PAGE_MAX", 7)
    assert len(asked(world, INVOICES, limit=500)["items"]) == 7


def test_offsets_totals_and_order(world: World) -> None:
    """Without an order, two requests give the rows in two orders."""
    order = {"orderBy": f"{KEY}:desc", "limit": 50, "fields": KEY, "onlyData": "true"}
    read, page = [], asked(world, INVOICES, **order)
    while True:
        read += [row[KEY] for row in page["items"]]
        if not page["hasMore"]:
            break
        page = asked(world, INVOICES, **order, offset=len(read), totalResults="true")
        assert page["totalResults"] == sum(
            not row.deleted for row in world.books[SYSTEM].all("Invoice")
        )
    assert read == sorted(read, reverse=True)
    assert len(read) == page["totalResults"]
    api = client(world, SYSTEM)
    first, second = (api.get(INVOICES).json()["items"] for _ in range(2))
    assert [row[KEY] for row in first] != [row[KEY] for row in second]


def test_what_is_searched_by(world: World) -> None:
    rows = asked(world, INVOICES, limit=499, orderBy=f"{KEY}:asc")["items"]
    middle = rows[len(rows) // 2]
    for query, fits in (
        (f"{KEY} > {middle[KEY]}", lambda row: row[KEY] > middle[KEY]),
        (
            f"LastUpdateDate >= '{middle['LastUpdateDate']}'",
            lambda row: row["LastUpdateDate"] >= middle["LastUpdateDate"],
        ),
        (
            f"TransactionDate='{middle['TransactionDate']}';InvoiceStatus = 'Complete'",
            lambda row: (
                (row["TransactionDate"], row["InvoiceStatus"])
                == (middle["TransactionDate"], "Complete")
            ),
        ),
        ("BusinessUnit = 'Rei d''Água' and EnteredAmount > 0", lambda _: False),
    ):
        found = asked(world, INVOICES, q=query, limit=499)["items"]
        assert sorted(row[KEY] for row in found) == [row[KEY] for row in rows if fits(row)], query


def test_a_pod_that_does_not_tell_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def searchable() -> set[str]:
        (described,) = asked(world, f"{INVOICES}/describe")["Resources"].values()
        return {one["name"] for one in described["attributes"] if one["queryable"]}

    assert "LastUpdateDate" in searchable()
    monkeypatch.setattr("simulator.systems.oracle_fusion.api.TELLS_CHANGES", False)
    assert "LastUpdateDate" not in searchable() | asked(world, INVOICES)["items"][0].keys()
    query = {"q": "LastUpdateDate >= '2020-01-01T00:00:00+00:00'"}
    refused = client(world, SYSTEM).get(INVOICES, params=query)
    assert (refused.status_code, refused.json()["status"]) == (400, "400")
    assert refused.headers["content-type"] == "application/vnd.oracle.adf.error+json"


def test_amounts_add_up_and_a_credit_memos_are_negative(world: World) -> None:
    books = world.books[SYSTEM]
    for entity, path, sign in (("Invoice", INVOICES, 1), ("CreditMemo", MEMOS, -1)):
        document = next(one for one in books.all(entity) if not one.deleted and len(one.lines) > 1)
        header = asked(world, f"{path}/{document.id}")
        child = f"{path}/{document.id}/child/{path.rpartition('/')[2].removesuffix('s')}Lines"
        lines = asked(world, child, orderBy="LineNumber:asc")["items"]
        cents = 0
        for line in lines:
            cents += round(line["Quantity"] * line["UnitSellingPrice"] * 100)
            taxes = f"{child}/{line['CustomerTransactionLineId']}/child/"
            taxes += path.rpartition("/")[2].removesuffix("s") + "LineTaxLines"
            cents += sum(round(tax["TaxAmount"] * 100) for tax in asked(world, taxes)["items"])
        assert cents == round(header["EnteredAmount"] * 100) == sign * document.total_minor
        assert "InvoiceStatus" in header or "CreditMemoStatus" in header


def test_expanded_lines_are_cut_without_a_word_where_only_data_is_wanted(world: World) -> None:
    books = world.books[SYSTEM]
    (product, *_) = books.products.values()
    buyer = next(iter(books.customers.values()))
    rows = [(product, 1, 100)] * 30
    long = books.record("Invoice", buyer, rows, world.now())
    params = {"expand": "receivablesInvoiceLines.receivablesInvoiceLineTaxLines"}
    whole = asked(world, f"{INVOICES}/{long.id}", **params)["receivablesInvoiceLines"]
    assert (whole["count"], whole["hasMore"]) == (25, True)
    assert whole["items"][0]["receivablesInvoiceLineTaxLines"]["items"][0]["TaxRateCode"] == "IVA14"
    bare = asked(world, f"{INVOICES}/{long.id}", **params, onlyData="true")
    assert len(bare["receivablesInvoiceLines"]) == 25
    both = asked(world, INVOICES, **params, fields=KEY, onlyData="true")["items"][0]
    assert set(both) == {KEY}


def test_a_party_is_an_organisation_or_a_person(world: World) -> None:
    for customer in world.books[SYSTEM].customers.values():
        asks = {"q": f"PartyId={customer.id}", "expand": "ContactPoint"}
        found = [
            asked(world, f"{PARTIES}/{name}", **asks)["items"]
            for name in ("hubOrganizations", "hubPersons")
        ]
        assert [len(rows) for rows in found] == ([1, 0] if customer.person.company else [0, 1])
        (party,) = found[0] + found[1]
        kinds = {point["ContactPointType"] for point in party["ContactPoint"]["items"]}
        assert kinds == ({"EMAIL", "PHONE"} if customer.phone else {"EMAIL"})


def test_refusals(world: World) -> None:
    transport = httpx.MockTransport(handler(world, SYSTEM))
    with httpx.Client(transport=transport, base_url="http://pod.test") as http:
        stranger = http.get(INVOICES)
        assert (stranger.status_code, stranger.content) == (401, b"")
        assert "Basic" in stranger.headers["www-authenticate"]
        http.auth = (CLIENT_ID, CLIENT_SECRET)
        assert http.get(INVOICES, params={"limit": 1}).status_code == 200
        assert http.get(INVOICES, params={"fields": f"{KEY},Comments"}).status_code == 500
        assert http.get(f"{INVOICES}/1").json()["status"] == "404"
        assert http.get(f"{RECEIVABLES}/invoices").status_code == 404
        assert http.delete(f"{INVOICES}/1").status_code == 405
        form = {"grant_type": "client_credentials"}
        assert http.post("/oauth2/v1/token", data=form).json() == {"error": "invalid_scope"}
        granted = http.post("/oauth2/v1/token", data=form | {"scope": "urn:opc:x"}).json()
        http.auth = None
        bearer = {"authorization": f"Bearer {granted['access_token']}"}
        assert http.get(INVOICES, headers=bearer).status_code == 200
