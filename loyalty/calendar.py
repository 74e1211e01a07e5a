"""Local days and calendar periods of an instant, in Polars.

A local time that does not exist, because the clock skips it, is read as the hour after it.
"""

from datetime import date, timedelta
from typing import Final

import polars as pl

from loyalty.types import Period

#: Polars' names of the periods.
TRUNCATE: Final[dict[Period, str]] = {
    "day": "1d", "week": "1w", "month": "1mo", "quarter": "3mo", "half_year": "6mo", "year": "1y",
}  # fmt: skip


def local(instant: pl.Expr, zone: str) -> pl.Expr:
    """The instant as a clock in `zone` shows it, without zone."""
    return instant.dt.convert_time_zone(zone).dt.replace_time_zone(None)


def instant(clock: pl.Expr, zone: str) -> pl.Expr:
    """The first instant (UTC) at which a clock in `zone` shows that time, or the first after it."""

    def shown(at: pl.Expr) -> pl.Expr:
        return at.dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        ).dt.convert_time_zone("UTC")

    return pl.coalesce(shown(clock), shown(clock + pl.duration(hours=1)))


def first_day(at: pl.Expr, period: Period, zone: str) -> pl.Expr:
    """The first day of the calendar period that the instant is in by a clock of `zone`."""
    return local(at, zone).dt.truncate(TRUNCATE[period]).dt.date()


def period_start(at: pl.Expr, period: Period, zone: str) -> pl.Expr:
    """The beginning (UTC) of the calendar period of `zone` that the instant is in."""
    return instant(local(at, zone).dt.truncate(TRUNCATE[period]), zone)


def months_later(day: date, months: int) -> date:
    """The same day so many months later, or the last of that month."""
    total = day.year * 12 + day.month - 1 + months
    first = date(total // 12, total % 12 + 1, 1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(day.day, last.day))
