"""What to choose in a block where an amount or a date is written otherwise than it says."""

import re
from functools import lru_cache
from typing import Final

import polars as pl

from connectors.kit.mapping.notation import AMOUNTS, DATES, rewritten
from connectors.kit.mapping.parse import instants, plain_number
from connectors.kit.spec.fields import Notation

_AMOUNTS_ARE: Final = '"Amounts are written as"'
_DATES_ARE: Final = '"Dates are written with the"'
_OTHER_SIGN: Final = (
    "has the sign of another currency than the document: correct the amount, or where its currency "
    "is looked for"
)
#: A currency's sign or name; not an E, because 1e3 is a number.
_LETTER: Final = re.compile(r"(?i)[a-df-z€$]")
#: Longer texts are no amounts.
_LONGEST: Final = 64
#: The one column of a frame that an amount is rewritten in.
_AMOUNT: Final = "amount"
#: Days as spreadsheets count them, from 1982 to 2119, perhaps with a time of day.
_SHEET_DAY: Final = re.compile(r"[3-7]\d{4}(?:[.,]\d+)?")
_SHEET_ADVICE: Final = (
    "is the number of a day as spreadsheets count them (45321 is 2024-01-30): format the column as "
    "a date, and export again"
)
_NUMERIC_DAY: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?!\d)")


def amount_advice(amount: str, notation: Notation, decimals: int | None) -> str | None:
    """Why an amount in this notation could not be used, and which setting to choose.

    None where no choice would help.

    Args:
        amount: The amount as it is written.
        notation: How the block says that amounts are written.
        decimals: Those of the currency, where an amount may have no more.
    """
    if notation not in AMOUNTS.values() or notation == "minor" or len(amount) > _LONGEST:
        return None
    # With all digits alike, amounts of one form share one entry of the cache: there may be as many
    # amounts as documents.
    return _of_form(re.sub("[1-9]", "1", amount), notation, decimals)


@lru_cache(maxsize=4096)
def _of_form(amount: str, notation: Notation, decimals: int | None) -> str | None:
    number = _number(amount, notation)
    others = {
        name: _number(amount, other)
        for name, other in AMOUNTS.items()
        if other not in (notation, "minor")
    }
    readings = {name: other for name, other in others.items() if other not in (None, number)}
    names = " or ".join(f'"{name}"' for name in readings)
    choose = f"choose {names} under {_AMOUNTS_ARE} in the block"
    if number is not None and decimals is not None and _decimals(number) > decimals:
        thousands = f"; if they are thousands, {choose}" if readings else ""
        return f"has more decimals than the currency ({decimals}){thousands}"
    if number is not None:
        return _OTHER_SIGN if _LETTER.search(amount) else None
    if len(set(readings.values())) > 1:
        return (
            "has a comma that may stand for thousands or decimals: choose in the block how "
            f"{_AMOUNTS_ARE}"
        )
    return f"is written otherwise than the block says: {choose}" if readings else None


def _number(amount: str, notation: Notation) -> str | None:
    frame = pl.DataFrame({_AMOUNT: [amount]}, schema={_AMOUNT: pl.String})
    plain = rewritten(frame, {_AMOUNT: notation}, "exponent")[_AMOUNT][0]
    return plain_number(plain)


def _decimals(number: str) -> int:
    return len(number.partition(".")[2].rstrip("0"))


def date_advice(date: str, notation: Notation) -> str | None:
    """As `amount_advice`, for dates in digits."""
    if _SHEET_DAY.fullmatch(date.strip()):
        return _SHEET_ADVICE
    day = _NUMERIC_DAY.match(date)
    return _of_day(day[0], notation) if day is not None and notation in DATES.values() else None


@lru_cache(maxsize=4096)
def _of_day(day: str, notation: Notation) -> str | None:
    fitting = [
        name
        for name, other in DATES.items()
        if other not in (notation, "time") and _is_day(day, other)
    ]
    if not fitting or _is_day(day, notation):
        return None
    if len(fitting) > 1 or not re.search(r"\d{4}$", day):
        return (
            f"may have the day, the month or the year first: choose in the block what {_DATES_ARE}"
        )
    return f'is written otherwise than the block says: choose "{fitting[0]}" under {_DATES_ARE}'


def _is_day(day: str, notation: Notation) -> bool:
    frame = pl.DataFrame({"day": [day]}, schema={"day": pl.String})
    return (
        instants(rewritten(frame, {"day": notation}, "exponent")["day"], "UTC", whole_days=False)[0]
        is not None
    )
