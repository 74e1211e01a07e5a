"""Pages are read one after the other, small ones together: the rows are the same however the records are spread over pages."""

import json
from dataclasses import fields
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import SecretStr

from connectors import SYSTEMS
from connectors.kit.mapping import Mapped, gather, map_pages
from connectors.kit.spec import Account, Window

SPEC = SYSTEMS["xero"]
STREAM = SPEC.stream("invoices")
CONNECTION = Account(
    "xero", "tenant", "http://vendor.test", "", "id", SecretStr("s"), SecretStr("s")
)
#: Odd ones are changed on the second day.
DAYS = [datetime(2026, 5, day, tzinfo=UTC) for day in (1, 2, 3)]


def _record(number: int) -> dict[str, object]:
    record: dict[str, object] = {
        "Type": "ACCPAY" if number % 7 == 3 else "ACCREC",
        "InvoiceID": f"id-{number}",
        "InvoiceNumber": f"INV-{number}",
        "Contact": {
            "ContactID": f"c-{number % 5}",
            "Phones": [{"PhoneType": "MOBILE", "PhoneNumber": f"92300000{number % 5}"}],
        },
        "Date": "/Date(1777593600000+0000)/",
        "UpdatedDateUTC": f"/Date({int(DAYS[number % 2].timestamp() * 1000)}+0000)/",
        "Status": "PAID",
        "CurrencyCode": "AOA",
        "Total": f"{number}.50",
        "LineItems": [
            {"ItemCode": f"sku-{number}-{line}", "LineAmount": 1} for line in range(number % 4)
        ],
    }
    if number % 11 == 5:
        record["Contact"] = "nobody"  # a record that cannot be decoded
    return record


def _pages(size: int) -> list[tuple[int, bytes]]:
    records = [_record(number) for number in range(60)]
    # Page and place stay those of a single page, so that the rows can be compared.
    return [
        (at, json.dumps({"Invoices": records[at : at + size]}).encode())
        for at in range(0, 60, size)
    ]


def _rows(mapped: Mapped) -> dict[str, pl.DataFrame]:
    """The frames, with one number in place of page and place: a page is numbered by its first record."""
    place = (pl.col("page_id") + pl.col("record_no").cast(pl.Int64)).alias("place")
    frames = {
        one.name: getattr(mapped, one.name) for one in fields(Mapped) if one.name != "record_count"
    }
    return {
        name: frame.select(place, pl.exclude("page_id", "record_no")).sort(
            "place", maintain_order=True
        )
        if "record_no" in frame.columns
        else frame
        for name, frame in frames.items()
    }


@pytest.mark.parametrize("together", [1, 4, 500])
@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("window", [None, Window(DAYS[1], DAYS[2])])
def test_the_rows_do_not_depend_on_how_records_are_spread_over_pages(
    monkeypatch: pytest.MonkeyPatch, together: int, size: int, window: Window | None
) -> None:
    expected = map_pages(SPEC, STREAM, CONNECTION, _pages(60), window=window)
    monkeypatch.setattr(gather, "RECORDS_AT_ONCE", together)
    mapped = map_pages(SPEC, STREAM, CONNECTION, _pages(size), window=window)
    assert mapped.record_count == expected.record_count == 60
    for name, frame in _rows(mapped).items():
        assert_frame_equal(frame, _rows(expected)[name])


def test_lines_stay_with_their_record_where_others_are_left_out() -> None:
    mapped = map_pages(SPEC, STREAM, CONNECTION, _pages(7), window=Window(DAYS[1], DAYS[2]))
    counts = dict(mapped.lines.group_by("external_id").len().rows())
    wanted = {f"id-{n}": n % 4 for n in range(60) if n % 2 and n % 7 != 3 and n % 11 != 5}
    assert counts == wanted
    assert (
        mapped.lines["sku"].str.split("-").list.get(1).to_list()
        == mapped.lines["external_id"].str.strip_prefix("id-").to_list()
    )
