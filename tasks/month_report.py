"""The month-end report: what is owed in points and why, tied out to the ledger to the point.

A report that does not tie out is not made: `collect` says what does not fit.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.calendar import months_later
from sql import audit, month_report
from sql.db import DbConnection

#: The lines between opening and closing, in the order of the report.
LINES: Final = ("earned", "spent", "expired", "corrected")


class NotTiedOutError(RuntimeError):
    """The figures do not fit the ledger, or each other; the message names each difference."""


@dataclass(frozen=True)
class MonthReport:
    """A report that ties out."""

    #: First day of the month.
    month: date
    #: First instant of the month, and the first one after it, UTC.
    since: datetime
    until: datetime
    #: When it was made, UTC.
    made_at: datetime
    #: line, points, entries: opening, LINES, closing.
    roll_forward: pl.DataFrame
    #: line, kind, points, entries.
    kinds: pl.DataFrame
    #: measure, value, unit.
    breakage: pl.DataFrame
    #: system, currency, sales, credits, net_amount, added_points, taken_points, points.
    systems: pl.DataFrame
    #: The audit log of the month.
    audit: pl.DataFrame
    #: What was checked, one sentence each.
    checks: tuple[str, ...]

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """The tables by the names of their files."""
        return {
            "roll-forward": self.roll_forward,
            "roll-forward-kinds": self.kinds,
            "breakage": self.breakage,
            "sales-and-points": self.systems,
            "audit-log": self.audit,
        }

    def points(self, line: str) -> int:
        """The points of a line of the roll-forward."""
        return int(self.roll_forward.filter(pl.col("line") == line)["points"].item())


def last_month(zone: str, now: datetime) -> date:
    """The first day of the last month that has ended."""
    return months_later(now.astimezone(ZoneInfo(zone)).date().replace(day=1), -1)


def collect(connection: DbConnection, month: date | None, now: datetime) -> MonthReport:
    """The report of a month, by default the last one that has ended.

    Leaves a read-only transaction behind, which the caller ends.

    Raises:
        NotTiedOutError: the figures do not fit.
        ValueError: the month has not ended.

    """
    connection.rollback()
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    zone = month_report.timezone(connection)
    first = (month or last_month(zone, now)).replace(day=1)
    since, until = _start(first, zone), _start(months_later(first, 1), zone)
    if until > now:
        raise ValueError(f"{first:%Y-%m} has not ended yet")
    data = month_report.read(connection, first, since, until)
    log = audit.verify(connection)
    opening = _sum(data.movements, "before")
    closing = opening + _sum(data.movements, "month")
    problems = _problems(data, opening, closing)
    if not log.ok:
        problems.append(log.to_text())
    if problems:
        raise NotTiedOutError("; ".join(problems))
    return MonthReport(
        first, since, until, now.astimezone(UTC), _roll_forward(data, opening, closing),
        _kinds(data), _breakage(data), _systems(data), data.audit,
        _checks(data, closing, log.to_text()),
    )  # fmt: skip


def _start(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _sum(movements: pl.DataFrame, period: str, column: str = "points") -> int:
    return int(movements.filter(pl.col("period") == period)[column].sum())


def _problems(data: month_report.MonthData, opening: int, closing: int) -> list[str]:
    """Each difference in words; none: the report ties out."""
    unknown = data.movements.filter(pl.col("line") == "unknown")["kind"].unique().sort().to_list()
    moved = int(data.movements["points"].sum())
    systems = int((data.systems["added_points"] - data.systems["taken_points"]).sum())
    found = {
        f"movements of unknown kinds: {', '.join(unknown)}; loyalty.movement_kind lacks them": (
            bool(unknown)
        ),
        f"the movements sum to {moved} points, the ledger owes {data.balance}": (
            moved != data.balance
        ),
        f"the report before ended with {data.earlier_closing} points, this one begins with "
        f"{opening}": data.earlier_closing not in {None, opening},
        f"the systems' points are {systems}, those of sales {data.sale_points}": (
            systems != data.sale_points
        ),
        f"the members' balances are {data.balances.owed + data.balances.overdrawn}, the closing "
        f"balance {closing}": data.balances.owed + data.balances.overdrawn != closing,
    }
    return [text for text, is_wrong in found.items() if is_wrong]


def _roll_forward(data: month_report.MonthData, opening: int, closing: int) -> pl.DataFrame:
    month = data.movements.filter(pl.col("period") == "month")
    lines = [
        (line, int(part["points"].sum()), int(part["entries"].sum()))
        for line in LINES
        for part in [month.filter(pl.col("line") == line)]
    ]
    before = _sum(data.movements, "before", "entries")
    rows = [
        ("opening", opening, before),
        *lines,
        ("closing", closing, before + int(month["entries"].sum())),
    ]
    schema = {"line": pl.String(), "points": pl.Int64(), "entries": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _kinds(data: month_report.MonthData) -> pl.DataFrame:
    month = data.movements.filter(pl.col("period") == "month")
    return month.select("line", "kind", "points", "entries").sort("line", "kind")


def _breakage(data: month_report.MonthData) -> pl.DataFrame:
    """Points that were never used: expired, and owed to members who buy no more."""
    so_far = data.movements.filter(pl.col("period") != "after")
    expired = -int(so_far.filter(pl.col("line") == "expired")["points"].sum())
    earned = int(so_far.filter(pl.col("line") == "earned")["points"].sum())
    month = data.movements.filter((pl.col("period") == "month") & (pl.col("line") == "expired"))
    rate_bps = expired * 10_000 // earned if earned else 0
    rows = [
        ("expired in the month", -int(month["points"].sum()), "points"),
        ("expired so far", expired, "points"),
        ("earned so far", earned, "points"),
        ("breakage so far: expired of earned", rate_bps, "basis points"),
        ("owed at the end of the month", data.balances.owed, "points"),
        ("overdrawn at the end of the month", data.balances.overdrawn, "points"),
        ("owed to members without a sale for a year", data.balances.dormant, "points"),
    ]
    schema = {"measure": pl.String(), "value": pl.Int64(), "unit": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _systems(data: month_report.MonthData) -> pl.DataFrame:
    return data.systems.with_columns(
        pl.col("net_amount").cast(pl.Decimal(38, 4)),
        (pl.col("added_points") - pl.col("taken_points")).alias("points"),
    )


def _checks(data: month_report.MonthData, closing: int, log: str) -> tuple[str, ...]:
    earlier = "there is no report of the month before"
    if data.earlier_closing is not None:
        earlier = "the opening balance is the closing balance of the report before"
    return (
        f"All movements until now sum to {data.balance} points, which is what the ledger owes.",
        f"The members' balances at the end of the month sum to {closing} points.",
        f"The points per system sum to {data.sale_points}, that of sales in the roll-forward.",
        f"Every movement has a line; {earlier}.",
        f"Audit log: {log}.",
    )
