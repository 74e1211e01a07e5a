"""Exchange rates: what a file of them says, and which one is in force when.

Exact decimals; a day without a rate has none.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Self

import polars as pl
from pydantic import AfterValidator, Field, ValidationError, model_validator

from loyalty.currency import EXPONENTS
from loyalty.program import Program
from loyalty.schema import UTC_US
from loyalty.types import Currency, Frozen, spans

#: Exchange rates as stored.
RATES: Final = pl.Schema(
    {
        #: Counts up: of two rates for one day the one entered last counts.
        "rate_id": pl.Int64(),
        #: What is converted.
        "currency": pl.String(),
        #: What it is converted to.
        "base_currency": pl.String(),
        #: The first day...
        "valid_on": pl.Date(),
        #: ...and the last day on which it is in force.
        "valid_until": pl.Date(),
        #: Units of `base_currency` for one unit of `currency`, in billionths.
        "rate_e9": pl.Int64(),
    }
)
#: Lines that a file may have.
ROWS_MAX: Final = 100_000
#: Days that one line may be in force.
DAYS_MAX: Final = 366
#: Problems of a file that are listed at once.
PROBLEMS_SHOWN: Final = 20
_REQUIRED: Final = ("date", "currency", "base_currency", "rate")


def _known(code: str) -> str:
    if code not in EXPONENTS:
        message = f"{code!r} is no currency of ISO 4217"
        raise ValueError(message)
    return code


Code = Annotated[Currency, AfterValidator(_known)]


class FxRate(Frozen):
    """Units of `base_currency` for one unit of `currency`.

    In force from `valid_on` to `valid_until`, both included.
    """

    currency: Code
    base_currency: Code
    valid_on: Annotated[date, Field(ge=date(1990, 1, 1), lt=date(2200, 1, 1))]
    valid_until: date
    #: At most nine decimals.
    rate: Annotated[Decimal, Field(gt=0, lt=1_000_000_000, decimal_places=9, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.currency == self.base_currency:
            message = "currency and base_currency are the same"
            raise ValueError(message)
        if not self.valid_on <= self.valid_until <= self.valid_on + timedelta(days=DAYS_MAX):
            message = f"valid_until must be from date to {DAYS_MAX} days later"
            raise ValueError(message)
        return self

    @property
    def key(self) -> tuple[str, str, date]:
        """What it is the rate of."""
        return self.currency, self.base_currency, self.valid_on


class BadRatesError(ValueError):
    """A file of rates that cannot be used.

    The message names every line at fault (the first twenty).
    """

    def __init__(self, problems: Sequence[str]) -> None:
        more = (
            f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        )
        super().__init__("; ".join(problems[:PROBLEMS_SHOWN]) + more)


def read_csv(text: str, *, carry_days: int = 0) -> list[FxRate]:
    """The rates of a CSV file: date, currency, base_currency, rate, and, if it likes, valid_until.

    Args:
        text: The file. The decimal mark is a point; dates are 2026-01-31.
        carry_days: A line without `valid_until` is in force for so many days after its date as well
            (the next rate of the pair ends it in any case).

    Raises:
        BadRatesError: Nothing of a file with any problem is used.
    """
    lines = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), strict=True)
    missing = [name for name in _REQUIRED if name not in (lines.fieldnames or [])]
    if missing:
        raise BadRatesError(
            [
                (
                    f"the first line must name the columns {', '.join(_REQUIRED)}; "
                    f"not found: {', '.join(missing)}"
                )
            ]
        )
    rates: dict[tuple[str, str, date], FxRate] = {}
    problems: list[str] = []
    try:
        for row in lines:
            if lines.line_num > ROWS_MAX:
                raise BadRatesError([f"more than {ROWS_MAX} lines: load it in parts"])
            _read(row, lines.line_num, carry_days, rates, problems)
    except csv.Error as error:
        problems.append(f"line {lines.line_num}: {error}")
    if problems:
        raise BadRatesError(problems)
    return list(rates.values())


def _read(
    row: Mapping[str, Any],
    number: int,
    carry_days: int,
    rates: dict[tuple[str, str, date], FxRate],
    problems: list[str],
) -> None:
    texts = {name: (row.get(name) or "").strip() for name in (*_REQUIRED, "valid_until")}
    try:
        first = date.fromisoformat(texts["date"])
        last = (
            date.fromisoformat(texts["valid_until"])
            if texts["valid_until"]
            else first + timedelta(days=carry_days)
        )
    except (ValueError, OverflowError):
        problems.append(f"line {number}: dates are written like 2026-01-31")
        return
    try:
        rate = FxRate(
            currency=texts["currency"], base_currency=texts["base_currency"],
            valid_on=first, valid_until=last,
            rate=texts["rate"],
        )  # fmt: skip
    except ValidationError as error:
        problem = ", ".join(
            f"{'.'.join(map(str, e['loc'])) or 'line'}: {e['msg']}" for e in error.errors()
        )
        problems.append(f"line {number}: {problem}")
        return
    if rates.setdefault(rate.key, rate) != rate:
        problems.append(
            f"line {number}: another rate of {rate.currency} in {rate.base_currency} "
            f"for {rate.valid_on}"
        )


def by_version(rates: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """FX from RATES, in the days of the time zone of the version in force.

    A later version does not move the days of the past.
    """
    if len({program.timezone for program in programs}) == 1:
        return in_force(rates, programs[0].timezone)
    parts = []
    for program, start, end in spans(programs):
        until = (
            pl.col("valid_to")
            if end is None
            else pl.min_horizontal("valid_to", pl.lit(end, UTC_US))
        )
        clipped = [
            pl.max_horizontal("valid_from", pl.lit(start, UTC_US)).alias("valid_from"),
            until.alias("valid_to"),
        ]
        parts.append(
            in_force(rates, program.timezone)
            .with_columns(clipped)
            .filter(pl.col("valid_from") < pl.col("valid_to"))
        )
    return pl.concat(parts).sort("valid_from", "currency", "base_currency")


def in_force(rates: pl.DataFrame, zone: str) -> pl.DataFrame:
    """FX from RATES: one row per pair and day of `zone`, never overlapping.

    For a day the rate with the latest `valid_on` counts, and of those the last entered.
    """
    days = (
        rates.with_columns(pl.date_ranges("valid_on", "valid_until").alias("day"))
        .explode("day")
        .sort("valid_on", "rate_id")
        .unique(["currency", "base_currency", "day"], keep="last", maintain_order=True)
    )
    return days.select(
        "currency",
        "base_currency",
        _midnight(pl.col("day"), zone).alias("valid_from"),
        _midnight(pl.col("day") + pl.duration(days=1), zone).alias("valid_to"),
        "rate_e9",
    ).sort("valid_from", "currency", "base_currency")


def _midnight(day: pl.Expr, zone: str) -> pl.Expr:
    """When the day begins, in UTC; where the clocks are put forward at midnight, an hour later."""
    start = day.cast(pl.Datetime("us"))
    times = [start, start + pl.duration(hours=1)]
    local = [
        time.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null") for time in times
    ]
    return pl.coalesce(*(time.dt.convert_time_zone("UTC") for time in local))
