"""Columns of text in other notations than ours, rewritten to it: decimal commas, minor units, days first, seconds since 1970."""

from collections.abc import Mapping
from typing import Literal

import polars as pl

#: How numbers and dates are written. "comma": 1.234,56. "minor": whole minor units. Dates: ISO 8601 or seconds or
#: milliseconds since 1970 in "time"; with the day or the month first besides in "day_first" and "month_first".
Notation = Literal["plain", "comma", "minor", "time", "day_first", "month_first"]

_SPACES = r"[\s\u00a0\u202f'\u2019]"
_MONEY_SIGN = r"(?i)^(?:AOA|AKZ|KZ|EUR|USD|[€$])|(?:AOA|AKZ|KZ|EUR|USD|[€$])$"
_THOUSANDS = r"^[+-]?\d{1,3}(?:\.\d{3})+$"
_PARTS = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})"


def rewritten(raw: pl.DataFrame, notations: Mapping[str, Notation], exponent: str) -> pl.DataFrame:
    """The same columns in plain notation; what does not fit is left as it is, to be refused by name.

    Args:
        raw: Columns of text, and `exponent`.
        notations: Notation per column.
        exponent: Column with the decimals of each row's currency.
    """
    columns = [
        _plain(pl.col(name), notation, exponent).alias(name)
        for name, notation in notations.items()
        if notation != "plain" and name in raw.columns
    ]
    return raw.with_columns(columns) if columns else raw


def _plain(text: pl.Expr, notation: Notation, exponent: str) -> pl.Expr:
    match notation:
        case "comma":
            return _with_point(text)
        case "minor":
            return _major(text, pl.col(exponent).cast(pl.Int64))
        case "day_first":
            return _iso(text, day=1, month=2)
        case "month_first":
            return _iso(text, day=2, month=1)
        case _:
            return _epoch(text)


def _with_point(text: pl.Expr) -> pl.Expr:
    """`1.234,56`, `1 234,56 Kz` and `1.500` (thousands) to 1234.56 and 1500; a JSON number keeps its point."""
    bare = text.str.replace_all(_SPACES, "").str.replace_all(_MONEY_SIGN, "")
    grouped = bare.str.contains(",", literal=True) | bare.str.contains(_THOUSANDS)
    whole = pl.when(grouped).then(bare.str.replace_all(".", "", literal=True)).otherwise(bare)
    return whole.str.replace(",", ".", literal=True)


def _major(text: pl.Expr, digits: pl.Expr) -> pl.Expr:
    """Whole minor units to major ones, exactly; anything else is no amount."""
    size = pl.when(text.str.contains(r"^[+-]?\d+$")).then(text.str.strip_prefix("+").str.strip_prefix("-"))
    padded = size.str.pad_start(digits + 1, "0")
    whole = padded.str.slice(0, padded.str.len_bytes().cast(pl.Int64) - digits)
    point = pl.when(digits > 0).then(pl.lit(".")).otherwise(pl.lit(""))
    sign = pl.when(text.str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    amount = sign + whole + point + padded.str.slice(padded.str.len_bytes().cast(pl.Int64) - digits)
    return pl.when(text.is_not_null()).then(amount.fill_null("?"))


def _iso(text: pl.Expr, *, day: int, month: int) -> pl.Expr:
    """`31/01/2026 10:00` to `2026-01-31 10:00`."""
    year, rest = text.str.extract(_PARTS, 3), text.str.replace(_PARTS, "")
    parts = [text.str.extract(_PARTS, number).str.zfill(2) for number in (month, day)]
    return pl.coalesce(year + "-" + parts[0] + "-" + parts[1] + rest, _epoch(text))


def _epoch(text: pl.Expr) -> pl.Expr:
    """Seconds (9 or 10 digits, perhaps with a fraction) or milliseconds (12 or 13) since 1970 to `/Date(ms)/`."""
    seconds = text.str.extract(r"^(\d{9,10})(?:\.\d*)?$", 1)
    milliseconds = text.str.extract(r"^(\d{12,13})$", 1)
    stamp = pl.coalesce(milliseconds, seconds + "000")
    return pl.coalesce("/Date(" + stamp + ")/", text)
