"""`try_record` on whatever may be pasted, and on every payload the vendors published."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.mapping import map_lookup, try_record
from connectors.kit.spec import Account

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
FILES = sorted(path for path in SAMPLES.rglob("*.json")) if SAMPLES.is_dir() else []
#: Systems whose published payloads are sales: `tests/contract/test_<system>.py` says of which kind.
OWN_TEST = ("woocommerce",)
needs_samples = pytest.mark.skipif(not FILES, reason=f"no published samples in {SAMPLES}")

#: The published documents that lack nothing.
WHOLE = {
    ("netsuite", "record_api_invoice_sample.json"),
    ("shopify", "rest_fixture_order.json"),
    ("business_central", "docs_v2_salesinvoice_get.json"),
    ("business_central", "docs_v2_salescreditmemo_get.json"),
}


def attempt(
    system: str, payload: Any, stream: str | None = None, **changes: Any
) -> list[dict[str, Any]]:
    spec = SYSTEMS[system]
    connection = Account(system, "A", "", "", "id", SecretStr("s"), SecretStr("r"), **changes)
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return try_record(spec, spec.stream(stream) if stream else None, connection, body)


@needs_samples
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_published_payloads_are_survived(path: Path) -> None:
    """Each of them through each system: JSON-able results, and nothing is called an invoice that is none."""
    for system in SYSTEMS:
        results = attempt(system, path.read_bytes())
        assert results
        assert json.dumps(results)
        if (system, path.name) in WHOLE:
            assert [result["ok"] for result in results] == [True]
            continue
        if path.parent.name == system and system in OWN_TEST:
            continue
        if path.parent.name == "points-cases":  # whole documents, made for another test
            continue
        for result in results:
            if result.get("left_out"):  # a sale to nobody, where those are usual
                assert result["invoice"] is None
                continue
            assert result["ok"] is False
            assert all(problem["reason"] and problem["path"] for problem in result["problems"])


@needs_samples
def test_the_published_quickbooks_invoice_lacks_four_things() -> None:
    path = (
        SAMPLES / "quickbooks" / "amp-labs" / "custom-fields_invoice-read-with-custom-fields.json"
    )
    (result,) = attempt("quickbooks", path.read_bytes())
    assert result["stream"] == "invoices"
    assert result["invoice"]["external_id"] == "100"
    assert [(problem["field"], problem["reason"]) for problem in result["problems"]] == [
        ("customer_external_id", "missing"),
        ("currency", "missing"),
        ("issued_at", "missing"),
        ("updated_at", "missing"),
    ]


@needs_samples
@pytest.mark.parametrize(
    ("system", "file", "rows"),
    [
        ("xero", "amp-labs/contacts.json", [("bd2270c3-8706-4c11-9cfb-000b551c3f51", None)]),
        (
            "quickbooks",
            "amp-labs/custom-fields_customer-read-with-custom-fields.json",
            [("1", None), ("2", None)],
        ),
        ("quickbooks", "amp-labs/customer-read.json", []),
        ("freshbooks", "get_client_response.json", [("12345", None)]),
    ],
)
def test_published_customers(system: str, file: str, rows: list[tuple[str, str | None]]) -> None:
    spec = SYSTEMS[system]
    connection = Account(system, "A", "", "", "id", SecretStr("s"), SecretStr("r"))
    body = (SAMPLES / system / file).read_bytes()
    assert map_lookup(spec, spec.lookup("customers"), connection, body).rows() == rows


@needs_samples
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("create-payment.json", "missing"),
        ("read-budget.json", "missing"),
        ("unsupported-object-metadata.json", "the page is right, but holds no records"),
        ("update-payment-summary.json", "missing"),
        ("user-metadata.json", "missing"),
    ],
)
def test_published_sage_intacct_answers_say_what_they_lack(file: str, reason: str) -> None:
    """None of them is an invoice: each record is rejected by the names of what an invoice has."""
    results = attempt("sage_intacct", (SAMPLES / "sage_intacct" / "amp-labs" / file).read_bytes())
    for result in results:
        problems = {problem["field"]: problem["reason"] for problem in result["problems"]}
        assert set(problems.values()) == {reason}
        if reason == "missing":
            assert set(problems) >= {
                "total_minor",
                "currency",
                "status",
                "issued_at",
                "updated_at",
                "customer_external_id",
            }


def test_the_handbooks_xero_example() -> None:
    """Its keys are not spelled as Xero's API does; what it has is read, what it lacks is named."""
    payload = {
        "invoices": [
            {
                "invoiceNumber": "INV-001",
                "contact": {"phoneNumbers": [{"phoneNumber": "+244 923 456 789"}]},
                "total": 150.00,
                "lineItems": [
                    {"description": "Água Twezah 5L", "quantity": 3, "unitAmount": 50.00}
                ],
                "date": "2024-01-15",
            }
        ]
    }
    (result,) = attempt("xero", payload, default_currency="AOA")
    invoice = result["invoice"]
    assert (invoice["customer_phone"], invoice["total_minor"]) == ("+244923456789", 15000)
    assert result["lines"][0]["name"] == "Água Twezah 5L"
    assert {problem["field"] for problem in result["problems"]} == {"external_id", "status"}
    assert result["notes"]


RECORD = {
    "Id": "130",
    "TxnDate": "2026-04-08",
    "DocNumber": "1037",
    "CurrencyRef": {"value": "AOA"},
    "CustomerRef": {"value": "24"},
    "TotalAmt": 13.5,
    "Balance": 0,
    "Line": [],
}


@pytest.mark.parametrize(
    "payload",
    [
        RECORD,
        [RECORD],
        {"Invoice": RECORD, "time": "2026-01-01"},
        {"QueryResponse": {"Invoice": [RECORD], "startPosition": 1}},
    ],
    ids=["record", "list", "single GET", "page"],
)
def test_forms_of_a_sample(payload: Any) -> None:
    (result,) = attempt("quickbooks", payload)
    assert result["ok"], result["problems"]
    assert (result["stream"], result["invoice"]["status"]) == ("invoices", "paid")
    assert result["notes"] == [
        "the phone number is looked up at the vendor by the customer's number"
    ]


def test_the_stream_is_found_or_given() -> None:
    assert (
        attempt("quickbooks", {"CreditMemo": RECORD})[0]["invoice"]["external_id"]
        == "CreditMemo/130"
    )
    assert attempt("quickbooks", RECORD, "refund_receipts")[0]["invoice"]["kind"] == "refund"


def test_deletions_are_no_invoices() -> None:
    (result,) = attempt("quickbooks", RECORD, "deletions")
    assert "no invoices" in result["problems"][0]["reason"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "this is not valid JSON"),
        (b"<html>", "this is not valid JSON"),
        (b"[" * 5000, "this is not valid JSON"),
        (b"null", "this is not an invoice of QuickBooks Online"),
        (b"[]", "this is not an invoice of QuickBooks Online"),
        (b'{"QueryResponse": {"Invoice": []}}', "holds no records"),
        (b'{"QueryResponse": {"Customer": [{"Id": "1"}]}}', "no record at /QueryResponse/Invoice"),
        (
            b'{"Fault": {"Error": [{"code": "610"}]}}',
            "an error answer of QuickBooks Online, code 610",
        ),
        (b'{"Fault": {"Error": [{"code": "some text, 1"}]}}', "code unknown"),
        (b'{"Fault": "x"}', "this is not an invoice"),
    ],
)
def test_what_is_no_invoice_is_told_so(payload: bytes, reason: str) -> None:
    (result,) = attempt("quickbooks", payload)
    assert (result["ok"], result["invoice"]) == (False, None)
    assert reason in result["problems"][0]["reason"]


def test_records_left_out_on_purpose_are_told_so() -> None:
    results = attempt("xero", {"Invoices": [{"Type": "ACCPAY", "InvoiceID": "1", "Total": 5}, 7]})
    assert (results[0]["ok"], results[0]["left_out"], results[0]["problems"]) == (True, True, [])
    assert "left out on purpose" in results[0]["notes"][0]
    assert not results[1]["ok"]
    assert results[1]["problems"][0]["reason"] == "Expected object, got int"
