"""Numbers and dates in other notations become ours exactly, or stay as they are to be refused."""

import polars as pl
import pytest

from connectors.kit.mapping.notation import Notation, rewritten


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
        ("minor", "15000", "150.00"),
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
        ("time", "20260501", "20260501"),
        ("day_first", "1/2/2026", "2026-02-01"),
        ("day_first", "31.01.2026 10:30", "2026-01-31 10:30"),
        ("day_first", "2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("day_first", "31/01/26", "31/01/26"),
        ("month_first", "1/2/2026", "2026-01-02"),
    ],
)
def test_notations(notation: Notation, written: str | None, plain: str | None) -> None:
    frame = pl.DataFrame({"value": [written], "_e": [2]}, schema={"value": pl.String, "_e": pl.Int8})
    assert rewritten(frame, {"value": notation}, "_e")["value"].to_list() == [plain]


@pytest.mark.parametrize(("exponent", "plain"), [(0, "15000"), (3, "15.000"), (None, "?")])
def test_minor_units_are_those_of_the_currency(exponent: int | None, plain: str) -> None:
    frame = pl.DataFrame({"value": ["15000"], "_e": [exponent]}, schema={"value": pl.String, "_e": pl.Int8})
    assert rewritten(frame, {"value": "minor"}, "_e")["value"].to_list() == [plain]
