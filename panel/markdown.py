"""Tables, times, shares and links as Markdown, for pages and reports."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.run_report import grouped, utc

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def age(moment: datetime | None, now: datetime) -> str:
    """`3 min ago`, `in 12 s`; a dash for None."""
    if moment is None:
        return "-"
    seconds = round((now - moment).total_seconds())
    words = span(timedelta(seconds=abs(seconds)))
    return f"in {words}" if seconds < 0 else f"{words} ago"


def span(time: timedelta) -> str:
    """`12 s`, `3 min`, `5 h`, `2 days`: the largest unit of which there are at least two."""
    seconds = round(time.total_seconds())
    if seconds < 2 * _MINUTE:
        return f"{seconds} s"
    if seconds < 2 * _HOUR:
        return f"{seconds // _MINUTE} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR} h"
    return f"{seconds // _DAY} days"


def clock(moment: datetime) -> str:
    """The time to the second, UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def share(part: int, whole: int) -> str:
    """`99.2 %`; a dash where there is nothing. It is 0 or 100 only where that is exact."""
    if not whole:
        return "-"
    tenths = (2_000 * part + whole) // (2 * whole)
    tenths = min(tenths, 999) if part < whole else tenths
    tenths = max(tenths, 1) if part else tenths
    return f"{tenths // 10} %" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10} %"


def shortened(text: str, longest: int) -> str:
    """The text in one line of at most `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def plain(text: str) -> str:
    """A foreign text in which Markdown finds no markup."""
    for mark in "\\`*_[]<>#|":
        text = text.replace(mark, f"\\{mark}")
    return text


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; a cell's own bars and line breaks are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def cell(value: Any) -> str:
    """A value as a cell of a table shows it; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return grouped(value)
    if isinstance(value, datetime):
        return utc(value)
    return str(value).replace("|", "\\|").replace("\n", " ")
