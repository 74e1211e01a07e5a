"""Values as vendors write them, beside what they must become.

Null means: cannot be used, and will be named.
"""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.kit.mapping.parse import (
    NOT_TEXT,
    dialled,
    e164,
    exact_decimals,
    in_micros,
    instants,
    masked,
    minor_units,
    plain_numbers,
    simple_minor_units,
    simple_numbers,
    texts,
    trimmed,
)
from loyalty.currency import EXPONENTS


def minor(value: str | None, exponent: int | None, *, exact: bool = True) -> int | None:
    frame = pl.DataFrame(
        {"value": [value], "exponent": [exponent]}, schema={"value": pl.String, "exponent": pl.Int8}
    )
    if simple_numbers(frame, ["value"]):
        quick = (
            in_micros(frame, ["value"], "exponent")
            .select(simple_minor_units("value", exact=exact))
            .item()
        )
        assert quick == frame.select(minor_units("value", "exponent", exact=exact)).item()
    frame = plain_numbers(frame, ["value"])
    return frame.select(minor_units("value", "exponent", exact=exact)).item()


@pytest.mark.parametrize(
    ("written", "exponent", "exact", "rounded"),
    [
        ("150.00", 2, 15000, 15000),
        ("150", 2, 15000, 15000),
        ("150.5", 2, 15050, 15050),
        ("150.500000", 2, 15050, 15050),
        ("0", 2, 0, 0),
        ("-0.005", 2, None, -1),
        ("0.004", 2, None, 0),
        ("0.005", 2, None, 1),
        ("2.675", 2, None, 268),
        ("-12.75", 2, -1275, -1275),
        ("1e3", 2, 100000, 100000),
        ("1.5E+2", 2, 15000, 15000),
        ("1e-2", 2, 1, 1),
        (".5", 2, 50, 50),
        ("+5", 2, 500, 500),
        ("7.", 2, 700, 700),
        ("500", 0, 500, 500),
        ("500.5", 0, None, 501),
        ("1.234", 3, 1234, 1234),
        # A double written out; what is left after its noise still has to fit.
        ("0.30000000000000004", 2, 30, 30),
        ("362.07000000000005", 2, 36207, 36207),
        ("1499.9999999999998", 0, 1500, 1500),
        ("-0.1499999999999999944", 2, -15, -15),
        ("150.00500000000001", 2, None, 15001),
        ("150.000000001", 2, None, 15000),
        ("7.60133524082021936099189318", 2, None, 760),
        ("9999999999999.99", 2, 999999999999999, 999999999999999),
        ("10000000000000", 2, None, None),
        ("1e999", 2, None, None),
        ("1e-999", 2, None, None),
        ("0000000000000000005", 2, 500, 500),
        ("1,500.00", 2, None, None),
        ("abc", 2, None, None),
        ("NaN", 2, None, None),
        ("Infinity", 2, None, None),
        ("- 5", 2, None, None),
        ("١٢", 2, None, None),
        (NOT_TEXT, 2, None, None),
        (None, 2, None, None),
        ("5", None, None, None),
    ],
)
def test_money(
    written: str | None, exponent: int | None, exact: int | None, rounded: int | None
) -> None:
    assert minor(written, exponent) == exact
    assert minor(written, exponent, exact=False) == rounded


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2), st.sampled_from([2, 3, 4]))
def test_money_is_exact(amount: Decimal, exponent: int) -> None:
    """Any amount in two decimals comes back as itself, however it is written."""
    expected = int(amount * 10**exponent)
    assert minor(str(amount), exponent) == expected
    assert minor(format(amount.normalize(), "E"), exponent) == expected


@given(st.text(max_size=30))
def test_money_never_fails(written: str) -> None:
    minor(written, 2)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.0", "1"),
        ("0.3333333", "0.333333"),
        ("-2.5", "-2.5"),
        ("1e2", "100"),
        ("x", None),
        (NOT_TEXT, None),
    ],
)
def test_decimals(written: str, value: str | None) -> None:
    frame = plain_numbers(pl.DataFrame({"v": [written]}), ["v"]).select(exact_decimals("v"))
    assert frame.item() == (None if value is None else Decimal(value))


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("written", "zone", "instant", "as_day"),
    [
        ("/Date(1776708221900+0000)/", "Africa/Luanda", at(2026, 4, 20, 18, 3, 41, 900000), None),
        ("/Date(1776708221900)/", "Africa/Luanda", at(2026, 4, 20, 18, 3, 41, 900000), None),
        # The milliseconds are UTC already: the offset is not added again.
        ("/Date(1776708221900+1200)/", "Africa/Luanda", at(2026, 4, 20, 18, 3, 41, 900000), None),
        ("/Date(-86400000+0000)/", "UTC", at(1969, 12, 31), None),
        # As a day, midnight UTC is a calendar day of the organisation.
        ("/Date(1776297600000+0000)/", "Africa/Luanda", at(2026, 4, 16), at(2026, 4, 15, 23)),
        ("2026-05-05T03:13:29-07:00", "Africa/Luanda", at(2026, 5, 5, 10, 13, 29), None),
        ("2026-05-05T03:13:29.123-0700", "Africa/Luanda", at(2026, 5, 5, 10, 13, 29, 123000), None),
        ("2024-01-15T14:30:00Z", "Africa/Luanda", at(2024, 1, 15, 14, 30), None),
        ("2026-04-16T00:00:00", "Africa/Luanda", at(2026, 4, 15, 23), None),
        ("2026-04-16", "Africa/Luanda", at(2026, 4, 15, 23), None),
        ("2026-04-16T12:30", "UTC", at(2026, 4, 16, 12, 30), None),
        ("2026-06-29 12:48:37", "America/New_York", at(2026, 6, 29, 16, 48, 37), None),
        ("2026-01-29 12:48:37", "America/New_York", at(2026, 1, 29, 17, 48, 37), None),
        # Clocks go back: the second of the two hours. Clocks go forward: the hour that was skipped
        # to.
        ("2026-11-01 01:30:00", "America/New_York", at(2026, 11, 1, 6, 30), None),
        ("2026-03-08 02:30:00", "America/New_York", at(2026, 3, 8, 7, 30), None),
        ("2024-02-29", "UTC", at(2024, 2, 29), None),
        ("2023-02-29", "UTC", None, None),
        ("2026-13-01", "UTC", None, None),
        ("16/04/2026", "UTC", None, None),
        ("soon", "UTC", None, None),
        ("/Date(x)/", "UTC", None, None),
        (NOT_TEXT, "UTC", None, None),
    ],
)
def test_times(written: str, zone: str, instant: datetime | None, as_day: datetime | None) -> None:
    frame = pl.DataFrame({"t": [written]})
    assert instants(frame["t"], zone, whole_days=False).item() == instant
    assert instants(frame["t"], zone, whole_days=True).item() == (as_day or instant)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+244 923 456 789", "+244923456789"),
        ("923 456 789", "+244923456789"),
        ("923456789", "+244923456789"),
        ("244923456789", "+244923456789"),
        ("00244923456789", "+244923456789"),
        ("(+244) 923-456-789", "+244923456789"),
        ("+351 912 345 678", "+351912345678"),
        ("(415) 444-6538", None),
        ("s/n", None),
        ("-", None),
        ("12", None),
        ("+244 000", None),
        ("+244 (0) 923 456 789", "+244923456789"),
        ("00244 (0)923456789", "+244923456789"),
        ("923456789.0", "+244923456789"),
        ("923 456 789 / 924 000 111", "+244923456789"),
        ("sem número / 924 000 111", "+244924000111"),
        ("912 / 34", None),
    ],
)
def test_phones(written: str, number: str | None) -> None:
    assert dialled(written, "AO") == number
    assert e164(pl.Series([written, None], dtype=pl.String), "AO").to_list() == [number, None]


def test_a_list_of_integers_of_any_size_is_no_text() -> None:
    assert texts([[-(2**127) - 1], "a"]).to_list() == [NOT_TEXT, "a"]


def test_texts_of_any_json() -> None:
    values = ["a", " b\t", "", "  ", None, 5, True, {"x": 1}, [1], "nul\x00"]
    found = trimmed(
        pl.DataFrame({"v": texts(values), "tidy": ["", *"abcdefghi"], "none": texts([None] * 10)})
    )
    assert found["v"].to_list() == [
        "a",
        "b",
        None,
        None,
        None,
        "5",
        NOT_TEXT,
        NOT_TEXT,
        NOT_TEXT,
        "nul",
    ]
    assert found["tidy"].to_list() == [None, *"abcdefghi"]
    assert found["none"].null_count() == 10


def test_examples_are_masked() -> None:
    assert masked("Secret value") == "Se…"
    assert masked("923456789", personal=True) == "••…"
    assert masked("+244 923", personal=True) == "+•…"
    assert [masked(None), masked("ab"), masked(NOT_TEXT)] == [None, "ab", "{…}"]


def test_currencies() -> None:
    assert (EXPONENTS["AOA"], EXPONENTS["JPY"], EXPONENTS["KWD"], EXPONENTS["CLF"]) == (2, 0, 3, 4)
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)
    assert 150 < len(EXPONENTS) < 190


@given(
    st.decimals(min_value=-(10**13) + 1, max_value=10**13 - 1, places=6, allow_nan=False),
    st.integers(0, 6),
    st.integers(0, 4),
    st.booleans(),
)
def test_simple_numbers_are_read_as_all_others(
    value: Decimal, places: int, exponent: int, exact: bool
) -> None:
    """The quick way and the general one agree, whatever is written."""
    written = f"{value:.{places}f}"
    frame = pl.DataFrame({"v": [written], "e": [exponent]}, schema={"v": pl.String, "e": pl.Int8})
    assert simple_numbers(frame, ["v"]) == {"v"}
    quick = in_micros(frame, ["v"], "e").select(simple_minor_units("v", exact=exact)).item()
    assert quick == frame.select(minor_units("v", "e", exact=exact)).item()
    assert (
        frame.select(exact_decimals("v", simple=True)).item()
        == frame.select(exact_decimals("v")).item()
    )


@given(
    st.lists(
        st.from_regex(r"(\+244|\+2|00244|244|\+351)?[ -]?[0-9]{6,10}", fullmatch=True),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=200, deadline=None)
def test_phones_by_the_plan_are_those_of_the_library(written: list[str]) -> None:
    """Whole columns by the numbering plan, or number by number through phonenumbers: the same."""
    assert e164(pl.Series(written), "AO").to_list() == [dialled(number, "AO") for number in written]
