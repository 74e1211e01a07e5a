"""Half a character, or a number that is none, costs at most its own field."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import spec_for
from connectors.kit.mapping import map_page, try_record
from connectors.kit.mapping.json_text import Decoder, mend
from connectors.kit.mapping.reader import view
from connectors.kit.spec import Account

CUSTOM = Account("custom", "loja", "https://erp.test", default_currency="AOA")


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (rb'["\ud83d"]', ["\ufffd"]),
        (rb'["a\uDE00b"]', ["a\ufffdb"]),
        (rb'["\ud83d\ude00"]', ["\U0001f600"]),
        (rb'["\ud83d\ud83d\ude00"]', ["\ufffd\U0001f600"]),
        (rb'["\\ud83d", "\ud83d"]', ["\\ud83d", "\ufffd"]),
        (rb'["\\\ud83d"]', ["\\\ufffd"]),
        (rb'[NaN, -Infinity, "NaN", "a\"NaN"]', [None, None, "NaN", 'a"NaN']),
        (rb'["\ud83d", NaN]', ["\ufffd", None]),
    ],
)
def test_mended(sent: bytes, value: Any) -> None:
    assert Decoder(Any).decode(sent) == value
    assert Decoder(Any).decode(sent.decode()) == value
    assert Decoder(list[msgspec.Raw]).decode(sent)


@pytest.mark.parametrize(
    "sent", [b"[", b"[1,]", b'{"a": NaNa}', b"", b'["\\u12"]', b'["\\ud83d"', b"\xff"]
)
def test_what_is_no_json_stays_none(sent: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        Decoder(Any).decode(sent)


def test_a_text_that_is_cut_off_is_looked_at_once() -> None:
    """Each of its quotes tried to the end would be hours."""
    assert mend(b'{"a": NaN, "b": "' + b'\\"' * 1_000_000) is not None


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_well_stays_as_it_is(value: Any) -> None:
    sent = json.dumps(value).encode()
    mended = mend(sent)
    if mended is not None:  # a text that is half a character itself
        assert json.loads(mended) != value


def test_of_a_page_one_field_is_lost_at_most() -> None:
    """Also where it is mapped: the document's note is none of ours, its amount is."""
    spec = spec_for(CUSTOM)
    rows = [
        '{"id": "1", "customer_phone": "923456789", "sale_date": "2026-05-01", "total": 5, "note": "\\ud83d"}',
        '{"id": "2", "customer_phone": "923456789", "sale_date": "2026-05-01", "total": NaN}',
        '{"id": "3", "customer_phone": "923456789", "sale_date": "2026-05-01", "total": 7, "lines": [{"name": "\\ude00"}]}',
    ]
    body = f'{{"data": [{", ".join(rows)}], "next_cursor": null}}'.encode()
    found = map_page(spec, spec.streams[0], CUSTOM, body, page_id=1)
    assert view(spec, spec.streams[0], body).ids == ["1", "2", "3"]
    assert found.invoices["total_minor"].to_list() == [500, None, 700]
    assert [(p["record_no"], p["field"], p["reason"]) for p in found.problems.to_dicts()] == [
        (1, "total_minor", "missing")
    ]
    assert found.lines["name"].to_list() == ["\ufffd"]
    assert [one["ok"] for one in try_record(spec, None, CUSTOM, body)] == [True, False, True]


@pytest.mark.parametrize(
    ("changes", "field", "path", "reason"),
    [
        ({}, "customer_phone", "/customer/phone or /customer_phone", "missing"),
        (
            {"customer_phone": "s/n"},
            "customer_phone",
            "/customer/phone or /customer_phone",
            "is not a phone number that can be dialled",
        ),
    ],
)
def test_a_sale_of_nobody_names_the_phone(
    changes: dict[str, Any], field: str, path: str, reason: str
) -> None:
    """The customer's number would be no help: nobody looks phones up by it."""
    spec = spec_for(CUSTOM)
    body = json.dumps(
        {"data": [{"id": "1", "sale_date": "2026-05-01", "total": 5} | changes]}
    ).encode()
    (problem,) = map_page(spec, spec.streams[0], CUSTOM, body, page_id=1).problems.to_dicts()
    assert (problem["field"], problem["path"], problem["reason"]) == (field, path, reason)
