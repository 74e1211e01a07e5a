"""How the documents of systems described in a block may be written: read exactly, or refused with what to choose."""

import io
import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from connectors import spec_for
from connectors.kit.mapping import map_page, try_record
from connectors.kit.spec import Account

SALE = {"id": "A1", "customer_phone": "923456789", "sale_date": "2026-05-01"}


def connection(system: str = "custom", **options: Any) -> Account:
    return Account(
        system,
        "loja",
        "https://erp.test",
        options=options,
        default_currency="AOA",
        timezone="Africa/Luanda",
    )


def mapped(vendor: Account, body: bytes) -> Any:
    spec = spec_for(vendor)
    return map_page(spec, spec.streams[0], vendor, body, page_id=1)


def page(record: str) -> bytes:
    return b'{"data": [' + (json.dumps(SALE)[:-1] + ", " + record + "}").encode() + b"]}"


def totals(vendor: Account, body: bytes) -> list[int | None]:
    found = mapped(vendor, body)
    assert found.record_count == 1
    return list(found.invoices["total_minor"])


class TestDecimalCommas:
    """A point in a JSON number is a point, whatever one in a text is."""

    @pytest.mark.parametrize(
        ("written", "minor"),
        [
            ("12.500", 1250),
            ("10.125e1", 10125),
            ("1500", 150000),
            ('"12.500"', 1250000),
            ('"12,50"', 1250),
            ('"1.234,5"', 123450),
            ('"0.125,5"', None),
        ],
    )
    def test_of_api_records(self, written: str, minor: int | None) -> None:
        vendor = connection(amounts="decimal comma")
        assert totals(vendor, page(f'"total": {written}')) == [minor]
        (tried,) = try_record(spec_for(vendor), None, vendor, page(f'"total": {written}'))
        assert tried["invoice"]["total_minor"] == minor

    def test_quantities_and_prices(self) -> None:
        lines = '"total": "10,00", "lines": [{"quantity": 2.375, "unit_price": 0.125, "amount": 10.12}, {"quantity": "2,375"}]'
        found = mapped(connection(amounts="decimal comma"), page(lines)).lines
        assert found["quantity"].to_list() == [Decimal("2.375")] * 2
        assert found["unit_price"].to_list() == [Decimal("0.125"), None]
        assert found["amount_minor"].to_list() == [1012, None]

    def test_other_fields_that_are_numbers(self) -> None:
        record = '"total": 12.5, "updated_at": 1777627800.25, "number": 7.0, "customer_phone": 923456789.0'
        found = mapped(connection(amounts="decimal comma"), page(record))
        assert found.problems.is_empty()
        row = found.invoices.row(0, named=True)
        assert (row["invoice_number"], row["customer_phone"], row["total_minor"]) == (
            "7",
            "+244923456789",
            1250,
        )
        assert str(row["updated_at"]) == "2026-05-01 09:30:00+00:00"

    @pytest.mark.parametrize("kind", ["json", "ndjson", "parquet", "csv"])
    def test_of_files(self, kind: str) -> None:
        row = SALE | {"total": 12.125}
        parquet = io.BytesIO()
        pl.DataFrame([SALE | {"total": 12.5}]).write_parquet(parquet)
        bodies = {
            "json": json.dumps([row | {"total": 12.5}]).encode(),
            "ndjson": json.dumps(row | {"total": 12.5}).encode()
            + b"\n"
            + json.dumps(row | {"id": "A2", "total": "1.250,00"}).encode(),
            "parquet": parquet.getvalue(),
            "csv": b'id;customer_phone;sale_date;total\nA1;923456789;2026-05-01;"12,50"\n',
        }
        found = mapped(connection("file", amounts="decimal comma"), bodies[kind])
        assert found.invoices["total_minor"].to_list() == [1250, 125000][: found.record_count]


@pytest.mark.parametrize(
    ("amounts", "written", "minor"),
    [
        ("decimal", "1,234.50", 123450),
        ("decimal", "1 234.50", 123450),
        ("decimal", "5.00 AOA", 500),
        ("decimal", "12 50", None),
        ("decimal", "10'5", None),
        ("decimal", "1 . 5", None),
        ("decimal comma", "12 50", None),
        ("comma between thousands", "1 2 3", None),
        ("decimal", "1,234", None),
        ("comma between thousands", "1,234", 123400),
        ("comma between thousands", "1,234.50 Kz", 123450),
        ("decimal comma", "Kz 1.234,50", 123450),
        ("minor units", "1500.0", 1500),
        ("minor units", "1500.00", None),
        ("minor units", "1 500 Kz", 1500),
    ],
)
@pytest.mark.parametrize("system", ["custom", "file"])
def test_amounts(system: str, amounts: str, written: str, minor: int | None) -> None:
    vendor = connection(system, amounts=amounts)
    body = json.dumps({"data": [SALE | {"total": written}]}).encode()
    assert totals(vendor, body) == [minor]


@pytest.mark.parametrize(
    ("currency", "written", "minor"),
    [
        ("USD", "$5.00", 500),
        ("USD", "US$ 5.00", 500),
        ("NAD", "$5.00", 500),
        ("GBP", "5.00 gbp", 500),
        ("EUR", "5.00 €", 500),
        ("Kz", "AKZ 5.00", 500),
        (None, "5.00Kz", 500),
        ("AOA", "$5.00", None),
        (None, "$5.00", None),
        ("AOA", "5.00 USD", None),
        ("EUR", "US$5.00", None),
        ("USD", "5.00 Kz", None),
        ("AOA", "5.00 un", None),
        ("AOA", "Kz 5.00 Kz", None),
    ],
)
def test_an_amount_in_another_currency_than_its_document_is_none(
    currency: str | None, written: str, minor: int | None
) -> None:
    record = {
        "currency": currency,
        "total": written,
        "lines": [{"unit_price": written, "amount": written}],
    }
    found = mapped(connection(), page(json.dumps(record)[1:-1]))
    assert (
        found.invoices["total_minor"].to_list() == found.lines["amount_minor"].to_list() == [minor]
    )
    assert found.lines["unit_price"].to_list() == [None if minor is None else Decimal(5)]
    assert set(found.problems["field"]) == (
        set() if minor else {"total_minor", "lines.unit_price", "lines.amount_minor"}
    )


AMOUNTS_ARE, DATES_ARE = '"Amounts are written as"', '"Dates are written with the"'


@pytest.mark.parametrize(
    ("amounts", "written", "advice"),
    [
        ("decimal", "1.234,50", f'choose "decimal comma" under {AMOUNTS_ARE}'),
        ("decimal", "1\u00a0234,50", f'choose "decimal comma" under {AMOUNTS_ARE}'),
        ("decimal", "Kz 5,00", f'choose "decimal comma" under {AMOUNTS_ARE}'),
        ("decimal", "12,345", f"choose in the block how {AMOUNTS_ARE}"),
        ("decimal", "1.234", f'more decimals than the currency (2); if they are thousands, choose "decimal comma" under {AMOUNTS_ARE}'),
        ("decimal", "0.125", "has more decimals than the currency (2)"),
        ("decimal", "$5.00", "has the sign of another currency than the document"),
        ("decimal", "12 50", "is not a number"),
        ("decimal", "9" * 70, "is too large"),
        ("decimal comma", "1,234.50", f'choose "decimal" or "comma between thousands" under {AMOUNTS_ARE}'),
        ("decimal comma", "1,234", f'if they are thousands, choose "comma between thousands" under {AMOUNTS_ARE}'),
        ("comma between thousands", "1.234,50", f'choose "decimal comma" under {AMOUNTS_ARE}'),
        ("minor units", "15,00", "is not a whole number of minor units"),
    ],
)  # fmt: skip
def test_a_refused_amount_says_what_to_choose(amounts: str, written: str, advice: str) -> None:
    (problem,) = mapped(
        connection(amounts=amounts), page(f'"total": "{written}"')
    ).problems.to_dicts()
    assert advice in problem["reason"]


@pytest.mark.parametrize(
    ("dates", "written", "advice"),
    [
        ("year first", "31/01/2026 10:00", f'choose "day first" under {DATES_ARE}'),
        ("year first", "01/31/2026", f'choose "month first" under {DATES_ARE}'),
        ("month first", "31.01.2026", f'choose "day first" under {DATES_ARE}'),
        ("year first", "01/02/2026", f"choose in the block what {DATES_ARE}"),
        ("year first", "26-01-31", f"choose in the block what {DATES_ARE}"),
        ("day first", "31 Janela 2026", "is not a date"),
        ("day first", "32/13/2026", "is not a date"),
    ],
)
def test_a_refused_date_says_what_to_choose(dates: str, written: str, advice: str) -> None:
    (problem,) = mapped(
        connection(dates=dates), page(f'"total": "5.00", "sale_date": "{written}"')
    ).problems.to_dicts()
    assert advice in problem["reason"]


def test_a_comma_that_could_be_either_is_refused_with_what_to_choose() -> None:
    (problem,) = mapped(connection(), page('"total": "1,234"')).problems.to_dicts()
    assert (problem["field"], problem["path"]) == ("total_minor", "/total or /total_amount")
    assert 'choose in the block how "Amounts are written as"' in problem["reason"]


def test_an_english_table() -> None:
    body = b'id,customer_phone,sale_date,total\nA1,923456789,31/01/2026 2:30 PM,"1,234.50"\n'
    found = mapped(connection("file", dates="day first"), body)
    assert found.problems.is_empty()
    assert found.invoices["total_minor"].to_list() == [123450]
    assert str(found.invoices["issued_at"][0]) == "2026-01-31 13:30:00+00:00"


@pytest.mark.parametrize("written", ["Kz", "AKZ", "kz", "aoa"])
def test_the_kwanza_however_it_is_written(written: str) -> None:
    found = mapped(connection(), page(f'"total": "5.00", "currency": "{written}"'))
    assert found.problems.is_empty()
    assert found.invoices["currency"].to_list() == ["AOA"]


@pytest.mark.parametrize(
    ("dates", "written", "day"),
    [
        ("year first", "20260131", "2026-01-30 23:00:00+00:00"),
        ("year first", "31 Jan 2026", "2026-01-30 23:00:00+00:00"),
        ("year first", "31/01/2026", None),
        ("day first", "31.01.26", "2026-01-30 23:00:00+00:00"),
        ("day first", "31/01/2026 9:05", "2026-01-31 08:05:00+00:00"),
        ("month first", "01/31/2026 12:00 AM", "2026-01-30 23:00:00+00:00"),
        ("month first", "31/01/2026", None),
    ],
)
def test_dates(dates: str, written: str, day: str | None) -> None:
    found = mapped(connection(dates=dates), page(f'"total": "5.00", "sale_date": "{written}"'))
    assert found.problems["field"].to_list() == ([] if day else ["issued_at"])
    assert [None if one is None else str(one) for one in found.invoices["issued_at"]] == [day]
