"""Columns of text, as vendors write them, to typed columns.

Whole columns are read at a time, exactly; an unusable value becomes null.
"""

import re
from collections.abc import Sequence
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import phonenumbers
import polars as pl

from connectors.kit.mapping.ids import SPACES, UNSEEN
from loyalty.currency import EXPONENTS
from loyalty.schema import EXACT, UTC_US

#: Amounts of this many whole digits or more are refused: sums of them could leave Int64.
WHOLE_DIGITS_LIMIT: Final = 13
#: Stands for a JSON object, array or boolean where a text or number was expected.
NOT_TEXT: Final = "\x01"
#: Columns that are added while others are parsed.
_READ, _UNIT = "_read", "_unit"
#: What Angola writes for its own currency besides AOA, and the euro's sign.
_OTHER_CODES: Final = {"KZ": "AOA", "AKZ": "AOA", "€": "EUR"}
_KNOWN_CODES: Final = {code: code for code in EXPONENTS} | _OTHER_CODES
#: Kinds of numbers that `phonenumbers.is_valid_number` accepts, as its metadata calls them.
_KINDS = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip",
    "pager", "uan", "voicemail",
)  # fmt: skip
#: Texts that `trimmed` must clean. The search costs a third of cleaning a column that is clean.
_UNTIDY = r"\x00|^\s|\s$"
_PLAIN = rf"^-?\d{{1,{WHOLE_DIGITS_LIMIT}}}(?:\.\d*)?$"
_SIMPLE = rf"^-?\d{{1,{WHOLE_DIGITS_LIMIT}}}(?:\.\d{{0,6}})?$"
#: Perhaps a binary fraction written out: 0.30000000000000004 for 0.3.
_LONG_FRACTION = r"\.\d{9,}$"
#: The digits that a double keeps exactly; the digits behind them are noise.
_DOUBLE = Context(prec=15)
_DATE_MS = r"^/Date\((-?\d{1,15})(?:[+-]\d{4})?\)/$"


def texts(values: Sequence[Any]) -> pl.Series:
    """JSON values as one text column; objects and booleans become `NOT_TEXT`."""
    try:
        return pl.Series(values, dtype=pl.String, strict=True)
    except (TypeError, OverflowError):  # the latter: integers of more than 128 bits in a list
        return pl.Series(
            [v if v is None or v.__class__ is str else _text(v) for v in values], dtype=pl.String
        )


def trimmed(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts without surrounding blanks; blank ones become null.

    NUL is left out, because PostgreSQL cannot hold it.
    """
    untidy = frame.select(pl.all().str.contains(_UNTIDY).any()).row(0, named=True)
    clean = (
        pl.col(name).str.replace_all("\x00", "", literal=True).str.strip_chars()
        for name in untidy
        if untidy[name]
    )
    return frame.with_columns(clean).with_columns(pl.when(pl.all() != "").then(pl.all()))


def _text(value: Any) -> str:
    return str(value) if value.__class__ is int else NOT_TEXT


def is_text(column: str) -> pl.Expr:
    """Where a column holds a text and not something else."""
    return pl.col(column).is_not_null() & (pl.col(column) != NOT_TEXT)


def currency_code(text: pl.Expr) -> pl.Expr:
    """ISO 4217 codes in capitals, also for what Angola writes besides for its own currency."""
    code = text.str.to_uppercase()
    return code.replace(_OTHER_CODES)


def known_currency(text: pl.Expr) -> pl.Expr:
    """ISO 4217 codes of the currencies in `loyalty.currency`; null for all others."""
    return text.str.to_uppercase().replace_strict(
        _KNOWN_CODES, default=None, return_dtype=pl.String
    )


def currency_text(text: str) -> str:
    """As `currency_code`, for one text."""
    code = text.strip().upper()
    return _OTHER_CODES.get(code, code)


def exponents(code: pl.Expr) -> pl.Expr:
    """The number of decimals of currencies; null where the currency is unknown."""
    return code.replace_strict(EXPONENTS, default=None, return_dtype=pl.Int8)


def simple_numbers(frame: pl.DataFrame, columns: Sequence[str]) -> frozenset[str]:
    """The columns that hold nothing but plain digits with six decimals at most.

    They are read in a tenth of the time.
    """
    if not columns:
        return frozenset()
    all_simple = frame.select(pl.col(name).str.contains(_SIMPLE).all() for name in columns).row(
        0, named=True
    )
    return frozenset(name for name, simple in all_simple.items() if simple)


def plain_numbers(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Rewrites unusual numbers to plain digits.

    These have an exponent, a plus sign, no leading zero, or the noise of a double.
    """
    if not columns:
        return frame
    strange = {
        name: ~pl.col(name).str.contains(_PLAIN) | pl.col(name).str.contains(_LONG_FRACTION)
        for name in columns
    }
    odd = frame.select(is_strange.any().alias(name) for name, is_strange in strange.items()).row(
        0, named=True
    )
    for name in columns:
        if odd[name]:
            values = frame.filter(strange[name])[name].unique()
            plain = {
                value: plain
                for value in values.drop_nulls()
                if (plain := plain_number(value)) is not None
            }
            frame = frame.with_columns(pl.col(name).replace(list(plain), list(plain.values())))
    return frame


def plain_number(value: str) -> str | None:
    """A number in plain digits, None if it is no number of a sane size."""
    if len(value) > 64 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", value):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if re.search(_LONG_FRACTION, value) and len(number.as_tuple().digits) > _DOUBLE.prec:
        number = _DOUBLE.plus(number)
    return format(number, "f") if -40 < number.adjusted() < WHOLE_DIGITS_LIMIT else None


def minor_units(value: str, exponent: str, *, exact: bool) -> pl.Expr:
    """Plain number text to Int64 minor units.

    Args:
        value: Column of plain numbers.
        exponent: Column with the decimals of each row's currency.
        exact: Refuse more decimals than the currency has; otherwise round half away from zero.
    """
    number = pl.when(pl.col(value).str.contains(_PLAIN)).then(pl.col(value))
    whole = number.str.extract(r"^-?(\d+)", 1)
    fraction = number.str.extract(r"\.(\d*)$", 1).fill_null("").str.strip_chars_end("0")
    digits = pl.col(exponent).cast(pl.Int64)
    kept = fraction.str.slice(0, digits).str.pad_end(digits, "0")
    size = (whole + kept).cast(pl.Int64, strict=False)
    if exact:
        size = pl.when(fraction.str.len_bytes() <= digits).then(size)
    else:
        size = size + (
            fraction.str.slice(digits, 1).cast(pl.Int64, strict=False).fill_null(0) >= 5
        ).cast(pl.Int64)
    return pl.when(number.str.starts_with("-")).then(-size).otherwise(size)


def in_micros(frame: pl.DataFrame, columns: Sequence[str], exponent: str) -> pl.DataFrame:
    """Replaces the text of simple numbers by their value in millionths (Int128).

    A further column says how many millionths make a minor unit; `simple_minor_units` uses both.

    So each text is parsed once: parsing is nearly all that such a column costs, and an expression
    that names a value twice computes it twice.
    """
    if not columns:
        return frame
    per_unit = {digits: 10 ** (6 - digits) for digits in range(7)}
    unit = (
        pl.col(exponent)
        .replace_strict(per_unit, default=None, return_dtype=pl.Int64)
        .cast(pl.Int128)
    )
    read = (pl.col(name).cast(pl.Decimal(38, 6), strict=False).to_physical() for name in columns)
    return frame.with_columns(*read, unit.alias(_UNIT))


def simple_minor_units(column: str, *, exact: bool) -> pl.Expr:
    """As `minor_units`, for a column that went through `in_micros`."""
    size, unit = pl.col(column).abs(), pl.col(_UNIT)
    units = pl.when(size % unit == 0).then(size // unit) if exact else (size + unit // 2) // unit
    units = units.cast(pl.Int64)
    return pl.when(pl.col(column) < 0).then(-units).otherwise(units)


def exact_decimals(column: str, *, simple: bool = False) -> pl.Expr:
    """Plain number text to exact decimals of six places.

    `simple`: the column was found to hold nothing else.
    """
    number = pl.col(column).cast(EXACT, strict=False)
    return number if simple else pl.when(pl.col(column).str.contains(_PLAIN)).then(number)


def instants(column: pl.Series, zone: str, *, whole_days: bool) -> pl.Series:
    """Times to UTC.

    Args:
        column: `/Date(ms+0000)/` (the milliseconds are UTC whatever offset is written), ISO 8601
            with offset, without offset (in `zone`), or a date alone (midnight in `zone`).
        zone: Name of the time zone.
        whole_days: A `/Date(ms)/` at midnight UTC is a calendar day.
    """
    distinct = column.drop_nulls().unique()
    if distinct.is_empty() or distinct.len() * 4 > column.len():
        return _instants(column, zone, whole_days=whole_days)
    parsed = _instants(distinct, zone, whole_days=whole_days)
    return column.replace_strict(distinct, parsed, default=None, return_dtype=UTC_US)


def _instants(column: pl.Series, zone: str, *, whole_days: bool) -> pl.Series:
    """Tries one form after the other, as long as unread values are left.

    A vendor writes all its times alike, so mostly one form is enough.
    """
    name = column.name
    text = pl.col(name).str.replace(" ", "T", literal=True)
    millis = pl.col(name).str.extract(_DATE_MS, 1).cast(pl.Int64, strict=False)
    stamp = pl.from_epoch(millis, "ms").cast(pl.Datetime("us"))
    midnight = (millis.mod(86_400_000) == 0) if whole_days else pl.lit(value=False)
    forms = [
        pl.when(~midnight).then(stamp.dt.replace_time_zone("UTC")),
        _in_utc(pl.when(midnight).then(stamp), zone) if whole_days else None,
        _parsed(text, "%Y-%m-%dT%H:%M:%S%.f%#z", "UTC"),
        _in_utc(_parsed(text, "%Y-%m-%dT%H:%M:%S%.f"), zone),
        _in_utc(_parsed(text + "T00:00:00", "%Y-%m-%dT%H:%M:%S"), zone),
        _in_utc(_parsed(text + ":00", "%Y-%m-%dT%H:%M:%S"), zone),
    ]
    frame = column.to_frame().with_columns(pl.lit(None, dtype=UTC_US).alias(_READ))
    for form in forms:
        if form is not None:
            frame = frame.with_columns(pl.coalesce(_READ, form).cast(UTC_US).alias(_READ))
            if frame[_READ].null_count() == column.null_count():
                break
    return frame[_READ].rename(name)


def _parsed(text: pl.Expr, form: str, zone: str | None = None) -> pl.Expr:
    return text.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)


def _in_utc(naive: pl.Expr, zone: str) -> pl.Expr:
    """Wall-clock times to UTC.

    A time in an hour that does not exist (clocks put forward) is taken as the hour after it.
    """
    times = (naive, naive + pl.duration(hours=1))
    local = [
        time.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null") for time in times
    ]
    return pl.coalesce(*(time.dt.convert_time_zone("UTC") for time in local))


def e164(column: pl.Series, region: str) -> pl.Series:
    """Phone numbers to E.164; null where the number cannot exist.

    Numbers without country are of `region`.
    """
    numbers = column.drop_nulls().unique()
    if numbers.is_empty():
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    return column.replace_strict(
        numbers, _distinct_e164(numbers, region), default=None, return_dtype=pl.String
    )


def _distinct_e164(numbers: pl.Series, region: str) -> pl.Series:
    """Phone numbers, none twice, to E.164.

    The region's own numbers in plain digits are judged by its numbering plan, all at once; the
    others are parsed one by one.
    """
    plan = _numbering_plan(region)
    if plan is None:
        return pl.Series([dialled(number, region) for number in numbers], dtype=pl.String)
    country, pattern = plan
    digits = numbers.str.replace_all(r"[ -]", "")
    national = digits.str.strip_prefix(f"+{country}")
    frame = pl.DataFrame({"number": numbers, "national": national})
    valid = pl.col("national").str.contains(pattern)
    national_numbers = frame.select(
        pl.when(valid).then(pl.lit(f"+{country}") + pl.col("national"))
    ).to_series()
    odd = numbers.filter(national_numbers.is_null())
    return (
        national_numbers.zip_with(
            national_numbers.is_not_null(),
            numbers.replace_strict(
                odd,
                [dialled(number, region) for number in odd],
                default=None,
                return_dtype=pl.String,
            ),
        )
        if odd.len()
        else national_numbers
    )


@lru_cache(maxsize=16)
def _numbering_plan(region: str) -> tuple[int, str] | None:
    """Country code and pattern of all valid national numbers, from the library's own metadata.

    None where a number cannot be judged by its digits alone: several regions share the code, or
    there are trunk prefixes.
    """
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.national_prefix or metadata.national_prefix_for_parsing:
        return None
    if phonenumbers.COUNTRY_CODE_TO_REGION_CODE[metadata.country_code] != (region,):
        return None
    kinds = [getattr(metadata, kind) for kind in _KINDS]
    patterns = [
        kind.national_number_pattern
        for kind in kinds
        if kind is not None and kind.national_number_pattern
    ]
    return metadata.country_code, f"^(?:{'|'.join(patterns)})$"


#: What stands between several numbers of one customer. The second list is tried only after the
#: first: it has what may stand inside a number as well.
_BETWEEN: Final = re.compile(r"[/;|]| or | ou ")
_BETWEEN_ALL: Final = re.compile(r"[/;|,&]| or | ou | e | y | and |\s-\s")
#: One number, in groups of three digits with commas between them.
_GROUPED: Final = re.compile(r"\d{3},\d{3},\d{3}")
#: A person's name or a remark beside the number: in brackets, or as words of their own.
_REMARK: Final = re.compile(r"[(\[][^)\]]*[^\W\d_][^)\]]*[)\]]")
_WORD: Final = re.compile(r"(?<!\w)[^\W\d_]+\.?:?(?!\w)")


@lru_cache(maxsize=200_000)
def dialled(number: str, region: str) -> str | None:
    """One phone number in E.164, None where it cannot exist; of several the first that can.

    `+244 (0) 923 456 789`: the zero is not dialled with the country code. `923456789.0`: a table's
    program took it for a number. `923 456 789 (Maria)`, `923 456 789, 912 345 678`: what stands
    beside a number is passed over.
    """
    text = "|".join(SPACES.sub(" ", line) for line in UNSEEN.sub("", number).splitlines())
    if (e164_number := _first_dialled(_BETWEEN.split(text), region)) is not None:
        return e164_number
    parts = _BETWEEN_ALL.split(_REMARK.sub(" ", text))
    bare = [_WORD.sub(" ", part) for part in parts]
    grouped = [text.replace(",", "")] if _GROUPED.fullmatch(text) else []
    wrapped = [text.replace("|", " ")] if "\n" in number else []
    return _first_dialled([*parts, *bare, *grouped, *wrapped], region)


def _first_dialled(parts: Sequence[str], region: str) -> str | None:
    for part in parts:
        bare = re.sub(r"^(\s*(?:\+|00)[^(]*)\(0\)", r"\1", part)
        if (
            e164_number := _dialled(re.sub(r"^(\s*\d{7,15})\.0$", r"\1", bare), region)
        ) is not None:
            return e164_number
    return None


def _dialled(number: str, region: str) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def masked(value: str | None, *, personal: bool = False) -> str | None:
    """An example that shows the form of a value but not the value.

    It has two characters; of a phone number it has no digit.
    """
    if value is None:
        return None
    if value == NOT_TEXT:
        return "{…}"
    start = re.sub(r"\d", "•", value[:2]) if personal else value[:2]
    return start + ("…" if len(value) > 2 else "")
