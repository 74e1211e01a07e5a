"""Where each field of a sample came from."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import spec_for
from connectors.kit.mapping import try_record
from connectors.kit.spec import Account
from panel.blocks import BLOCKS
from panel.connect.mapping_preview import chosen_paths, to_markdown

XERO = {
    "InvoiceID": "7",
    "InvoiceNumber": "I-1",
    "Type": "ACCREC",
    "Status": "AUTHORISED",
    "Total": "150",
    "CurrencyCode": "AOA",
    "DateString": "2026-05-01T00:00:00",
    "Reference": "923 456 789",
    "Contact": {"ContactID": "c-1", "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": ""}]},
    "LineItems": [{"Description": "a gift"}, {"ItemCode": "AGUA-5L", "LineAmount": 150}],
}


def sources(account: Account, payload: bytes) -> dict[str, str]:
    (record,) = try_record(spec_for(account), None, account, payload)
    assert record["ok"], record["problems"]
    found: dict[str, str] = record["sources"]
    return found


def account_of(system: str, values: dict[str, Any]) -> Account:
    """The connection of a block with these fields."""
    block = BLOCKS[system]
    required = getattr(block, "sample_values", dict)()
    return block(**{**required, **values}).connection()


def test_a_field_has_the_path_that_held_it() -> None:
    account = Account(
        "xero", "s", "", "", region="AO", default_currency="AOA", client_secret=SecretStr("")
    )
    found = sources(account, json.dumps(XERO).encode())
    assert (found["external_id"], found["invoice_number"]) == ("/InvoiceID", "/InvoiceNumber")
    assert "customer_phone" not in found, "an empty number is no number"
    assert "lines.sku" not in found, "the first line has none"


def test_another_path_is_named_where_it_is_used() -> None:
    account = Account(
        "xero", "s", "", "", region="AO", default_currency="AOA",
        paths={"customer_phone": "/Reference", "lines.sku": "/Description"},
    )  # fmt: skip
    found = sources(account, json.dumps(XERO).encode())
    assert found["customer_phone"] == "/Reference"
    assert found["lines.sku"] == "/Description"


def test_an_id_that_is_made_of_several_columns_names_them_all() -> None:
    mapping = {"external_id": "Serie + Numero", "customer_phone": "Telefone"}
    account = account_of("file", {"folder": "/tmp", "field_mapping": mapping})
    rows = (
        "Serie;Numero;Telefone;total_amount;sale_date;currency\nA;17;923456789;150;2026-05-01;AOA\n"
    )
    found = sources(account, rows.encode())
    assert found["external_id"] == "/Serie + /Numero"
    assert found["customer_phone"] == "/Telefone"
    assert found["total_minor"] == "/total_amount"


def test_a_table_says_it_to_people() -> None:
    account = Account("xero", "s", "", "", region="AO", default_currency="AOA")
    text = to_markdown(try_record(spec_for(account), None, account, json.dumps(XERO).encode()))
    assert "| `invoice_number` | I-1 | `/InvoiceNumber` |" in text
    assert "**Line 2**" in text and "Empty: " in text and "`customer_phone`" in text


def test_paths_of_a_form() -> None:
    text = "customer_phone = /Reference, lines.sku=/Code\ntotal_minor ="
    assert chosen_paths(text) == {
        "customer_phone": "/Reference", "lines.sku": "/Code", "total_minor": "",
    }  # fmt: skip
    assert chosen_paths("  ") == {}
    for wrong in ("/Reference", "= /Reference", "customer_phone = /A, nonsense"):
        with pytest.raises(ValueError, match="where a field is"):
            chosen_paths(wrong)
