"""What documents name of other systems, as it is stored; and that nothing is rejected for it."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.mapping import Mapped, map_page
from connectors.kit.spec import Account
from connectors.kit.spec.fields import order_reference
from tests.unit.test_mapping_records import RECORDS, mapped

CHARGE: dict[str, Any] = {
    "id": "ch_1", "object": "charge", "customer": "cus_1", "currency": "aoa", "amount": 15_000,
    "status": "succeeded", "captured": True, "refunded": False, "created": 1_780_000_000,
    "payment_intent": "pi_1", "metadata": {}, "description": None,
}  # fmt: skip
ORDER: dict[str, Any] = {
    "id": 727, "number": "727", "customer_id": 26, "currency": "AOA", "total": "150.00", "status": "completed",
    "total_tax": "0.00", "date_created_gmt": "2026-03-22T16:28:02", "line_items": [], "transaction_id": "",
    "billing": {"phone": "923000001", "country": "AO"},
}  # fmt: skip


def names(system: str, stream: str, body: Any, **options: Any) -> str | None:
    """`reference_ids` of the one document of a page."""
    account = Account(
        system, "shop", "", "", "id", SecretStr("s"), SecretStr("r"), region="AO", **options
    )
    spec = SYSTEMS[system]
    page: Mapped = map_page(
        spec, spec.stream(stream), account, json.dumps(body).encode(), page_id=1
    )
    assert page.problems.is_empty(), page.problems
    return page.invoices["reference_ids"].item()


def charge(**changes: Any) -> str | None:
    return names("stripe", "payments", {"data": [CHARGE | changes], "has_more": False})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "payment:pi_1"),
        ({"payment_intent": None}, None),
        ({"payment_intent": {"id": "pi_1"}}, "payment:pi_1"),
        ({"metadata": {"order_id": "5550001234567"}}, "order:5550001234567 payment:pi_1"),
        ({"metadata": {"order_number": "#1001"}}, "order:1001 payment:pi_1"),
        ({"description": "Acme - Order #1001"}, "order:1001 payment:pi_1"),
        ({"description": "Invoice no. INV-7, order 1001"}, "order:1001 order:INV-7 payment:pi_1"),
        # No ids: words, something short, a phone, an address, an object.
        ({"description": "Subscription update"}, "payment:pi_1"),
        ({"description": "order of water"}, "payment:pi_1"),
        ({"metadata": {"order_id": "7"}}, "payment:pi_1"),
        ({"metadata": {"order_id": "923000001"}}, "payment:pi_1"),
        ({"metadata": {"order_id": "ana@example.com"}}, "payment:pi_1"),
        ({"metadata": {"order_id": {"id": 1}}}, "payment:pi_1"),
        ({"metadata": {"order_id": "1" * 101}}, "payment:pi_1"),
    ],
    ids=str,
)
def test_a_payment_names_the_order_it_is_of(changes: dict[str, Any], expected: str | None) -> None:
    assert charge(**changes) == expected


def test_a_shop_names_the_payment() -> None:
    assert names("woocommerce", "orders", [ORDER]) is None
    assert (
        names("woocommerce", "orders", [ORDER | {"transaction_id": "ch_3Oq"}]) == "payment:ch_3Oq"
    )


@pytest.mark.parametrize(
    ("system", "changes", "expected"),
    [
        ("quickbooks", {"PrivateNote": "Shopify order #1001"}, "order:1001"),
        ("quickbooks", {"PrivateNote": "paid in cash, 2 bottles"}, None),
        ("xero", {"Reference": "#1001"}, "order:1001"),
        ("freshbooks", {"po_number": "SO-1001"}, "order:SO-1001"),
        ("zoho_books", {"reference_number": "1001"}, "order:1001"),
        ("sage_intacct", {"referenceNumber": "SO1001"}, "order:SO1001"),
    ],
)
def test_books_name_the_order(system: str, changes: dict[str, Any], expected: str | None) -> None:
    page = mapped(system, RECORDS[system] | changes)
    assert page.problems.is_empty()
    assert page.invoices["reference_ids"].item() == expected


def test_an_operator_may_say_where_the_order_is_named() -> None:
    """In any system, whether or not it passes something on by itself."""
    paths = {"order_reference": "/meta/shop", "payment_reference": "/meta/payment"}
    body = [ORDER | {"meta": {"shop": "5550001234567", "payment": "pi_9"}}]
    expected = "order:5550001234567 payment:pi_9"
    assert names("woocommerce", "orders", body, paths=paths) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1001", "1001"), (1001, "1001"), ("Order 1001", "1001"), ("ORDER: #SO-7/2", "SO-7/2"),
        ("receipt nr. 88 and order id 99", "88 99"), ("reorder 1001", None), ("borders 12 34", None),
        ("two words", None), (True, None), (None, None), ([1], None),
    ],
)  # fmt: skip
def test_numbers_are_found_in_texts(text: Any, expected: str | None) -> None:
    pick = order_reference("/x").pick
    assert pick is not None and pick(text) == expected
