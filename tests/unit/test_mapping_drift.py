"""A needed field that is gone, or of another type, with every system: one problem, naming field and path, with no personal data."""

import copy
import json
from functools import partial
from typing import Any

import polars as pl
import pytest

from connectors import DESCRIBED, SYSTEMS, spec_for
from connectors.kit.mapping import Mapped, fill, map_page, phone_place
from connectors.kit.mapping.outline import Outline, Watch
from connectors.kit.mapping.pointers import segments
from connectors.kit.mapping.reader import plan_for
from connectors.kit.spec import Account
from loyalty.schema import INVOICE
from sql.versions import READING
from tasks.load.invoices import judged
from tests.contract.test_magento import order as magento_order
from tests.contract.test_oracle_fusion import INVOICE as ORACLE_FUSION
from tests.support.systems import SIMULATED
from tests.unit.test_mapping_records import QBO, RECORDS, XERO, connection

NETSUITE = {
    "id": "7", "type": "CustInvc", "tranid": "INV7", "trandate": "2026-05-01", "customer": "31", "symbol": "USD", "total": "108.00",
    "status": "A", "isvoided": "F", "isposting": "T", "modified": "2026-05-02T09:48:00",
}  # fmt: skip
CUSTOM = {
    "invoice_number": "INV-001", "customer_phone": "+244 923 456 789", "customer_id": "C-7", "total_amount": 150.00, "currency": "AOA",
    "sale_date": "2024-01-15T14:30:00Z", "products": [{"name": "Água", "quantity": 3, "unit_price": 50.00, "sku": "ATW-5L"}],
}  # fmt: skip
STRIPE = {
    "id": "in_1", "object": "invoice", "number": "A-1", "status": "paid", "currency": "usd", "total": 10800, "amount_paid": 10800,
    "customer": "cus_1", "created": 1779832114, "effective_at": 1779832200, "status_transitions": {"paid_at": 1779832300},
}  # fmt: skip
SHOPIFY = {
    "legacyResourceId": "450789469", "name": "#1001", "test": False, "processedAt": "2026-05-01T10:00:00Z",
    "updatedAt": "2026-05-02T09:48:00Z", "displayFinancialStatus": "PAID", "currencyCode": "AOA",
    "customer": {"legacyResourceId": "207119551"},
    "totalPriceSet": {"shopMoney": {"amount": "108.00"}}, "currentTotalPriceSet": {"shopMoney": {"amount": "108.00"}},
    "totalRefundedSet": {"shopMoney": {"amount": "0.0"}},
}  # fmt: skip
BUSINESS_CENTRAL = {
    "id": "9e0f5c9c-44e3-ea11-bb43-000d3a2feca1", "number": "PS-INV103001", "invoiceDate": "2026-05-01", "status": "Open",
    "customerId": "f3a5738a-44e3-ea11-bb43-000d3a2feca1", "currencyCode": "AOA", "totalAmountIncludingTax": 159.6,
    "lastModifiedDateTime": "2026-05-01T10:00:00.123Z",
}  # fmt: skip
SAP_S4HANA = {
    "BillingDocument": "90000007", "SDDocumentCategory": "M", "BillingDocumentDate": "/Date(1777593600000)/",
    "LastChangeDateTime": "/Date(1777650664000+0000)/", "TotalGrossAmount": "114.000", "TransactionCurrency": "AOA",
    "SoldToParty": "10100001",
}  # fmt: skip
WOOCOMMERCE = {
    "id": 501, "number": "501", "status": "processing", "currency": "AOA", "date_created_gmt": "2026-05-01T09:00:00",
    "date_modified_gmt": "2026-05-01T09:05:00", "total": "17.39", "total_tax": "1.89", "customer_id": 7,
    "billing": {"first_name": "Nobody", "phone": ""}, "line_items": [], "refunds": [],
}  # fmt: skip
WAVE = {
    "node": {
        "id": "SW52", "status": "SENT", "invoiceNumber": "12", "invoiceDate": "2026-05-01",
        "modifiedAt": "2026-05-04T09:00:00.000Z", "currency": {"code": "USD"}, "customer": {"id": "Q3Vz"},
        "total": {"value": "106.00"}, "items": [],
    },
}  # fmt: skip
ALL = {
    **RECORDS,
    "netsuite": NETSUITE,
    "custom": CUSTOM,
    "shopify": SHOPIFY,
    "stripe": STRIPE,
    "business_central": BUSINESS_CENTRAL,
    "sap_s4hana": SAP_S4HANA,
    "magento": magento_order() | {"billing_address": {}},
    "woocommerce": WOOCOMMERCE,
    "wave": WAVE,
    "oracle_fusion": ORACLE_FUSION,
}
#: Fields that a record must have. (A phone number stands in for a customer's number, and the other
#: way round.)
NEEDED = ("external_id", "customer_external_id", "total_minor", "issued_at", "currency", "status")
SECRETS = ("Nobody", "923", "+244")


def link(system: str) -> Account:
    return (
        Account("custom", "loja", "https://erp.test") if system == "custom" else connection(system)
    )


def mapped(system: str, record: dict[str, Any]) -> Mapped:
    spec = spec_for(link(system))
    stream = spec.streams[0]
    body: Any = [record]
    for part in reversed(segments(stream.records)):
        body = {part: body}
    if stream.details is not None:
        body |= {"details": []}
    return map_page(spec, stream, link(system), json.dumps(body).encode(), page_id=1)


def paths(system: str, field: str) -> tuple[str, ...]:
    spec = spec_for(link(system))
    plan = plan_for(spec, spec.streams[0], link(system))
    return ({**plan.fields, **plan.helpers})[field].paths


def without(record: dict[str, Any], places: tuple[str, ...], value: Any = None) -> dict[str, Any]:
    """The record with nothing at these places, or another value where there was one."""
    changed = copy.deepcopy(record)
    for path in places:
        *above, last = segments(path)
        holder: Any = changed
        for part in above:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and last in holder:
            if value is None:
                del holder[last]
            else:
                holder[last] = value
    return changed


PHONE_ALONE = [
    name for name, spec in SIMULATED.items() if not spec.lookups and not spec.streams[0].walk_ins
]
CASES = [
    (system, field)
    for system in ALL
    for field in NEEDED
    if paths(system, field)
    and not (system in DESCRIBED and field in ("status", "customer_external_id"))
    # Without a list of customers, the phone alone tells who bought.
    and not (field == "customer_external_id" and system in PHONE_ALONE)
    # This status follows from what the document is.
    and (system, field) != ("sap_s4hana", "status")
]


def test_every_system_is_here() -> None:
    # (The lists of others have other names: tests/contract/test_square.py, test_paypal.py.)
    assert {*ALL, "square", "paypal"} == {*SIMULATED, "custom"}
    assert len(CASES) >= 28


@pytest.mark.parametrize(("system", "field"), CASES)
def test_a_needed_field_is_gone(system: str, field: str) -> None:
    where = paths(system, field)
    found = mapped(system, without(ALL[system], where)).problems.to_dicts()
    # Without its customer, a shop's order is one of somebody passing by.
    nobodys = spec_for(link(system)).streams[0].walk_ins and field == "customer_external_id"
    if nobodys or (system == "quickbooks" and field == "status"):
        assert found == []
        return
    assert [(one["field"], one["path"], one["reason"]) for one in found] == [
        (field, " or ".join(where), "missing")
    ]


@pytest.mark.parametrize(("system", "field"), CASES)
@pytest.mark.parametrize("value", [{"amount_of": "Nobody"}, ["+244 923 456 789"]])
def test_a_needed_field_is_of_another_type(system: str, field: str, value: Any) -> None:
    where = paths(system, field)
    found = mapped(system, without(ALL[system], where, value)).problems.to_dicts()
    assert found
    assert len(found) == 1
    assert found[0]["field"] in (field, "record")
    assert any(path in found[0]["path"] or found[0]["path"].endswith(path) for path in where)
    assert found[0]["reason"] != "missing"
    assert not any(secret in str(found) for secret in SECRETS)


@pytest.mark.parametrize("system", ALL)
def test_an_unknown_currency_is_the_only_reason(system: str) -> None:
    spec = spec_for(link(system))
    record = without(ALL[system], paths(system, "currency"), "Kwanza")
    result = mapped(system, record)
    phones = pl.DataFrame(
        {"external_id": result.invoices["customer_external_id"], "phone": ["+244923456789"]}
    )
    items = pl.DataFrame(schema={"external_id": pl.String, "name": pl.String, "sku": pl.String})
    batch = judged(spec.streams[0], fill(result, phones, items), READING.to_frame())
    assert batch.rejects.height == 1
    reason = batch.rejects["reason"][0]
    assert reason.startswith("Currency, looked for at /")
    assert reason.endswith(": is not an ISO 4217 currency")
    (problem,) = json.loads(batch.rejects["problems"][0])
    assert problem["example"] == "Kw…"


def test_without_customers_to_look_up_a_phone_is_missing_in_the_document() -> None:
    spec, stream = spec_for(link("custom")), spec_for(link("custom")).stream("invoices")
    place = phone_place(spec, stream, link("custom"))
    none = pl.DataFrame(schema={"external_id": pl.String, "phone": pl.String})
    items = pl.DataFrame(schema={"external_id": pl.String, "name": pl.String, "sku": pl.String})

    def problems(**changes: Any) -> list[tuple[Any, ...]]:
        result = fill(mapped("custom", CUSTOM | changes), none, items, place)
        return result.problems.select("field", "path", "reason", "example").rows()

    where = "/customer/phone or /customer_phone"
    assert problems(customer_phone=None) == [("customer_phone", where, "missing", None)]
    assert problems(customer_phone="12") == [
        ("customer_phone", where, "is not a phone number that can be dialled", "••")
    ]
    assert problems(customer_phone="12", status="void") == []
    assert problems(customer_phone=None, status="draft") == []


def test_with_customers_to_look_up_the_place_is_theirs() -> None:
    spec = SYSTEMS["quickbooks"]
    place = phone_place(spec, spec.streams[0], connection("quickbooks"))
    assert place.startswith("(customer) /Mobile/FreeFormNumber or /PrimaryPhone")


@pytest.mark.parametrize(
    ("name", "record", "value"),
    [
        ("subtotal_minor", {"Own": "12.50"}, 1250),
        ("amount_refunded_minor", {"Own": 2}, 200),
        ("amount_paid_minor", {"Own": None}, None),
        ("status", {"Own": "void"}, "void"),
    ],
)
def test_a_path_for_a_computed_field_is_read_as_what_the_column_holds(
    name: str, record: dict[str, Any], value: Any
) -> None:
    spec = SYSTEMS["quickbooks"]
    body = json.dumps({"QueryResponse": {"Invoice": [QBO | record]}}).encode()
    result = map_page(
        spec,
        spec.streams[0],
        connection("quickbooks", paths={name: "/Own"}),
        body,
        page_id=1,
    )
    assert result.problems.is_empty(), result.problems
    assert result.invoices[name].to_list() == [value]
    assert result.invoices.schema == INVOICE


class TestOutline:
    def test_paths_and_types_and_no_value(self) -> None:
        found = Outline()
        record = {
            "a": 1,
            "b": [{"c": "Nobody"}, {"d": None, "e": True}],
            "Nobody 923456789": 2.5,
            "f/g": {},
            "": 1,
        }
        found.add("/Invoices/*", record)
        assert set(found.fields) == {
            ("/Invoices/*/a", "number"), ("/Invoices/*/b", "list"), ("/Invoices/*/b/*", "object"), ("/Invoices/*/b/*/c", "text"),
            ("/Invoices/*/b/*/e", "yes or no"), ("/Invoices/*/*", "number"), ("/Invoices/*/f~1g", "object"),
        }  # fmt: skip

    def test_bounds(self) -> None:
        deep: Any = 1
        for _ in range(50):
            deep = {"x": deep}
        found = Outline()
        found.add("", deep)
        found.add("", {f"k{n}": {"v": n} for n in range(5_000)})
        found.add("", {"many": [{f"a{n}": 1} for n in range(5_000)]})
        found.add("", {f"name{a}": {f"name{b}": 1 for b in range(90)} for a in range(90)})
        assert len(found.fields) < 900

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'{"Invoices": 7}', b'{"Invoices": [1, null, "x"]}', b"<html>"]
    )
    def test_what_is_no_page_is_left_out(self, body: bytes) -> None:
        spec = SYSTEMS["xero"]
        watch = Watch(spec, connection("xero"))
        watch.look(spec.streams[0], partial(bytes, body))
        watch.look_up(spec.lookup("customers"), body)
        assert not any(
            outline.fields.keys() - {("/Invoices/*", "number"), ("/Invoices/*", "text")}
            for outline in watch.outlines.values()
        )

    def test_many_pages_are_looked_at_ever_less(self) -> None:
        spec = SYSTEMS["xero"]
        watch = Watch(spec, connection("xero"))
        body = json.dumps({"Invoices": [XERO] * 100}).encode()
        for _ in range(1_000):
            watch.look(spec.streams[0], partial(bytes, body))
        assert watch.outlines["invoices"].records == 280
