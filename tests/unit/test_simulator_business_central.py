"""Business Central's simulator: OData as the vendor describes it, and read by a client of others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator import ACCOUNTS, CLIENT_ID, CLIENT_SECRET, World, client
from simulator.systems.business_central.api import TOKEN_PATH
from simulator.systems.business_central.system import TENANT
from tests.support.served_vendors import served_vendors

SYSTEM = "business_central"
ROOT = "/v2.0/Production/api/v2.0"
COMPANY = f"{ROOT}/companies({ACCOUNTS[SYSTEM]})"
INVOICES = f"{COMPANY}/salesInvoices"
SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "business_central"
#: Addresses and names that the simulated shop leaves out.
LEFT_OUT = ("sellTo", "billTo", "shipTo", "billing", "contactId")


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, customers=40, invoices=160)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    """The served simulator's address."""
    with served_vendors(world) as address:
        yield address


def rows(world: World, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = client(world, SYSTEM).get(
        path, params={f"${key}": value for key, value in params.items()}
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["value"])


def all_pages(world: World, size: int, **params: str) -> list[list[dict[str, Any]]]:
    """The pages of a list, as a client that follows the addresses reads them."""
    api, pages = client(world, SYSTEM), list[list[dict[str, Any]]]()
    address = str(httpx.URL(INVOICES, params={f"${name}": text for name, text in params.items()}))
    while address:
        answer = api.get(address, headers={"prefer": f"odata.maxpagesize={size}"})
        pages.append(answer.json()["value"])
        address = answer.json().get("@odata.nextLink", "")
    return pages


def alive(world: World, kind: str) -> list[str]:
    found = (row for row in world.truth() if (row.system, row.kind) == (SYSTEM, kind))
    return sorted(row.external_id.rpartition("/")[2] for row in found if not row.deleted)


@pytest.mark.parametrize("order", ["id", "lastModifiedDateTime,id", "number desc", ""])
def test_pages_hold_every_row_once(world: World, order: str) -> None:
    pages = all_pages(world, 7, **({"orderby": order} if order else {}))
    assert {len(page) for page in pages[:-1]} == {7}
    found = [row["id"] for page in pages for row in page]
    assert sorted(found) == alive(world, "invoice")
    assert found == [
        row["id"] for row in all_pages(world, 20_000, **({"orderby": order} if order else {}))[0]
    ]


def test_who_asks_for_a_number_of_rows_is_told_of_no_more(world: World) -> None:
    answer = client(world, SYSTEM).get(INVOICES, params={"$top": "5", "$count": "true"}).json()
    assert len(answer["value"]) == 5
    assert answer["@odata.count"] == len(alive(world, "invoice"))
    assert "@odata.nextLink" not in answer


def test_filters(world: World) -> None:
    everything = rows(world, INVOICES)
    middle = sorted(row["lastModifiedDateTime"] for row in everything)[80]
    since = rows(world, INVOICES, filter=f"lastModifiedDateTime ge {middle}")
    assert {row["id"] for row in since} == {
        row["id"] for row in everything if row["lastModifiedDateTime"] >= middle
    }
    later = rows(world, INVOICES, filter=f"lastModifiedDateTime gt {middle}")
    assert 0 < len(since) - len(later) < len(since)
    two = [row["id"] for row in everything[:2]]
    wanted = f"id eq {two[0]} or (id eq {two[1].upper()} and not status eq 'Nothing')"
    assert {row["id"] for row in rows(world, INVOICES, filter=wanted)} == set(two)


def test_lines_want_a_document(world: World) -> None:
    first = rows(world, INVOICES, top=1, expand="salesInvoiceLines")[0]
    lines = rows(world, f"{COMPANY}/salesInvoiceLines", filter=f"documentId eq {first['id']}")
    assert (
        lines
        == first["salesInvoiceLines"]
        == rows(world, f"{INVOICES}({first['id']})/salesInvoiceLines")
    )
    refused = client(world, SYSTEM).get(f"{COMPANY}/salesInvoiceLines")
    assert refused.status_code == 400
    assert "You must specify an Id or a Document Id" in refused.json()["error"]["message"]


def test_amounts_add_up(world: World) -> None:
    for row in rows(world, INVOICES, expand="salesInvoiceLines"):
        lines = row["salesInvoiceLines"]
        assert round(sum(line["netAmount"] for line in lines), 2) == row["totalAmountExcludingTax"]
        assert round(sum(line["netTaxAmount"] for line in lines), 2) == row["totalTaxAmount"]
        off = round(sum(line["invoiceDiscountAllocation"] for line in lines), 2)
        assert off == row["discountAmount"]


def test_a_cancelled_document_has_one_that_cancels_it(world: World) -> None:
    invoices, memos = rows(world, INVOICES), rows(world, f"{COMPANY}/salesCreditMemos")
    cancelled = {row["id"] for row in invoices if row["status"] == "Canceled"}
    correcting = {row["invoiceId"] for row in memos if row["status"] == "Corrective"}
    assert cancelled and cancelled == correcting
    assert {row["status"] for row in invoices} >= {"Open", "Paid", "Canceled"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("salesInvoices", "docs_v2_salesinvoice_get"),
        ("salesCreditMemos", "docs_v2_salescreditmemo_get"),
        ("customers", "docs_v2_customer_get"),
    ],
)
def test_fields_are_those_of_the_published_samples(world: World, name: str, file: str) -> None:
    if not SAMPLES.is_dir():
        pytest.skip(f"no samples in {SAMPLES}")
    published = json.loads((SAMPLES / f"{file}.json").read_text())
    row = rows(world, f"{COMPANY}/{name}", top=1)[0]
    missing = {field for field in published if not field.startswith(LEFT_OUT)} - set(row)
    assert missing == set()
    for field in set(published) & set(row):
        numbers = (isinstance(published[field], int | float), isinstance(row[field], int | float))
        assert numbers in ((True, True), (False, False)), field


def test_tokens_and_places(world: World, url: str) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    with httpx.Client(base_url=f"{url}/{SYSTEM}") as http:
        assert http.post(TOKEN_PATH, data=form).json()["error"] == "invalid_scope"
        scope = {"scope": "https://api.businesscentral.dynamics.com/.default"}
        wrong = http.post(TOKEN_PATH, data=form | scope | {"client_secret": "wrong"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        token = http.post(TOKEN_PATH, data=form | scope).json()["access_token"]
        refused = http.get(f"{ROOT}/companies")
        assert refused.json()["error"]["code"] == "Authentication_InvalidCredentials"
        http.headers["authorization"] = f"Bearer {token}"
        (company,) = http.get(f"/v2.0/{TENANT}/Production/api/v2.0/companies").json()["value"]
        assert company["id"] == ACCOUNTS[SYSTEM]
        for path, code in (
            ("/v2.0/Sandbox/api/v2.0/companies", "NoEnvironment"),
            (
                f"{ROOT}/companies({'0' * 8}-0000-0000-0000-{'0' * 12})/items",
                "Internal_CompanyNotFound",
            ),
            (f"{INVOICES}(7dbba574-5f69-4167-a43e-fb975045de15)", "Internal_RecordNotFound"),
        ):
            answer = http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
        too_large = http.get(INVOICES, headers={"prefer": "odata.maxpagesize=20001"})
        assert too_large.status_code == 413


def test_pybusinesscentral(url: str, world: World) -> None:
    """A client that was generated from a description of the API: its models check every value."""
    package = pytest.importorskip("pybusinesscentral")
    from pybusinesscentral.api.customer_api import CustomerApi
    from pybusinesscentral.api.sales_credit_memo_api import SalesCreditMemoApi
    from pybusinesscentral.api.sales_invoice_api import SalesInvoiceApi

    token = world.grants[SYSTEM].issue_access()
    host = f"{url}/{SYSTEM}{ROOT}"
    api = package.ApiClient(package.Configuration(host=host, access_token=token))
    company, found = ACCOUNTS[SYSTEM], list[Any]()
    invoices = SalesInvoiceApi(api)
    while page := invoices.list_sales_invoices(
        company, skip=len(found), top=50, expand=["salesInvoiceLines"]
    ).value:
        found += page
    assert sorted(invoice.id for invoice in found) == alive(world, "invoice")
    assert all(invoice.sales_invoice_lines for invoice in found)
    single = invoices.get_sales_invoice(company, found[0].id)
    assert single.total_amount_including_tax == found[0].total_amount_including_tax
    memos = SalesCreditMemoApi(api).list_sales_credit_memos(company).value
    assert sorted(memo.id for memo in memos) == alive(world, "credit_note")
    customers = CustomerApi(api).list_customers(company).value
    assert len(customers) == len(world.books[SYSTEM].customers)
