"""Answers of an operator's own API that are not the list that was expected: what stands there, and which field to correct."""

import json
from typing import Any

import pytest

from connectors import spec_for
from connectors.custom.connector import ApiFailed, RecordsElsewhere
from connectors.kit.mapping import try_record
from connectors.kit.mapping.reader import view
from connectors.kit.spec import Account

SALE = {"id": "1", "customer_phone": "923456789", "sale_date": "2026-05-01", "total": "5.00"}


def connection(**options: Any) -> Account:
    return Account(
        "custom", "loja", "https://erp.test", options=options, default_currency="AOA", name="loja"
    )


def count(answer: Any, **options: Any) -> int:
    vendor = connection(**options)
    spec = spec_for(vendor)
    return view(spec, spec.streams[0], json.dumps(answer).encode()).record_count


@pytest.mark.parametrize(
    ("answer", "options", "said"),
    [
        (
            {},
            {},
            "no list of records at /data: the answer has nothing there; it is an object without keys",
        ),
        ({"items": [SALE], "total": 1}, {}, 'it is an object with the keys "items", "total"'),
        ({"data": {"rows": [SALE]}}, {}, 'at /data: there is an object with the keys "rows"'),
        (
            {"data": {"1001": SALE, "1002": SALE}},
            {},
            "there is an object with 2 entries; records must be in a list",
        ),
        ({"data": {"Maria 923456789": SALE}}, {}, "there is an object with 1 entries"),
        (
            {"data": {"Maria": SALE, "maria@example.test": SALE}},
            {},
            "there is an object with 2 entries",
        ),
        ({"data": {"rows": 1, "Maria Silva": SALE}}, {}, 'with the keys "rows", ...'),
        ({"data": "none"}, {}, "at /data: there is something else"),
        ({"data": [SALE]}, {"records": "", "paging": "page number"}, "a JSON array was expected"),
        ({"data": None}, {"records": "/data/items"}, "no list of records at /data/items"),
    ],
)
def test_what_stands_there_is_told(answer: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordsElsewhere) as refused:
        count(answer, **options)
    told = str(refused.value.of_block("loja"))
    assert said in told
    assert 'Say in the block "loja" where an answer holds the list ("Records")' in told
    assert (
        "maria" not in told.lower() and "923456789" not in told and "the vendor changed" not in told
    )


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"success": False, "message": "Sessão de Maria expirou"}, "unknown"),
        ({"ok": False, "code": "E17"}, "E17"),
        (
            {
                "data": None,
                "errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}],
            },
            "UNAUTHENTICATED",
        ),
        ({"error": {"code": "expired"}}, "expired"),
        ({"success": False, "data": []}, "unknown"),
        ({"title": "No", "status": 403, "type": "https://e.test/not-allowed"}, "not-allowed"),
    ],
)
@pytest.mark.parametrize("tolerant", [True, False])
def test_an_answer_that_says_it_failed_is_no_empty_list(
    answer: Any, code: str, tolerant: bool
) -> None:
    with pytest.raises(ApiFailed, match=f"an error answer, code {code}") as refused:
        count(answer, empty_without_records=tolerant)
    assert "Maria" not in str(refused.value)
    assert "the vendor changed" not in str(refused.value)


@pytest.mark.parametrize(
    "answer", [{}, {"data": None}, {"data": {}}, {"data": {"items": None}}, {"data": {"items": []}}]
)
def test_no_list_means_no_records_where_that_is_said(answer: Any) -> None:
    assert count(answer, records="/data/items", empty_without_records=True) == 0


@pytest.mark.parametrize(
    ("answer", "records"),
    [
        ({"items": [SALE]}, "/data"),
        ({"invoices": {"rows": [SALE]}}, "/data"),
        ({"result": {"invoices": [SALE]}}, "/data/items"),
        ({"result": [SALE]}, "/data/items"),
    ],
)
def test_another_list_in_its_place_is_no_empty_one(answer: Any, records: str) -> None:
    """Or its sales would be passed over: the cursor moves past an empty list."""
    with pytest.raises(RecordsElsewhere):
        count(answer, records=records, empty_without_records=True)


def test_a_sample_whose_records_are_in_no_list() -> None:
    vendor = connection()
    payload = json.dumps({"data": {"1001": SALE, "1002": SALE}}).encode()
    (found,) = try_record(spec_for(vendor), None, vendor, payload)
    assert not found["ok"]
    assert "records must be in a list" in found["problems"][0]["reason"]
    (one,) = try_record(spec_for(vendor), None, vendor, json.dumps({"data": SALE}).encode())
    assert one["ok"]
