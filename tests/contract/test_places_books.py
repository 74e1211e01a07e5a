"""Where a sale was made, as the vendors of accounting systems write it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.mapping import map_page
from connectors.kit.spec import Account
from loyalty.places import PLACES
from panel.blocks import NetSuiteConnection
from simulator.branches import BRANCHES

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"


def where(system: str, stream: str, record: dict[str, Any], **changes: Any) -> list[str | None]:
    """Store, channel, city and region of a document of which only the place matters."""
    spec = SYSTEMS[system]
    account = Account(system, "A", "", "", "id", SecretStr("s"), SecretStr("r"), **changes)
    of = spec.stream(stream)
    page: Any = [{of.fields["external_id"].paths[0].removeprefix("/"): "1"} | record]
    for name in reversed(of.records.strip("/").split("/")):
        page = {name: page}
    result = map_page(spec, of, account, json.dumps(page).encode(), page_id=1)
    (row,) = result.invoices.select(PLACES).rows()
    return list(row)


def published(path: str) -> Any:
    file = SAMPLES / path
    if not file.exists():
        pytest.skip(f"{file} is not here")
    return json.loads(file.read_text())


def test_the_published_invoice_of_business_central() -> None:
    record = published("business_central/docs_v2_salesinvoice_get.json")
    assert where("business_central", "invoices", record) == [None, None, "Chicago", "IL"]
    elsewhere = record | {"shipToCity": "Naperville", "sellToCity": "Aurora"}
    assert where("business_central", "invoices", elsewhere)[2] == "Naperville"
    carried_home = elsewhere | {"shipToCity": ""}
    assert where("business_central", "invoices", carried_home)[2] == "Aurora"


def test_the_published_credit_memo_of_business_central() -> None:
    record = published("business_central/docs_v2_salescreditmemo_get.json")
    assert where("business_central", "credit_memos", record) == [None] * 4
    address = record["billingPostalAddress"] | {"city": "Chicago", "state": "IL"}
    filled = record | {"billingPostalAddress": address}
    assert where("business_central", "credit_memos", filled) == [None, None, "Chicago", "IL"]


def test_the_published_billing_document_of_sap() -> None:
    """The plant is the items'; the region is that of the document, by its code."""
    folder = "sap_s4hana/latonaio_outputs/billing-document-"
    (header,) = published(f"{folder}header-01-sample.json")["message"]
    (item,) = published(f"{folder}item-01-sample.json")["message"]
    record = header | {"to_Item": {"results": [item]}}
    assert where("sap_s4hana", "billing_documents", record) == ["0001", "01", None, "13"]
    service = item | {"Plant": ""}
    record = header | {"to_Item": {"results": [service, item]}}
    assert where("sap_s4hana", "billing_documents", record)[0] == "0001"
    other = item | {"Plant": "0002"}
    record = header | {"to_Item": {"results": [item, other]}}
    assert where("sap_s4hana", "billing_documents", record)[0] is None, "no single plant sold it"


ADDRESS = {"Line1": "Rua da Maianga 1", "City": "Luanda", "CountrySubDivisionCode": "LUA"}


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({}, [None, None, None, None]),
        (
            {"DepartmentRef": {"value": "3", "name": "Loja 3"}, "BillAddr": ADDRESS},
            ["Loja 3", None, "Luanda", "LUA"],
        ),
        (
            {"DepartmentRef": {"value": "3"}, "BillAddr": ADDRESS, "ShipAddr": {"City": "Lobito"}},
            ["3", None, "Lobito", "LUA"],
        ),
        # A phone number that somebody typed into the city is none.
        ({"BillAddr": {"City": "923 456 789"}, "ClassRef": {"name": "x"}}, [None] * 4),
    ],
)
@pytest.mark.parametrize(
    "stream", ["invoices", "sales_receipts", "credit_memos", "refund_receipts"]
)
def test_quickbooks(stream: str, record: dict[str, Any], place: list[str | None]) -> None:
    assert where("quickbooks", stream, record) == place


@pytest.mark.parametrize("stream", ["invoices", "sales_receipts", "credit_notes"])
def test_zoho_books(stream: str) -> None:
    """Empty values are empty texts, as in the answers that were recorded."""
    billing = {"address": "123 Main St", "city": "New York", "state": "NY", "phone": ""}
    record: dict[str, Any] = {
        "sales_channel": "direct_sales",
        "billing_address": billing,
        "shipping_address": dict.fromkeys(billing, ""),
    }
    assert where("zoho_books", stream, record) == [None, "direct_sales", "New York", "NY"]
    record |= {"location_id": "460000000038080", "location_name": "", "sales_channel": ""}
    assert where("zoho_books", stream, record)[:2] == ["460000000038080", None]
    record |= {
        "location_name": "Head Office",
        "shipping_address": {"city": "Pleasanton", "state": "CA"},
    }
    assert where("zoho_books", stream, record) == ["Head Office", None, "Pleasanton", "CA"]


def test_freshbooks_has_the_customers_city_and_not_the_senders() -> None:
    record: dict[str, Any] = {
        "id": 453877,
        "city": "",
        "province": "",
        "sender_address": {"city": "Nairobi", "province": "Nairobi", "country": "Kenya"},
    }
    assert where("freshbooks", "invoices", record) == [None] * 4
    record |= {"city": "Toronto", "province": "Ontario"}
    assert where("freshbooks", "invoices", record) == [None, None, "Toronto", "Ontario"]
    assert where("freshbooks", "deleted_invoices", record)[2] == "Toronto"


@pytest.mark.parametrize("stream", ["invoices", "credit_memos"])
def test_oracle_fusion(stream: str) -> None:
    record = {
        "CustomerTransactionId": 1, "BusinessUnit": "Vision Operations",
        "TransactionSource": "AR_Trans Source_08", "BillToSite": "Chattanooga (OPS)",
    }  # fmt: skip
    assert where("oracle_fusion", stream, record) == [
        "Vision Operations", "AR_Trans Source_08", None, None,
    ]  # fmt: skip


def test_xero_and_wave_do_not_say_it_but_operators_may() -> None:
    tracking = [{"Name": "Loja", "Option": "Maianga"}]
    record = {"InvoiceID": "1", "LineItems": [{"Tracking": tracking}]}
    assert where("xero", "invoices", record) == [None] * 4
    paths = {"invoices.store": "/LineItems/0/Tracking/0/Option"}
    assert where("xero", "invoices", record, paths=paths) == ["Maianga", None, None, None]
    node = {"node": {"id": "1", "customer": {"id": "2"}}}
    assert where("wave", "invoices", node) == [None] * 4


@pytest.mark.parametrize(
    ("lines", "store"),
    [
        ([("1", None), ("1", "7")], "1"),
        ([("1", None), ("2", None)], None),
        ([(None, "VENDAS"), (None, None)], "VENDAS"),
        ([(None, None)], None),
    ],
)
def test_sage_intacct_books_lines_to_locations_and_departments(
    lines: list[tuple[str | None, str | None]], store: str | None
) -> None:
    spec = SYSTEMS["sage_intacct"]
    rows = [
        {
            "key": str(at), "invoice.key": "238", "txnAmount": "1.00",
            "dimensions.location.id": location, "dimensions.department.id": department,
        }
        for at, (location, department) in enumerate(lines)
    ]  # fmt: skip
    body = {
        "ia::result": [{"key": "238"}], "ia::meta": {},
        "details": [{"ia::result": rows, "ia::meta": {}}],
    }  # fmt: skip
    sent = json.dumps(body).encode()
    account = Account("sage_intacct", "A")
    result = map_page(spec, spec.stream("invoices"), account, sent, page_id=1)
    assert result.invoices["store"].to_list() == [store]


@pytest.mark.parametrize("stream", ["invoices", "adjustments"])
def test_sage_intacct_is_asked_for_them(benches: Callable[..., Any], stream: str) -> None:
    bench = benches("sage_intacct")
    bench.pages(stream)
    bodies = [json.loads(request.content) for request in bench.api_requests()]
    fields = [body["fields"] for body in bodies if body["object"].endswith("-line")]
    assert fields and all(
        {"dimensions.location.id", "dimensions.department.id"} <= set(asked) for asked in fields
    )


def test_netsuite_is_asked_for_locations_only_where_the_block_says_so(
    benches: Callable[..., Any],
) -> None:
    """An account without the feature does not know the column, and refuses the whole query."""
    bench = benches("netsuite")
    assert bench.read().invoices["store"].is_null().all()
    assert not [request for request in bench.api_requests() if b"location" in request.content]
    bench.requests.clear()
    bench.changes = {"options": bench.connection.options | {"locations": True}}
    stores = set(bench.read().invoices["store"].drop_nulls())
    assert stores == {branch.name for branch in BRANCHES}
    assert [request for request in bench.api_requests() if b"l.location" in request.content]
    block = NetSuiteConnection(account_id="1", locations=True)
    assert block.connection().options["locations"] is True
