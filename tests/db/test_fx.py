"""Exchange rates in the ledger.

They are append-only, count once when loaded twice, and change only by a declared correction.
"""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from loyalty.fx import FxRate
from loyalty.program import Program
from sql import fx, ledger
from sql.db import connect
from sql.explain import explain
from sql.fx import LoadedRates, RateChangedError
from tests.support.books import NOON, Books, invoice

DAY = date(2026, 3, 1)


def rate(value: str, day: date = DAY, currency: str = "EUR", base: str = "AOA") -> FxRate:
    return FxRate.model_validate(
        {
            "currency": currency,
            "base_currency": base,
            "valid_on": day,
            "valid_until": day,
            "rate": value,
        }
    )


def load(books: Books, *found: FxRate, correct: bool = False) -> LoadedRates:
    with books.transaction() as connection:
        return fx.add(connection, found, "bank", "by hand", correct=correct)


def convert_euros(books: Books) -> None:
    """From now on the program has no rate of its own for euros, and converts."""
    books.run(
        "INSERT INTO loyalty.program (version, valid_from, base_rate_bps, tier_rate_bps, "
        "entry_tier, base_currency) "
        "SELECT 2, valid_from, base_rate_bps - 'EUR', tier_rate_bps, entry_tier, 'AOA' "
        "FROM loyalty.program WHERE version = 1"
    )


def test_twice_is_once(books: Books) -> None:
    two = (rate("925.5"), rate("850", currency="USD"))
    assert load(books, *two) == LoadedRates(2, 0, 0)
    assert load(books, *two, rate("926", date(2026, 3, 2))) == LoadedRates(1, 2, 0)
    assert books.rows("SELECT count(*) FROM loyalty.fx_rate") == [(3,)]


def test_another_value_is_a_correction_or_a_mistake(books: Books) -> None:
    load(books, rate("925.5"))
    with pytest.raises(
        RateChangedError, match=r"EUR in AOA for 2026-03-01: 925.5 is known, 9.255 is new"
    ):
        load(books, rate("9.255"), rate("1", currency="USD"))
    assert books.rows("SELECT count(*) FROM loyalty.fx_rate") == [(1,)]
    assert load(books, rate("925.6"), correct=True) == LoadedRates(0, 0, 1)
    assert load(books, rate("925.60"), correct=True) == LoadedRates(0, 1, 0)


def test_the_rates_a_program_needs(books: Books) -> None:
    load(books, rate("925.123456789"), rate("2", base="USD"))
    with connect(books.dsn) as connection:
        stored = ledger.programs(connection)
        assert fx.rates(connection, stored).is_empty()
        converting = Program(
            **stored[0].model_dump() | {"version": 2, "base_currency": "AOA", "timezone": "UTC"}
        )
        (row,) = fx.rates(connection, [*stored, converting]).rows()
    assert row == (
        "EUR",
        "AOA",
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 3, 2, tzinfo=UTC),
        925_123_456_789,
    )


def test_marks_those_whose_sales_it_concerns(books: Books) -> None:
    books.store(
        invoice(currency="EUR"),
        invoice(
            external_id="B",
            currency="EUR",
            customer_phone="+244923000002",
            issued_at=NOON.replace(day=9),
        ),
        invoice(external_id="C", currency="USD", customer_phone="+244923000003"),
    )
    books.award()
    load(books, rate("925.5"))
    assert books.dirty() == []  # no program converts
    convert_euros(books)
    books.award()
    load(books, rate("925.6"), correct=True)
    assert books.dirty() == [books.member()]


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE loyalty.fx_rate SET rate = 1",
        "DELETE FROM loyalty.fx_rate",
        "TRUNCATE loyalty.fx_rate",
    ],
)
def test_rates_are_kept(books: Books, how: str) -> None:
    load(books, rate("925.5"))
    with pytest.raises(psycopg.errors.RestrictViolation, match="keeps its history"):
        books.run(how)


def test_a_sale_waits_for_its_rate_and_then_has_its_points(books: Books) -> None:
    convert_euros(books)
    books.store(invoice(currency="EUR", total_minor=1_050), invoice(external_id="B"))
    assert books.award().rejected == 1
    (reason,) = books.rows("SELECT reason FROM billing.reject WHERE resolved_at IS NULL")[0]
    assert reason == (
        "points: there is no exchange rate of EUR in AOA for 2026-03-01; load it (`twezah fx load`)"
    )
    assert books.points() == 1500
    load(books, rate("925.5"))
    assert books.dirty() == [books.member()]
    books.award()
    assert books.points() == 1500 + 97_177  # 10.50 x 925.5 = 9717.75 kwanzas
    assert books.rows("SELECT count(*) FROM billing.reject WHERE resolved_at IS NULL") == [(0,)]
    load(books, rate("1000"), correct=True)
    books.award()
    assert books.points() == 1500 + 105_000
    found = explain(books.dsn, "xero", "A")
    assert found is not None
    text = found.to_text(ZoneInfo("UTC"))
    assert "10.50 EUR = 10500.00 AOA" in text and "10.50 EUR x converted" in text
