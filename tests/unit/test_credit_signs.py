"""A credit's sign does not matter, whichever system writes it.

The amounts are those of the positive one.
"""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from connectors import SYSTEMS
from connectors.kit.mapping import map_page
from connectors.kit.spec import Account
from loyalty.schema import NEGATIVE_KINDS

_AT = "2026-01-03T10:00:00Z"
#: Page of each list of credits with one credit over 115.00, of which 15.00 is tax; `s` is the sign.
PAGES: Mapping[tuple[str, str], Any] = {
    ("quickbooks", "credit_memos"): lambda s: {
        "QueryResponse": {"CreditMemo": [_quickbooks(s)]},
    },
    ("quickbooks", "refund_receipts"): lambda s: {
        "QueryResponse": {"RefundReceipt": [_quickbooks(s)]},
    },
    ("xero", "credit_notes"): lambda s: {
        "CreditNotes": [
            {
                "CreditNoteID": "x1", "CreditNoteNumber": "CN-1", "Type": "ACCRECCREDIT", "Status": "AUTHORISED", "CurrencyCode": "AOA",
                "Contact": {"ContactID": "c1"}, "Date": "/Date(1767312000000+0000)/", "UpdatedDateUTC": "/Date(1767400000000+0000)/",
                "Total": s * 115, "SubTotal": s * 100, "TotalTax": s * 15, "RemainingCredit": s * 115,
                "LineItems": [{"Description": "A", "Quantity": 2, "UnitAmount": s * 50, "LineAmount": s * 100}],
            }
        ]
    },
    ("freshbooks", "credit_notes"): lambda s: {
        "response": {
            "result": {
                "credit_notes": [
                    {
                        "id": 1, "creditid": 1, "credit_number": "CN-1", "clientid": 7, "credit_type": "goodwill", "create_date": "2026-01-02",
                        "updated": "2026-01-03 10:00:00", "vis_state": 0, "status": "created", "currency_code": "AOA", "payment_status": "unpaid",
                        "display_status": "created", "amount": {"amount": str(s * 115), "code": "AOA"}, "paid": {"amount": "0.00", "code": "AOA"},
                        "discount_total": {"amount": str(s * -10), "code": "AOA"},
                        "lines": [{"name": "A", "qty": "2", "unit_cost": {"amount": str(s * 55)}, "amount": {"amount": str(s * 110)}}],
                    }
                ]
            }
        }
    },
    ("zoho_books", "credit_notes"): lambda s: {
        "creditnotes": [
            {
                "creditnote_id": "1", "creditnote_number": "CN-1", "status": "open", "customer_id": "7", "date": "2026-01-02",
                "last_modified_time": "2026-01-03T10:00:00+0100", "currency_code": "AOA", "total": s * 115, "balance": s * 115,
                "tax_total": s * 15, "line_items": [{"name": "A", "quantity": 2, "rate": s * 50, "item_total": s * 100}],
            }
        ]
    },
    ("business_central", "credit_memos"): lambda s: {
        "value": [
            {
                "id": "b1", "number": "CR-1", "creditMemoDate": "2026-01-02", "customerId": "c1", "currencyCode": "AOA", "status": "Open",
                "totalAmountExcludingTax": s * 100, "totalTaxAmount": s * 15, "totalAmountIncludingTax": s * 115,
                "lastModifiedDateTime": _AT,
                "salesCreditMemoLines": [{"lineType": "Item", "quantity": 2, "unitPrice": s * 50, "netAmount": s * 100}],
            }
        ]
    },
}  # fmt: skip


def _quickbooks(s: int) -> dict[str, Any]:
    detail = {"Qty": 2, "UnitPrice": s * 50, "ItemRef": {"value": "9"}}
    return {
        "Id": "1", "DocNumber": "CM-1", "TxnDate": "2026-01-02", "TotalAmt": s * 115, "Balance": 0, "CurrencyRef": {"value": "AOA"},
        "TxnTaxDetail": {"TotalTax": s * 15}, "CustomerRef": {"value": "c1"}, "MetaData": {"LastUpdatedTime": _AT},
        "Line": [{"Amount": s * 100, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}],
    }  # fmt: skip


def mapped(system: str, name: str, sign: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    spec = SYSTEMS[system]
    connection = Account(system, "a", default_currency="AOA")
    body = json.dumps(PAGES[system, name](sign)).encode()
    found = map_page(spec, spec.stream(name), connection, body, page_id=1)
    assert found.problems.filter(pl.col("field") != "customer_phone").is_empty(), found.problems
    return found.invoices, found.lines


@pytest.mark.parametrize(("system", "name"), PAGES)
def test_a_negative_credit_is_the_positive_one(system: str, name: str) -> None:
    (invoices, lines), (negative, negative_lines) = (mapped(system, name, sign) for sign in (1, -1))
    (row,) = negative.to_dicts()
    assert row["kind"] in NEGATIVE_KINDS
    assert (row["total_minor"], row["subtotal_minor"], row["tax_minor"]) == (11500, 10000, 1500)
    assert negative.equals(invoices)
    assert negative_lines.equals(lines)


def test_every_list_of_credits_is_tried_here_or_turned_by_its_connector() -> None:
    """NetSuite's query asks for the size, Sage Intacct's sign is what tells the kind.

    Both, and Oracle Fusion, have tests of their own. Square's returns are sums of what came back.
    """
    lists = {
        (system, stream.name)
        for system, spec in SYSTEMS.items()
        for stream in spec.streams
        if stream.kind in NEGATIVE_KINDS and stream.deleted is None
        # What is deleted there is void here, whatever its amount.
        if not stream.name.startswith("deleted_")
    }
    turned = ("netsuite", "sage_intacct", "oracle_fusion", "square")
    assert {entry for entry in lists if entry[0] not in turned} <= set(PAGES)
