"""Records of each vendor beside what they become; what cannot be used is named, and never stops the others."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.errors import Misconfigured, UnexpectedShape
from connectors.kit.mapping import (
    Mapped,
    fill,
    map_lookup,
    map_page,
    map_pages,
    missing,
    try_record,
)
from connectors.kit.spec import Account
from loyalty.places import PLACES
from loyalty.schema import INVOICE, LINE, PROBLEM
from tasks.extract.batch import MappedBatch
from tasks.extract.bulk.spool import Spool, pack

QBO = {
    "Id": "130",
    "MetaData": {
        "CreateTime": "2026-04-08T13:16:17-07:00",
        "LastUpdatedTime": "2026-05-05T03:13:29-07:00",
    },
    "DocNumber": "1037",
    "TxnDate": "2026-04-08",
    "CurrencyRef": {"value": "USD"},
    "CustomerRef": {"value": "24", "name": "Nobody"},
    "Line": [
        {
            "Amount": 12.75,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {
                "ItemRef": {"value": "11", "name": "Pump"},
                "UnitPrice": 12.75,
                "Qty": 1,
            },
        }
    ],
    "TxnTaxDetail": {"TotalTax": 1.02},
    "TotalAmt": 13.77,
    "Balance": 13.77,
}
XERO = {
    "Type": "ACCREC",
    "InvoiceID": "8a3fdcc9",
    "InvoiceNumber": "INV-0042",
    "Status": "AUTHORISED",
    "CurrencyCode": "USD",
    "Contact": {"ContactID": "3b30a108", "Phones": []},
    "DateString": "2026-04-16T00:00:00",
    "Date": "/Date(1776297600000+0000)/",
    "LineItems": [
        {
            "Description": "Water",
            "Quantity": 1.0,
            "UnitAmount": 29.0,
            "ItemCode": "SKU1",
            "LineAmount": 29.0,
        }
    ],
    "SubTotal": 29.00,
    "TotalTax": 2.39,
    "Total": 31.39,
    "AmountPaid": 0.00,
    "AmountCredited": 0.00,
    "UpdatedDateUTC": "/Date(1776708221900+0000)/",
}
FRESHBOOKS = {
    "id": 453877,
    "invoice_number": "0000001",
    "customerid": 567521,
    "create_date": "2026-06-29",
    "updated": "2026-06-29 12:48:37",
    "currency_code": "USD",
    "amount": {"amount": "22.60", "code": "USD"},
    "paid": {"amount": "7.60133524082021936099189318", "code": "USD"},
    "discount_total": {"amount": "-4.40", "code": "USD"},
    "status": 2,
    "v3_status": "partial",
    "payment_status": "partial",
    "vis_state": 0,
    "lines": [
        {
            "name": "Bowls",
            "qty": "4",
            "unit_cost": {"amount": "6.10"},
            "amount": {"amount": "24.40"},
        }
    ],
}
SAGE_INTACCT = {
    "key": "238",
    "id": "238",
    "href": "/objects/accounts-receivable/invoice/238",
    "invoiceNumber": "INV-1001",
    "recordType": "ri",
    "state": "partiallyPaid",
    "invoiceDate": "2026-05-01",
    "customer": {"key": "68", "id": "CUST-100", "name": "Nobody"},
    "currency": {"baseCurrency": "AOA", "txnCurrency": "USD"},
    "totalBaseAmount": "123.12",
    "totalTxnAmount": "114.00",
    "totalTxnAmountDue": "100.00",
    "salesDocument": {"id": None, "key": None},
    "audit": {
        "createdDateTime": "2026-05-01T10:00:00Z",
        "modifiedDateTime": "2026-05-20T08:30:00Z",
    },
    "lines": [
        {
            "key": "900",
            "lineNumber": 1,
            "txnAmount": "100.00",
            "baseAmount": "108.00",
            "memo": "Water",
            "isSubtotal": None,
            "glAccount": {"id": "4000"},
            "dimensions": {"item": {"id": "SKU1"}, "location": {"id": "1"}},
            "taxEntries": [{"txnTaxAmount": "14.00", "taxRate": "14.00"}],
        }
    ],
}
#: An invoice of the list, with what its own answer adds.
ZOHO_BOOKS = {
    "invoice_id": "982000000567114",
    "invoice_number": "INV-00003",
    "status": "partially_paid",
    "customer_id": "982000000567001",
    "customer_name": "Nobody",
    "phone": "",
    "date": "2026-05-01",
    "due_date": "2026-05-16",
    "currency_code": "USD",
    "exchange_rate": 850,
    "price_precision": 2,
    "is_inclusive_tax": False,
    "sub_total": 120,
    "discount_total": 10,
    "shipping_charge": 5.5,
    "adjustment": 0,
    "tax_total": 14.35,
    "total": 129.85,
    "balance": 102.94,
    "payment_made": 26.91,
    "credits_applied": 0,
    "write_off_amount": 0,
    "created_time": "2026-05-01T12:17:40+0100",
    "last_modified_time": "2026-05-20T09:30:00+0100",
    "contact_persons_associated": [],
    "billing_address": {"city": "Luanda", "phone": ""},
    "line_items": [
        {
            "line_item_id": "982000000567021",
            "item_id": "982000000030049",
            "name": "Water",
            "description": "5 litres",
            "quantity": 2,
            "rate": 60,
            "bcy_rate": 51000,
            "item_total": 120,
        }
    ],
}
RECORDS = {
    "quickbooks": QBO,
    "xero": XERO,
    "freshbooks": FRESHBOOKS,
    "sage_intacct": SAGE_INTACCT,
    "zoho_books": ZOHO_BOOKS,
}


def connection(system: str, **changes: Any) -> Account:
    return Account(system, "A", "", "", "id", SecretStr("s"), SecretStr("r"), **changes)


def page(system: str, records: list[Any], stream: str = "invoices") -> bytes:
    body: Any = records
    for part in reversed(SYSTEMS[system].stream(stream).records.strip("/").split("/")):
        body = {part: body}
    return json.dumps(body).encode()


def mapped(system: str, *records: Any, stream: str = "invoices", **changes: Any) -> Mapped:
    spec = SYSTEMS[system]
    body = page(system, list(records), stream)
    return map_page(spec, spec.stream(stream), connection(system, **changes), body, page_id=7)


def one(system: str, stream: str = "invoices", /, **changes: Any) -> dict[str, Any]:
    result = mapped(system, RECORDS[system] | changes, stream=stream)
    assert result.problems.is_empty(), result.problems
    return result.invoices.to_dicts()[0]


@pytest.mark.parametrize(
    ("system", "expected", "line"),
    [
        (
            "quickbooks",
            {"external_id": "130", "invoice_number": "1037", "customer_external_id": "24", "total_minor": 1377,
             "subtotal_minor": 1275, "tax_minor": 102, "amount_paid_minor": 0, "amount_refunded_minor": 0,
             "status": "open", "issued_at": datetime(2026, 4, 8, 20, 16, 17, tzinfo=UTC),
             "updated_at": datetime(2026, 5, 5, 10, 13, 29, tzinfo=UTC)},
            {"item_external_id": "11", "sku": None, "name": "Pump", "amount_minor": 1275},
        ),
        (
            "xero",
            {"external_id": "8a3fdcc9", "invoice_number": "INV-0042", "customer_external_id": "3b30a108",
             "total_minor": 3139, "subtotal_minor": 2900, "tax_minor": 239, "amount_paid_minor": 0,
             "amount_refunded_minor": 0, "status": "open", "issued_at": datetime(2026, 4, 15, 23, tzinfo=UTC),
             "updated_at": datetime(2026, 4, 20, 18, 3, 41, 900000, tzinfo=UTC)},
            {"item_external_id": None, "sku": "SKU1", "name": "Water", "amount_minor": 2900},
        ),
        (
            "freshbooks",
            {"external_id": "453877", "invoice_number": "0000001", "customer_external_id": "567521",
             "total_minor": 2260, "subtotal_minor": 2000, "tax_minor": 260, "amount_paid_minor": 760,
             "amount_refunded_minor": 0, "status": "open", "issued_at": datetime(2026, 6, 28, 23, tzinfo=UTC),
             "updated_at": datetime(2026, 6, 29, 16, 48, 37, tzinfo=UTC)},
            {"item_external_id": None, "sku": None, "name": "Bowls", "amount_minor": 2440},
        ),
        (
            "sage_intacct",
            {"external_id": "238", "invoice_number": "INV-1001", "customer_external_id": "CUST-100",
             "total_minor": 11400, "subtotal_minor": 10000, "tax_minor": 1400, "amount_paid_minor": 1400,
             "amount_refunded_minor": 0, "status": "open", "issued_at": datetime(2026, 5, 1, 10, tzinfo=UTC),
             "updated_at": datetime(2026, 5, 20, 8, 30, tzinfo=UTC)},
            {"item_external_id": None, "sku": "SKU1", "name": "Water", "amount_minor": 10000},
        ),
        (
            "zoho_books",
            {"external_id": "982000000567114", "invoice_number": "INV-00003", "customer_external_id": "982000000567001",
             "total_minor": 12985, "subtotal_minor": 11550, "tax_minor": 1435, "amount_paid_minor": 2691,
             "amount_refunded_minor": 0, "status": "open", "issued_at": datetime(2026, 5, 1, 11, 17, 40, tzinfo=UTC),
             "updated_at": datetime(2026, 5, 20, 8, 30, tzinfo=UTC)},
            {"item_external_id": "982000000030049", "sku": None, "name": "Water", "amount_minor": 12000},
        ),
    ],
    ids=["quickbooks", "xero", "freshbooks", "sage_intacct", "zoho_books"],
)  # fmt: skip
def test_a_record_and_what_it_becomes(
    system: str, expected: dict[str, Any], line: dict[str, Any]
) -> None:
    result = mapped(system, RECORDS[system])
    row = result.invoices.to_dicts()[0]
    fixed = {
        "system": system,
        "account": "A",
        "kind": "invoice",
        "page_id": 7,
        "record_no": 0,
        "customer_phone": None,
        "reference_ids": None,
        # They tell when the document was made, and that was on its own day.
        "time_known": system in ("quickbooks", "sage_intacct", "zoho_books"),
        "original_external_id": None,
        **dict.fromkeys(PLACES),
        # The location of the lines, and the city of the billing address.
        **{"sage_intacct": {"store": "1"}, "zoho_books": {"city": "Luanda"}}.get(system, {}),
    }
    assert row == expected | fixed | {"currency": "USD"}
    assert (
        result.lines.to_dicts()[0].items()
        >= (line | {"line_no": 1, "external_id": row["external_id"]}).items()
    )
    assert (result.invoices.schema, result.lines.schema, result.problems.schema) == (
        INVOICE,
        LINE,
        PROBLEM,
    )


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "open"),
        ({"Balance": 0}, "paid"),
        ({"Balance": 5}, "open"),
        (
            {
                "TotalAmt": 0,
                "Balance": 0,
                "PrivateNote": "Voided - by mistake",
                "TxnTaxDetail": None,
            },
            "void",
        ),
        ({"TotalAmt": 0, "Balance": 0, "TxnTaxDetail": None}, "paid"),
        ({"Balance": 0, "PrivateNote": "Voided the other one"}, "paid"),
    ],
)
def test_quickbooks_status(changes: dict[str, Any], status: str) -> None:
    assert one("quickbooks", **changes)["status"] == status


@pytest.mark.parametrize(
    ("stream", "external_id", "kind"),
    [
        ("invoices", "130", "invoice"),
        ("sales_receipts", "SalesReceipt/130", "sale"),
        ("credit_memos", "CreditMemo/130", "credit_note"),
        ("refund_receipts", "RefundReceipt/130", "refund"),
    ],
)
def test_quickbooks_numbers_of_different_lists_do_not_collide(
    stream: str, external_id: str, kind: str
) -> None:
    row = one("quickbooks", stream)
    assert (row["external_id"], row["kind"]) == (external_id, kind)


def test_quickbooks_lines() -> None:
    """Sub-totals and descriptions are no lines, groups are their lines, discounts are negative."""
    detail = "SalesItemLineDetail"
    lines = [
        {"Amount": 10, "DetailType": detail, detail: {"Qty": 2, "UnitPrice": 5}},
        {"Amount": 7, "DetailType": "GroupLineDetail", "GroupLineDetail": {"Line": [
            {"Amount": 3, "DetailType": detail}, {"Amount": 4, "DetailType": detail}]}},
        {"DetailType": "DescriptionOnly", "Description": "Thank you"},
        {"Amount": 17, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}},
        {"Amount": 2.5, "DetailType": "DiscountLineDetail"},
    ]  # fmt: skip
    found = mapped("quickbooks", QBO | {"Line": lines}).lines
    assert found["amount_minor"].to_list() == [1000, 300, 400, -250]
    assert found["line_no"].to_list() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("sent", "status"),
    [("DRAFT", "draft"), ("SUBMITTED", "draft"), ("AUTHORISED", "open"), ("PAID", "paid"), ("VOIDED", "void"),
     ("DELETED", "void")],
)  # fmt: skip
def test_xero_status(sent: str, status: str) -> None:
    assert one("xero", Status=sent)["status"] == status


def test_xero_bills_are_left_out_silently() -> None:
    result = mapped("xero", XERO | {"Type": "ACCPAY"}, XERO)
    assert (
        result.record_count,
        result.invoices["record_no"].to_list(),
        result.problems.height,
    ) == (
        2,
        [1],
        0,
    )


@pytest.mark.parametrize(
    ("phones", "number"),
    [
        ([], None),
        ([{"PhoneType": "MOBILE"}], None),
        ([{"PhoneType": "FAX", "PhoneNumber": "923456789"}], None),
        ([{"PhoneType": "DEFAULT", "PhoneNumber": "222 333 444"}, {"PhoneType": "MOBILE", "PhoneNumber": "923456789"}],
         "+244923456789"),
        ([{"PhoneType": "DDI", "PhoneNumber": "456789", "PhoneAreaCode": "923", "PhoneCountryCode": "244"}],
         "+244923456789"),
        ([{"PhoneType": "DEFAULT", "PhoneNumber": "+244 923 456 789", "PhoneCountryCode": "244"}], "+244923456789"),
        ("nonsense", None),
    ],
)  # fmt: skip
def test_xero_phones(phones: Any, number: str | None) -> None:
    assert one("xero", Contact={"ContactID": "c", "Phones": phones})["customer_phone"] == number


def test_xero_prepayments_are_not_refunds() -> None:
    """AmountCredited counts prepayments and overpayments applied; only credit notes take points back."""
    row = one(
        "xero",
        AmountCredited=30,
        Prepayments=[{"AppliedAmount": 20}],
        Overpayments=[{"AppliedAmount": 4}],
    )
    assert row["amount_refunded_minor"] == 600


@pytest.mark.parametrize(
    ("changes", "allocated"),
    [
        ({"RemainingCredit": 31.39, "Allocations": []}, 0),
        ({"RemainingCredit": 11.39, "Allocations": [{"Amount": 15}, {"Amount": 5.0}]}, 2000),
        ({"RemainingCredit": 11.39}, 2000),
        # Paid out in cash: goods came back, so it still takes points back.
        ({"RemainingCredit": 0, "Allocations": [], "Payments": [{"Amount": 31.39}]}, 0),
        (
            {
                "RemainingCredit": 11.39,
                "Allocations": [{"Amount": 20}, {"Amount": 11.39, "IsDeleted": True}],
            },
            2000,
        ),
        ({"RemainingCredit": 31.39, "Payments": [{"Amount": 31.39, "Status": "DELETED"}]}, 0),
    ],
)
def test_xero_credit_notes_count_what_is_not_allocated(
    changes: dict[str, Any], allocated: int
) -> None:
    changes = {"Type": "ACCRECCREDIT", "CreditNoteID": "n", "CreditNoteNumber": "CN-1"} | changes
    assert one("xero", "credit_notes", **changes)["amount_refunded_minor"] == allocated


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "open"),
        ({"vis_state": 1}, "void"),
        ({"v3_status": "draft", "payment_status": "unpaid", "status": 1}, "draft"),
        ({"v3_status": "paid", "payment_status": "paid"}, "paid"),
        ({"v3_status": None, "payment_status": "auto-paid"}, "paid"),
        ({"v3_status": None, "payment_status": None, "status": 1}, "draft"),
        ({"v3_status": "overdue", "payment_status": "unpaid"}, "open"),
    ],
)
def test_freshbooks_status(changes: dict[str, Any], status: str) -> None:
    assert one("freshbooks", **changes)["status"] == status


def test_freshbooks_credit_notes() -> None:
    note = {"creditid": 55, "credit_number": "C-1", "clientid": 9, "credit_type": "goodwill"}
    row = one("freshbooks", "credit_notes", **note)
    assert (row["external_id"], row["kind"], row["customer_external_id"]) == (
        "credit_note/55",
        "credit_note",
        "9",
    )
    prepaid = mapped(
        "freshbooks", FRESHBOOKS | note | {"credit_type": "prepayment"}, stream="credit_notes"
    )
    assert (prepaid.invoices.height, prepaid.problems.height) == (0, 0)


@pytest.mark.parametrize(
    ("system", "changes", "field", "path", "reason"),
    [
        ("quickbooks", {"Id": None}, "external_id", "/Id", "missing"),
        ("quickbooks", {"TotalAmt": "12,5"}, "total_minor", "/TotalAmt", "is not a number"),
        ("quickbooks", {"TotalAmt": None}, "total_minor", "/TotalAmt", "missing"),
        ("quickbooks", {"TotalAmt": {"x": 1}}, "total_minor", "/TotalAmt", "is not a number"),
        ("quickbooks", {"TotalAmt": -1, "TxnTaxDetail": None}, "total_minor", "/TotalAmt", "is negative"),
        ("quickbooks", {"TotalAmt": 13.777}, "total_minor", "/TotalAmt", "has more decimals than the currency (2)"),
        ("quickbooks", {"TotalAmt": 1e14}, "total_minor", "/TotalAmt", "is too large"),
        ("quickbooks", {"CurrencyRef": None}, "currency", "/CurrencyRef/value", "missing"),
        ("quickbooks", {"CurrencyRef": {"value": "XXX"}}, "currency", "/CurrencyRef/value",
         "is not an ISO 4217 currency"),
        ("quickbooks", {"CustomerRef": {}}, "customer_external_id", "/CustomerRef/value", "missing"),
        ("quickbooks", {"TxnDate": "yesterday"}, "issued_at", "/TxnDate", "is not a date"),
        ("quickbooks", {"CustomerRef": "24"}, "record", "/CustomerRef", "Expected object, got str"),
        ("quickbooks", {"Line": {"Amount": 1}}, "record", "/Line", "Expected array, got object"),
        ("quickbooks", {"Line": [{"Amount": "x"}]}, "lines.amount_minor", "/Line/*/Amount", "is not a number"),
        ("xero", {"Status": "BOGUS"}, "status", "/Status", "is a value not known here"),
        ("xero", {"Status": None}, "status", "/Status", "missing"),
        ("xero", {"UpdatedDateUTC": "/Date(x)/"}, "updated_at", "/UpdatedDateUTC or /DateString or /Date",
         "is not a time"),
        ("freshbooks", {"amount": None}, "total_minor", "/amount/amount", "missing"),
    ],
)  # fmt: skip
def test_problems_are_named(
    system: str, changes: dict[str, Any], field: str, path: str, reason: str
) -> None:
    """The bad record is one problem, with field, path and reason; the good record after it goes on."""
    result = mapped(system, RECORDS[system] | changes, RECORDS[system])
    found = result.problems.to_dicts()
    assert [(p["record_no"], p["field"], p["path"], p["reason"]) for p in found] == [
        (0, field, path, reason)
    ]
    assert 1 in result.invoices["record_no"]


def test_a_customers_number_or_phone_is_enough() -> None:
    contact = {"Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "923456789"}]}
    assert mapped("xero", XERO | {"Contact": contact}).problems.is_empty()
    contact = {"ContactID": "c", "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "12"}]}
    assert mapped("xero", XERO | {"Contact": contact}).problems.is_empty()


def test_default_currency() -> None:
    row = mapped(
        "quickbooks", QBO | {"CurrencyRef": None}, default_currency="AOA"
    ).invoices.to_dicts()[0]
    assert (row["currency"], row["total_minor"]) == ("AOA", 1377)


def test_updated_at_falls_back() -> None:
    row = one("quickbooks", MetaData={"CreateTime": "2026-04-08T13:16:17-07:00"})
    assert row["updated_at"] == datetime(2026, 4, 8, 20, 16, 17, tzinfo=UTC)
    dated = one("quickbooks", MetaData=None)
    assert dated["updated_at"] == dated["issued_at"]


def test_overridden_paths() -> None:
    """For all lists, for one, and for lines; array indexes; escaped keys."""
    record = QBO | {
        "CustomField": [{"StringValue": "x"}, {"StringValue": "923 456 789"}],
        "a/b": {"c": "N-9"},
    }
    paths = {
        "customer_phone": "/CustomField/1/StringValue",
        "invoices.invoice_number": "/a~1b/c",
        "lines.sku": "/SalesItemLineDetail/ItemRef/name",
    }
    result = mapped("quickbooks", record, paths=paths)
    row = result.invoices.to_dicts()[0]
    assert (row["customer_phone"], row["invoice_number"]) == ("+244923456789", "N-9")
    assert result.lines["sku"].to_list() == ["Pump"]
    sale = mapped("quickbooks", record, stream="sales_receipts", paths=paths).invoices.to_dicts()[0]
    assert sale["invoice_number"] == "1037"


@pytest.mark.parametrize("paths", [{"nothing": "/x"}, {"status": "x"}, {"invoices.nothing": "/x"}])
def test_overridden_paths_that_are_none(paths: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match='block "quickbooks"'):
        mapped("quickbooks", QBO, paths=paths)


def test_an_overridden_status_must_be_one_of_ours() -> None:
    assert mapped("xero", XERO | {"S": "paid"}, paths={"status": "/S"}).invoices[
        "status"
    ].to_list() == ["paid"]
    result = mapped("xero", XERO | {"S": "weird"}, paths={"status": "/S"})
    assert result.problems["field"].to_list() == ["status"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"5", b'{"Invoices": 5}', b'{"Invoices": [', b"\xff"]
)
def test_a_page_that_is_none(body: bytes) -> None:
    spec = SYSTEMS["xero"]
    with pytest.raises(UnexpectedShape):
        map_page(spec, spec.stream("invoices"), connection("xero"), body, page_id=1)


def test_pages_together_are_the_pages_apart() -> None:
    spec, bodies = (
        SYSTEMS["xero"],
        [page("xero", [XERO, 5]), page("xero", [XERO | {"Total": "x"}, XERO])],
    )
    stream = spec.stream("invoices")
    together = map_pages(spec, stream, connection("xero"), list(enumerate(bodies)))
    apart = [
        map_page(spec, stream, connection("xero"), body, page_id=n) for n, body in enumerate(bodies)
    ]
    for name in ("invoices", "lines", "problems"):
        assert getattr(together, name).equals(pl.concat([getattr(one, name) for one in apart])), (
            name
        )
    assert together.record_count == 4
    assert together.problems.select("page_id", "record_no").rows() == [(0, 1), (1, 0)]


def test_deletions() -> None:
    spec = SYSTEMS["quickbooks"]
    gone = {
        "Id": "9",
        "status": "Deleted",
        "MetaData": {"LastUpdatedTime": "2026-05-05T03:13:29-07:00"},
    }
    body = {
        "CDCResponse": [{"QueryResponse": [{"Invoice": [gone, QBO]}, {"CreditMemo": [gone]}, {}]}]
    }
    result = map_page(
        spec,
        spec.stream("deletions"),
        connection("quickbooks"),
        json.dumps(body).encode(),
        page_id=1,
    )
    at = datetime(2026, 5, 5, 10, 13, 29, tzinfo=UTC)
    assert result.deletions.rows() == [("9", at, 1), ("CreditMemo/9", at, 1)]
    assert (result.record_count, result.invoices.height) == (3, 0)
    with pytest.raises(UnexpectedShape):
        map_page(spec, spec.stream("deletions"), connection("quickbooks"), b"{}", page_id=1)


def test_missing_and_fill() -> None:
    spec = SYSTEMS["quickbooks"]
    body = page("quickbooks", [QBO, QBO | {"Id": "2", "CustomerRef": {"value": "25"}}, QBO | {"Id": "3", "CustomerRef":
               {"value": "26"}}, QBO | {"Id": "4", "TotalAmt": 0, "Balance": 0, "PrivateNote": "Voided", "TxnTaxDetail":
               None, "CustomerRef": {"value": "26"}}])  # fmt: skip
    stream, of = spec.stream("invoices"), connection("quickbooks")
    mapped = map_page(spec, stream, of, body, page_id=1)
    assert missing(spec, mapped) == {"customers": {"24", "25", "26"}, "items": {"11"}}
    customers = pl.DataFrame({"external_id": ["24", "25"], "phone": ["+244923456789", None]})
    items = pl.DataFrame({"external_id": ["11"], "name": ["Pump"], "sku": ["P-1"]})
    result = fill(mapped, customers, items)
    assert result.invoices["customer_phone"].to_list() == ["+244923456789", None, None, None]
    assert set(result.lines["sku"]) == {"P-1"}
    assert result.problems.select("record_no", "field", "reason").rows() == [
        (1, "customer_phone", "the customer has no phone number that can be dialled"),
        (2, "customer_phone", "the customer was not found at the vendor"),
    ]
    assert result.invoices.schema == INVOICE


def test_items_by_name_only_where_the_name_is_clear() -> None:
    spec = SYSTEMS["freshbooks"]
    body = page("freshbooks", [FRESHBOOKS])
    stream, of = spec.stream("invoices"), connection("freshbooks")
    result = map_page(spec, stream, of, body, page_id=1)
    assert missing(spec, result)["items"] == {"Bowls"}
    none = pl.DataFrame(schema={"external_id": pl.String, "phone": pl.String})
    clear = pl.DataFrame({"external_id": ["1"], "name": ["Bowls"], "sku": ["B"]})
    assert fill(result, none, clear).lines["sku"].to_list() == ["B"]
    twice = pl.DataFrame({"external_id": ["1", "2"], "name": ["Bowls", "Bowls"], "sku": ["B", "C"]})
    assert fill(result, none, twice).lines["sku"].to_list() == [None]


@pytest.mark.parametrize(
    ("system", "record", "phone"),
    [
        ("quickbooks", {"Id": "1", "Mobile": {"FreeFormNumber": "no"}, "PrimaryPhone": {"FreeFormNumber": "923456789"}},
         "+244923456789"),
        ("quickbooks", {"Id": "1"}, None),
        ("xero", {"ContactID": "1", "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": "1"},
         {"PhoneType": "OFFICE", "PhoneNumber": "923456789"}]}, "+244923456789"),
        ("freshbooks", {"id": 1, "mob_phone": "", "bus_phone": None, "home_phone": "923456789"}, "+244923456789"),
    ],
)  # fmt: skip
def test_customers(system: str, record: dict[str, Any], phone: str | None) -> None:
    """Of several numbers the first that can be dialled."""
    spec = SYSTEMS[system]
    lookup = spec.lookup("customers")
    body: Any = [record]
    for part in reversed(lookup.records.strip("/").split("/")):
        body = {part: body}
    frame = map_lookup(spec, lookup, connection(system), json.dumps(body).encode())
    assert frame.rows() == [("1", phone)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(system=st.sampled_from(sorted(RECORDS)), value=JSON, data=st.data())
def test_any_value_anywhere_is_survived(system: str, value: Any, data: st.DataObject) -> None:
    """Whatever stands in any field, the page is mapped, and what was not mapped is named."""
    key = data.draw(st.sampled_from(sorted(RECORDS[system])))
    broken = RECORDS[system] | {key: value}
    result = mapped(system, broken, RECORDS[system])
    assert result.record_count == 2
    assert 1 in result.invoices["record_no"]
    assert 1 not in result.problems["record_no"]
    for sample in (broken, value, [broken, value], {key: value}):
        assert json.dumps(
            try_record(SYSTEMS[system], None, connection(system), json.dumps(sample).encode())
        )


def test_connections_with_different_paths_do_not_share_a_plan() -> None:
    plain = connection("xero")
    other = replace(plain, paths={"invoice_number": "/Reference"})
    body = page("xero", [XERO | {"Reference": "PO 7"}])
    spec = SYSTEMS["xero"]
    found = [
        map_page(spec, spec.stream("invoices"), of, body, page_id=1).invoices["invoice_number"][0]
        for of in (plain, other, plain)
    ]
    assert found == ["INV-0042", "PO 7", "INV-0042"]


def test_batches_put_together_keep_every_frame() -> None:
    """Whatever kind of frame a page may give, none of its rows is lost on the way to the load."""
    one = Mapped.empty()
    filled = replace(
        one,
        **{
            frame.name: pl.DataFrame(
                {name: [None] for name in getattr(one, frame.name).columns}
            ).cast(dict(getattr(one, frame.name).schema))
            for frame in fields(Mapped)
            if frame.name != "record_count"
        },
        record_count=2,
    )
    twice = Mapped.together([filled, filled])
    heights = {
        frame.name: getattr(twice, frame.name).height
        for frame in fields(Mapped)
        if frame.name != "record_count"
    }
    assert set(heights.values()) == {2}
    assert twice.record_count == 4
    spool = Spool()
    spool.append(pack(MappedBatch("x", filled, {})))
    (back,) = (batch.mapped for batch in spool)
    assert all(getattr(back, name).height == 1 for name in heights)
