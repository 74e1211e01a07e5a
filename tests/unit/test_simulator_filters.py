"""Simulated vendors serve a filter or refuse it; one that is ignored would hide a mistake of ours."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import simulator.systems.freshbooks.api
from simulator import ACCOUNTS, ManualClock, World, client

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SHEETS = Path(__file__).parents[3] / "shared" / "vendors"
XERO = "/api.xro/2.0"
BOOKS = f"/accounting/account/{ACCOUNTS['freshbooks']}"
COMPANY = f"/v3/company/{ACCOUNTS['quickbooks']}"
SAP_DOCUMENTS = "/sap/opu/odata/sap/API_BILLING_DOCUMENT_SRV/A_BillingDocument"
BC_INVOICES = (
    "/v2.0/Production/api/v2.0/companies(7dbba574-5f69-4167-a43e-fb975045de15)/salesInvoices"
)
ORACLE_INVOICES = "/fscmRestApi/resources/11.13.18.05/receivablesInvoices"


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=5, customers=30, invoices=200, now=ManualClock(NOW), days=30)


def ids(answer: httpx.Response, system: str) -> list[Any]:
    """The ids of a list."""
    body = answer.json()
    if system == "xero":
        return [row["InvoiceID"] for row in body["Invoices"]]
    return [row["id"] for row in body["response"]["result"]["invoices"]]


#: Of every parameter that Xero's sheet names for invoices: a value that leaves something out, or
#: changes the answer.
XERO_PARAMS = {
    "where": 'Type=="ACCPAY"', "order": "InvoiceID DESC", "IDs": "{id}", "InvoiceNumbers": "{number}",
    "ContactIDs": "{contact}", "Statuses": "PAID", "page": "2", "pageSize": "3", "createdByMyApp": "true",
    "summaryOnly": "true", "searchTerm": "{number}",
}  # fmt: skip
#: Those that change nothing in these books: there are no archived invoices, and prices have two
#: decimals.
XERO_WITHOUT_EFFECT = ("includeArchived", "unitdp")


@pytest.mark.parametrize("name", XERO_PARAMS)
def test_xero_serves_its_filters(world: World, name: str) -> None:
    api = client(world, "xero")
    whole = api.get(f"{XERO}/Invoices", params={"page": 1, "pageSize": 1000})
    row = whole.json()["Invoices"][7]
    value = XERO_PARAMS[name].format(
        id=row["InvoiceID"], number=row["InvoiceNumber"], contact=row["Contact"]["ContactID"]
    )
    some = api.get(f"{XERO}/Invoices", params={"page": 1, "pageSize": 1000, name: value})
    assert some.status_code == 200
    if name == "summaryOnly":
        assert not any(one.get("LineItems") for one in some.json()["Invoices"])
        return
    assert ids(some, "xero") != ids(whole, "xero")
    if name in ("IDs", "InvoiceNumbers", "searchTerm"):
        assert row["InvoiceID"] in ids(some, "xero")


@pytest.mark.parametrize(
    ("resource", "params", "headers"),
    [
        ("Invoices", {"page_size": "100"}, {}),
        ("Invoices", {"createdByMyApp": "perhaps"}, {}),
        ("Invoices", {"unitdp": "9"}, {}),
        ("CreditNotes", {"IDs": "1"}, {}),
        ("CreditNotes", {"searchTerm": "x"}, {}),
        ("Payments", {"Statuses": "PAID"}, {}),
        ("Invoices", {}, {"If-Modified-Since": "yesterday"}),
    ],
)
def test_xero_refuses_the_rest(
    world: World, resource: str, params: dict[str, str], headers: dict[str, str]
) -> None:
    answer = client(world, "xero").get(f"{XERO}/{resource}", params=params, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "params",
    [
        {"search[date_min]": "2026-03-01"},
        {"search[date_max]": "2026-02-20"},
        {"search[updated_min]": "2026-03-05"},
        {"search[updated_max]": "2026-02-20"},
        {"search[vis_state]": "1"},
        {"search[ids][]": "{id}"},
        {"search[customerid]": "{customer}"},
        {"per_page": "3"},
        {"page": "2"},
        {"sort": "id_asc"},
    ],
)
def test_freshbooks_serves_its_searches(world: World, params: Mapping[str, str]) -> None:
    api, path = client(world, "freshbooks"), f"{BOOKS}/invoices/invoices"
    whole = api.get(path, params={"per_page": 100})
    row = whole.json()["response"]["result"]["invoices"][5]
    asked = {
        key: one.format(id=row["id"], customer=row["customerid"]) for key, one in params.items()
    }
    some = api.get(path, params={"per_page": 100, **asked})
    assert some.status_code == 200
    found, name = some.json()["response"]["result"]["invoices"], next(iter(params))
    assert [one["id"] for one in found] != ids(whole, "freshbooks")
    if "date_" in name:
        assert found
        least = name.endswith("min]")
        assert all(
            (one["create_date"] >= params[name]) is least or one["create_date"] == params[name]
            for one in found
        )


@pytest.mark.parametrize(
    ("system", "path", "params"),
    [
        ("freshbooks", f"{BOOKS}/invoices/invoices", {"search[updated_since]": "2026-01-01"}),
        ("freshbooks", f"{BOOKS}/invoices/invoices", {"include[]": "owner"}),
        ("freshbooks", f"{BOOKS}/users/clients", {"search[email]": "a@b.c"}),
        ("freshbooks", f"{BOOKS}/users/clients", {"search[date_min]": "2026-01-01"}),
        ("quickbooks", f"{COMPANY}/query", {"query": "SELECT * FROM Invoice", "where": "x"}),
        (
            "quickbooks",
            f"{COMPANY}/cdc",
            {"changedSince": "2026-03-01", "entities": "Invoice", "startPosition": "1"},
        ),
        ("netsuite", "/services/rest/record/v1/invoice", {"q": 'tranId IS "1"'}),
        ("netsuite", "/services/rest/record/v1/invoice", {"ids": "1,2", "expandRecords": "true"}),
        ("sage_intacct", "/ia/api/v1/objects/accounts-receivable/invoice", {"filter": "x"}),
        ("custom", "/invoices", {"status": "paid"}),
        ("sap_s4hana", SAP_DOCUMENTS, {"$search": "x"}),
        ("sap_s4hana", SAP_DOCUMENTS, {"$filter": "CreationDate ge '2026-01-01'"}),
        ("sap_s4hana", SAP_DOCUMENTS, {"$filter": "Nothing eq '1'"}),
        ("sap_s4hana", SAP_DOCUMENTS, {"$expand": "to_Nothing"}),
        ("business_central", BC_INVOICES, {"$search": "x"}),
        ("business_central", BC_INVOICES, {"$filter": "lastModifiedDateTime ge '2026-01-01'"}),
        ("business_central", BC_INVOICES, {"$filter": "nothing eq 1"}),
        ("business_central", BC_INVOICES, {"$orderby": "nothing"}),
        ("business_central", BC_INVOICES, {"$expand": "nothing"}),
        ("oracle_fusion", ORACLE_INVOICES, {"finder": "invoiceSearch;DueDate=2026-01-01"}),
        ("oracle_fusion", ORACLE_INVOICES, {"q": "CreationDate >= '2026-01-01'"}),
        ("oracle_fusion", ORACLE_INVOICES, {"q": "TransactionDate >= '31.01.2026'"}),
        ("oracle_fusion", ORACLE_INVOICES, {"q": "TransactionNumber = INV"}),
        ("oracle_fusion", ORACLE_INVOICES, {"q": "CustomerTransactionId > 0 and"}),
        ("oracle_fusion", ORACLE_INVOICES, {"q": "Nothing = 1"}),
        ("oracle_fusion", ORACLE_INVOICES, {"orderBy": "Nothing:asc"}),
        ("oracle_fusion", ORACLE_INVOICES, {"fields": "Nothing"}),
        ("oracle_fusion", ORACLE_INVOICES, {"expand": "nothing"}),
    ],
)
def test_what_is_not_served_is_refused(
    world: World, system: str, path: str, params: dict[str, str]
) -> None:
    answer = client(world, system).get(path, params=params)
    assert answer.status_code in (400, 422), answer.text
    assert json.loads(answer.content)


@pytest.mark.skipif(not SHEETS.is_dir(), reason=f"no sheets in {SHEETS}")
def test_every_parameter_of_the_sheets_is_tried() -> None:
    """What the sheets name: Xero's list of query parameters, and FreshBooks' searches."""
    xero = (SHEETS / "xero.md").read_text()
    found = re.search(r"Query: `(where, [^`]*)`", xero)
    assert found is not None
    assert set(found[1].split(", ")) == {*XERO_PARAMS, *XERO_WITHOUT_EFFECT}
    freshbooks = (SHEETS / "freshbooks.md").read_text()
    served = (
        simulator.systems.freshbooks.api._SEARCHES["invoices/invoices"]
        + simulator.systems.freshbooks.api._SERVED
    )
    named = set(re.findall(r"search\[\w+\](?:\[\])?", freshbooks)) - {
        "search[updated_since]"
    }  # undocumented
    assert named <= set(served)
