"""Numbers and dates in other notations become ours exactly, or stay as they are to be refused."""

import polars as pl
import pytest

from connectors.kit.mapping.notation import rewritten
from connectors.kit.spec.fields import Notation


@pytest.mark.parametrize(
    ("notation", "written", "plain"),
    [
        ("comma", "1.234.567,89", "1234567.89"),
        ("comma", "1 234,5", "1234.5"),
        ("comma", "1\u00a0234,50 Kz", "1234.50"),
        ("comma", "AOA 10", "10"),
        ("comma", "1'234,50", "1234.50"),
        ("comma", "-0,05", "-0.05"),
        ("comma", "1.500", "1500"),
        ("comma", "150.00", "150.00"),
        ("comma", "150.5", "150.5"),
        ("comma", "cem", "cem"),
        ("comma", "1,2,3", "1.2,3"),
        ("comma", None, None),
        ("comma", "0.125", "0.125"),
        ("comma", "1,234.50", "1,234.50"),
        ("comma", "0.125,5", "0.125,5"),
        ("comma", "12.34,5", "12.34,5"),
        ("comma", "US$ 1.234,50", "1234.50"),
        ("point", "150.00", "150.00"),
        ("point", "1,234.50", "1234.50"),
        ("point", "1,234,567", "1234567"),
        ("point", "1 234.50", "1234.50"),
        ("point", "1\u202f234.5 AOA", "1234.5"),
        ("point", "1'234.50", "1234.50"),
        ("point", "$5.00", "5.00"),
        ("point", "-Kz 5.00", "-5.00"),
        ("point", "1,234", "1,234"),
        ("point", "12 50", "12 50"),
        ("point", "1 23.4", "1 23.4"),
        ("point", "0 125", "0 125"),
        ("point", "10'5", "10'5"),
        ("point", "- 5.00", "-5.00"),
        ("point", "Kz 5 Kz", "Kz 5 Kz"),
        ("point", "5.00 un", "5.00 un"),
        ("comma", "12 50,00", "12 50.00"),
        ("grouped", "1 234,567", "1234,567"),
        ("point", "12,34.50", "12,34.50"),
        ("point", "0,125.00", "0,125.00"),
        ("point", None, None),
        ("grouped", "1,234", "1234"),
        ("grouped", "-1,234,567.8 Kz", "-1234567.8"),
        ("grouped", "1234.50", "1234.50"),
        ("grouped", "1,23", "1,23"),
        ("minor", "15000", "150.00"),
        ("minor", "1500.0", "15.00"),
        ("minor", "1500.00", "?"),
        ("minor", "15 000", "150.00"),
        ("minor", "15\u00a0000 AOA", "150.00"),
        ("minor", "15 00", "?"),
        ("minor", "-7.", "-0.07"),
        ("minor", "5", "0.05"),
        ("minor", "-5", "-0.05"),
        ("minor", "0", "0.00"),
        ("minor", "12.5", "?"),
        ("minor", "", "?"),
        ("minor", None, None),
        ("time", "1777627800", "/Date(1777627800000)/"),
        ("time", "1777627800.25", "/Date(1777627800000)/"),
        ("time", "1777627800123", "/Date(1777627800123)/"),
        ("time", "2026-05-01", "2026-05-01"),
        ("time", "20260501", "2026-05-01"),
        ("time", "31 Jan 2026", "2026-01-31"),
        ("time", "2026/01/31 10:00", "2026-01-31 10:00"),
        ("time", "2026.01.31", "2026-01-31"),
        ("day_first", "2026/01/31", "2026-01-31"),
        ("time", "1 de março de 2026 10:00", "2026-03-01 10:00"),
        ("time", "31-Dez-2026", "2026-12-31"),
        ("time", "Feb 3, 2026 12:05 AM", "2026-02-03 00:05:00"),
        ("time", "2026-05-01 12:30 p.m.", "2026-05-01 12:30:00"),
        ("time", "31/01/2026", "31/01/2026"),
        ("time", "31 Foo 2026", "31 Foo 2026"),
        ("time", "31 Janela 2026", "31 Janela 2026"),
        ("time", "31 janeiro 2026", "2026-01-31"),
        ("time", "1 Sept 2026", "2026-09-01"),
        ("time", "26-01-31", "?"),
        ("time", "01/02/26", "?"),
        ("day_first", "1/2/2026", "2026-02-01"),
        ("day_first", "31.01.2026 10:30", "2026-01-31 10:30"),
        ("day_first", "2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("day_first", "31/01/26", "2026-01-31"),
        ("day_first", "31.01.26 9:05", "2026-01-31 9:05"),
        ("day_first", "31/01/2026 2:30 PM", "2026-01-31 14:30:00"),
        ("day_first", "31/01/2026 14:30 PM", "2026-01-31 14:30 PM"),
        ("day_first", "31/01/262", "31/01/262"),
        ("day_first", "20260131", "2026-01-31"),
        ("month_first", "1/2/2026", "2026-01-02"),
    ],
)
def test_notations(notation: Notation, written: str | None, plain: str | None) -> None:
    frame = pl.DataFrame(
        {"value": [written], "_e": [2]}, schema={"value": pl.String, "_e": pl.Int8}
    )
    assert rewritten(frame, {"value": notation}, "_e")["value"].to_list() == [plain]


@pytest.mark.parametrize(("exponent", "plain"), [(0, "15000"), (3, "15.000"), (None, "?")])
def test_minor_units_are_those_of_the_currency(exponent: int | None, plain: str) -> None:
    frame = pl.DataFrame(
        {"value": ["15000"], "_e": [exponent]}, schema={"value": pl.String, "_e": pl.Int8}
    )
    assert rewritten(frame, {"value": "minor"}, "_e")["value"].to_list() == [plain]


@pytest.mark.parametrize(
    ("written", "digits", "plain"),
    [
        ("500", 2, "5."),
        ("12.5", 2, "0.125"),
        ("-0.5", 2, "-0.005"),
        ("13333.333333333333", 2, "133.333333"),
        ("5", 0, "5."),
        ("0.000000000001", 0, "0."),
        ("1.5", 3, "0.0015"),
        ("1e3", 2, "?"),
        (None, 2, None),
    ],
)
def test_unit_prices_in_minor_units(written: str | None, digits: int, plain: str | None) -> None:
    """They may have decimals; six of the major unit are kept."""
    raw = pl.DataFrame(
        {"price": [written], "digits": [digits]}, schema={"price": pl.String, "digits": pl.Int8}
    )
    assert rewritten(raw, {"price": "minor_price"}, "digits")["price"].to_list() == [plain]


def test_minor_units_of_a_vendor_with_decimals_of_its_own() -> None:
    """Only for the currencies that it counts otherwise, however they are written."""
    raw = pl.DataFrame(
        {
            "total": ["500", "500", "500", None],
            "currency": ["isk", "AOA", None, "ISK"],
            "digits": pl.Series([0, 2, None, 0], dtype=pl.Int8),
        }
    )
    plain = rewritten(raw, {"total": "minor"}, "digits", {"total": {"ISK": 2}})
    assert plain["total"].to_list() == ["5.00", "5.00", "?", None]
    assert rewritten(raw, {"total": "minor"}, "digits")["total"].to_list()[0] == "500"


def test_seconds_since_1970_alone_are_read_as_among_other_times() -> None:
    for others in ([], ["2026-01-31"]):
        raw = pl.DataFrame({"at": ["1779832114", None, *others], "digits": 2})
        plain = rewritten(raw, {"at": "time"}, "digits")["at"].to_list()
        assert plain == ["/Date(1779832114000)/", None, *others]
