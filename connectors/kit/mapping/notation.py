"""Columns of text in other notations than ours, rewritten to ours.

Examples: decimal commas, minor units, dates with the day first, seconds since 1970.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from connectors.kit.mapping.signs import bare, signed
from connectors.kit.spec.fields import Notation

#: Stands before the text of what was a number in JSON, where texts have a notation of their own:
#: the number 1.500 is never 1500.
NUMBER: Final = "\x02"

#: Numbers with points, or commas, between thousands.
_BY_POINTS = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?$"
_BY_COMMAS = r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?$"
#: Commas that can only stand between thousands: there are several, or a point behind them.
_SURELY_BY_COMMAS = r"^[+-]?[1-9]\d{0,2}(?:(?:,\d{3}){2,}|,\d{3}\.\d*)(?:\.\d*)?$"
#: What an amount has besides digits, points, commas and a minus in front: it needs `signs`.
_MORE = r"[^\d.,+-]|\d.*[+-]"
#: Amounts that are in plain notation already.
_SIMPLE = r"^-?\d+(?:\.\d*)?$"
#: Dates in digits; the order of the first two parts is a matter of notation.
_PARTS = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d{2})(?:[T ,].*)?$"
_DAY = r"^\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}"
#: Dates with the year first: `20260131`, `2026/01/31`.
_COMPACT = r"^((?:19|20)\d{2})(\d{2})(\d{2})$"
_SLASHED = r"^((?:19|20)\d{2})[/.](\d{2})[/.](\d{2})"
#: Dates with the name of the month, the day or the month first.
_NAMED = (
    r"^(\d{1,2})(?: de|\.)?[ -]([A-Za-z]{3,9}|março)\.?(?: de)?,?[ -](\d{4})",
    r"^([A-Za-z]{3,9})\.? (\d{1,2}),? (\d{4})",
)
#: A time of day with AM or PM.
_HALF_DAY = r"(?i)[T ](\d{1,2})(?::(\d{2}))?(?::(\d{2})(?:\.\d*)?)? ?([ap])\.? ?m\.?$"
#: Months as English and Portuguese write them, whole or cut short.
_MONTHS = {
    name[:length]: f"{number:02}"
    for names in (
        "january february march april may june july august september october november december",
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    )
    for number, name in enumerate(names.split(), start=1)
    for length in range(3, len(name) + 1)
}
#: Dates that begin with at most three digits: they may be a day, a month or a year, which the
#: operator must choose.
_SHORT = r"^\d{1,3}[/.-]\d{1,2}[/.-]\d{1,2}(?:\D|$)"
#: The notations of amounts, and of dates, by the words of a block's settings.
AMOUNTS: Final[Mapping[str, Notation]] = {
    "decimal": "point",
    "decimal comma": "comma",
    "comma between thousands": "grouped",
    "minor units": "minor",
}
DATES: Final[Mapping[str, Notation]] = {
    "year first": "time",
    "day first": "day_first",
    "month first": "month_first",
}


def rewritten(
    raw: pl.DataFrame,
    notations: Mapping[str, Notation],
    exponent: str,
    minor_digits: Mapping[str, Mapping[str, int] | None] = MappingProxyType({}),
) -> pl.DataFrame:
    """The same columns in plain notation.

    What does not fit is left as it is; it is refused later, with its field's name.

    Args:
        raw: Columns of text, `exponent`, and "currency" if signs at amounts are to be those of it.
        notations: Notation per column.
        exponent: Column with the decimals of each row's currency.
        minor_digits: Per column, the decimals of currencies in which minor units differ from that.
    """
    currency = pl.col("currency") if "currency" in raw.columns else None

    def plain(name: str, notation: Notation) -> pl.Expr:
        column = raw[name]
        if notation in DATES.values() and _all_seconds(column):
            return _seconds(pl.col(name))
        digits = _digits(raw, exponent, minor_digits.get(name))
        if notation == "minor_price":
            return _major_price(pl.col(name), digits)
        return _plain(_bare(column, notation, currency), notation, digits)

    columns = [
        plain(name, notation).alias(name)
        for name, notation in notations.items()
        if notation != "plain"
        and name in raw.columns
        and not (notation == "point" and _simple(raw[name]))
    ]
    return raw.with_columns(columns) if columns else raw


def _digits(raw: pl.DataFrame, exponent: str, others: Mapping[str, int] | None) -> pl.Expr:
    """The decimals of each row's currency, as the vendor counts them."""
    digits = pl.col(exponent).cast(pl.Int64)
    if not others or "currency" not in raw.columns:
        return digits
    if not raw["currency"].str.to_uppercase().is_in(list(others)).any():
        return digits
    code = pl.col("currency").str.to_uppercase()
    return pl.coalesce(code.replace_strict(others, default=None, return_dtype=pl.Int64), digits)


def unmarked(raw: pl.DataFrame, notations: Mapping[str, Notation]) -> pl.DataFrame:
    """The columns without the marks (`NUMBER`) that numbers carry.

    In the notation "comma" a number then has a decimal comma as texts have.
    """
    return raw.with_columns(
        pl.when(pl.col(name).str.starts_with(NUMBER))
        .then(_as_written(pl.col(name).str.strip_prefix(NUMBER), notations.get(name, "plain")))
        .otherwise(pl.col(name))
        .alias(name)
        for name in raw.columns
    )


def _as_written(number: pl.Expr, notation: Notation) -> pl.Expr:
    return number.str.replace(".", ",", literal=True) if notation == "comma" else number


def _simple(column: pl.Series) -> bool:
    return bool(column.str.contains(_SIMPLE).all())


def _all_seconds(column: pl.Series) -> bool:
    """Whether a column holds seconds since 1970 alone: they are read in a tenth of the time."""
    return bool(column.str.contains(r"^\d{9,10}$").all())


def _seconds(text: pl.Expr) -> pl.Expr:
    return "/Date(" + text + "000)/"


def _bare(column: pl.Series, notation: Notation, currency: pl.Expr | None) -> pl.Expr:
    """Amounts without gaps and currency signs.

    They are looked for only where there are any: that takes longer than all the rest.
    """
    text = pl.col(column.name)
    odd = notation in AMOUNTS.values() and column.str.contains(_MORE).any()
    return bare(signed(text), currency) if odd else text


def _plain(text: pl.Expr, notation: Notation, digits: pl.Expr) -> pl.Expr:
    match notation:
        case "point" | "grouped":
            return _without_commas(text, _BY_COMMAS if notation == "grouped" else _SURELY_BY_COMMAS)
        case "comma":
            return _with_point(text)
        case "minor":
            return _major(text, digits)
        case "day_first":
            return _iso(text, day=1, month=2)
        case "month_first":
            return _iso(text, day=2, month=1)
        case _:
            return pl.when(text.str.contains(_SHORT)).then(pl.lit("?")).otherwise(_time(text))


def _without_commas(text: pl.Expr, groups: str) -> pl.Expr:
    return (
        pl.when(text.str.contains(groups))
        .then(text.str.replace_all(",", "", literal=True))
        .otherwise(text)
    )


def _with_point(text: pl.Expr) -> pl.Expr:
    """`1.234,56` and `1.500` (thousands) to 1234.56 and 1500.

    150.5 can be nothing else, so it keeps its point.
    """
    whole = (
        pl.when(text.str.contains(_BY_POINTS))
        .then(text.str.replace_all(".", "", literal=True))
        .otherwise(text)
    )
    both = whole.str.contains(",", literal=True) & whole.str.contains(".", literal=True)
    return pl.when(both).then(whole).otherwise(whole.str.replace(",", ".", literal=True))


def _major(text: pl.Expr, digits: pl.Expr) -> pl.Expr:
    """Whole minor units to major ones, exactly; anything else is no amount."""
    # A table's program may write 1500.0; 1500.00 looks like major units.
    whole_number = text.str.contains(r"^[+-]?\d+(?:\.0?)?$")
    size = pl.when(whole_number).then(text.str.extract(r"^[+-]?(\d+)", 1))
    padded = size.str.pad_start(digits + 1, "0")
    whole = padded.str.slice(0, padded.str.len_bytes().cast(pl.Int64) - digits)
    point = pl.when(digits > 0).then(pl.lit(".")).otherwise(pl.lit(""))
    sign = pl.when(text.str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    amount = sign + whole + point + padded.str.slice(padded.str.len_bytes().cast(pl.Int64) - digits)
    return pl.when(text.is_not_null()).then(amount.fill_null("?"))


def _major_price(text: pl.Expr, digits: pl.Expr) -> pl.Expr:
    """Minor units with decimals to major ones with six decimals at most: 12.5 cents are 0.125."""
    number = pl.when(text.str.contains(r"^[+-]?\d+(?:\.\d*)?$")).then(text)
    whole = number.str.extract(r"^[+-]?(\d+)", 1).str.pad_start(digits + 1, "0")
    point = whole.str.len_bytes().cast(pl.Int64) - digits
    fraction = number.str.extract(r"\.(\d*)$", 1).fill_null("")
    fraction = (whole.str.slice(point) + fraction).str.slice(0, 6).str.strip_chars_end("0")
    sign = pl.when(text.str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    price = sign + whole.str.slice(0, point) + pl.lit(".") + fraction
    return pl.when(text.is_not_null()).then(price.fill_null("?"))


def _iso(text: pl.Expr, *, day: int, month: int) -> pl.Expr:
    """`31/01/2026 10:00` and `31/01/26` to `2026-01-31 10:00` and `2026-01-31`."""
    year = text.str.extract(_PARTS, 3)
    parts = [text.str.extract(_PARTS, number).str.zfill(2) for number in (month, day)]
    whole = pl.when(year.str.len_bytes() == 2).then("20" + year).otherwise(year)
    return _of_24_hours(
        pl.coalesce(
            whole + "-" + parts[0] + "-" + parts[1] + text.str.replace(_DAY, ""), _time(text)
        )
    )


def _time(text: pl.Expr) -> pl.Expr:
    """Dates that can be read only one way.

    These are `20260131`, `31 Jan 2026`, `Jan 31, 2026`, and what is counted since 1970.
    """
    compact = text.str.replace(_COMPACT, "${1}-${2}-${3}")
    day_first, month_first = _NAMED
    return _of_24_hours(
        pl.coalesce(
            _by_name(text, day_first, day=1, month=2),
            _by_name(text, month_first, day=2, month=1),
            pl.when(text.str.contains(_COMPACT)).then(compact),
            pl.when(text.str.contains(_SLASHED)).then(text.str.replace(_SLASHED, "${1}-${2}-${3}")),
            _epoch(text),
        )
    )


def _by_name(text: pl.Expr, form: str, *, day: int, month: int) -> pl.Expr:
    name = text.str.extract(form, month).str.to_lowercase()
    number = name.replace_strict(_MONTHS, default=None, return_dtype=pl.String)
    return (
        text.str.extract(form, 3)
        + "-"
        + number
        + "-"
        + text.str.extract(form, day).str.zfill(2)
        + text.str.replace(form, "")
    )


def _of_24_hours(text: pl.Expr) -> pl.Expr:
    """`... 2:30 PM` to `... 14:30:00`."""
    hour, minute, second, half = (text.str.extract(_HALF_DAY, number) for number in (1, 2, 3, 4))
    clock = hour.cast(pl.Int64, strict=False)
    hours = clock % 12 + pl.when(half.str.to_lowercase() == "p").then(12).otherwise(0)
    time = (
        hours.cast(pl.String).str.zfill(2)
        + ":"
        + minute.fill_null("00")
        + ":"
        + second.fill_null("00")
    )
    return pl.coalesce(
        pl.when(clock.is_between(1, 12)).then(text.str.replace(_HALF_DAY, "") + " " + time), text
    )


def _epoch(text: pl.Expr) -> pl.Expr:
    """Seconds or milliseconds since 1970 to `/Date(ms)/`.

    Seconds have 9 or 10 digits, perhaps with a fraction, milliseconds 12 or 13.
    """
    seconds = text.str.extract(r"^(\d{9,10})(?:\.\d*)?$", 1)
    milliseconds = text.str.extract(r"^(\d{12,13})$", 1)
    stamp = pl.coalesce(milliseconds, seconds + "000")
    return pl.coalesce("/Date(" + stamp + ")/", text)
