"""What a month-end report is made of. All as of one instant; the caller owns the transaction."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import polars as pl

from loyalty.schema import UTC_US
from sql.db import DbConnection, read_frame
from sql.named_queries import query

#: Sums of movements.
MOVEMENTS: Final = pl.Schema(
    {
        #: before, month or after.
        "period": pl.String(),
        #: earned, spent, expired, corrected or unknown.
        "line": pl.String(),
        #: As in analytics.points_history.
        "kind": pl.String(),
        #: Points added; negative: taken.
        "points": pl.Int64(),
        #: How many movements.
        "entries": pl.Int64(),
    }
)
#: Sales against points.
SYSTEMS: Final = pl.Schema(
    {
        #: Billing system.
        "system": pl.String(),
        #: ISO 4217 code.
        "currency": pl.String(),
        #: Invoices and sales dated in the month that count.
        "sales": pl.Int64(),
        #: Credit notes and refunds dated in the month.
        "credits": pl.Int64(),
        #: Their amount less refunds and credits, in whole currency units.
        "net_amount": pl.String(),
        #: Points posted in the month that add.
        "added_points": pl.Int64(),
        #: Points posted in the month that take, as a positive number.
        "taken_points": pl.Int64(),
    }
)
#: The audit log.
AUDIT: Final = pl.Schema(
    {
        "entry_no": pl.Int64(),
        "at": UTC_US,
        "actor": pl.String(),
        "operation": pl.String(),
        "status": pl.String(),
        "subject": pl.String(),
        "system": pl.String(),
        "account": pl.String(),
        "records": pl.Int64(),
        "points": pl.Int64(),
        "error": pl.String(),
        "run_id": pl.String(),
        "details": pl.String(),
    }
)


@dataclass(frozen=True)
class Balances:
    """Balances when the month ended, in points."""

    #: Sum of the balances above zero.
    owed: int
    #: Sum of the balances below zero; negative or 0.
    overdrawn: int
    #: Owed to members who bought nothing in the year before.
    dormant: int


@dataclass(frozen=True)
class MonthData:
    """All that the report is made of."""

    #: MOVEMENTS of all times.
    movements: pl.DataFrame
    #: What the ledger owes now.
    balance: int
    #: Where the last report of the month before ended; None: there is none.
    earlier_closing: int | None
    #: SYSTEMS.
    systems: pl.DataFrame
    #: Points of sales posted in the month, as the roll-forward counts them.
    sale_points: int
    #: Balances when the month ended.
    balances: Balances
    #: AUDIT of the month.
    audit: pl.DataFrame


def timezone(connection: DbConnection) -> str:
    """The IANA time zone in which months begin."""
    return str(_value(connection, "timezone", {}))


def read(connection: DbConnection, month: date, since: datetime, until: datetime) -> MonthData:
    """Everything about the month [since, until), in the transaction that is open."""
    span = {"since": since, "until": until}
    connection.execute(query("month_report", "hide_persons"))
    row = connection.execute(query("month_report", "balances"), span).fetchone()
    assert row
    earlier = connection.execute(
        query("month_report", "earlier_closing"), {"month": month}
    ).fetchone()
    return MonthData(
        movements=_frame(connection, "movements", span, MOVEMENTS),
        balance=int(_value(connection, "balance", {})),
        earlier_closing=None if earlier is None else int(earlier[0]),
        systems=_frame(connection, "systems", span, SYSTEMS),
        sale_points=int(_value(connection, "sale_points", span)),
        balances=Balances(*row),
        audit=_frame(connection, "audit", span, AUDIT),
    )


def save(connection: DbConnection, month: date, opening: int, closing: int, run_id: str) -> None:
    """Remembers where the next report must begin."""
    parameters = {"month": month, "opening": opening, "closing": closing, "run_id": run_id}
    connection.execute(query("month_report", "save"), parameters)


def _frame(
    connection: DbConnection, name: str, parameters: dict[str, Any], schema: pl.Schema
) -> pl.DataFrame:
    return read_frame(connection, query("month_report", name), parameters, schema)


def _value(connection: DbConnection, name: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(query("month_report", name), parameters).fetchone()
    assert row
    return row[0]
