"""What is stored, in the few numbers an operator asks for first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sql.db import connect
from sql.named import query


@dataclass(frozen=True)
class SystemSummary:
    """One billing system's sales and points."""

    system: str
    sales: int
    void_sales: int
    open_rejects: int
    members: int
    entries: int
    points: int


@dataclass(frozen=True)
class MemberSummary:
    """One member's balance."""

    member_id: int
    tier: str
    balance_points: int
    entries: int


@dataclass(frozen=True)
class AccountStatus:
    """How fresh one account is."""

    system: str
    account: str
    state: str
    last_run_at: datetime
    last_success_at: datetime | None
    complete_up_to: datetime | None
    sales: int
    open_rejects: int
    error: str | None


def summary(dsn: str) -> list[SystemSummary]:
    """Sales, rejects, entries and points per system."""
    return [SystemSummary(*row) for row in _rows(dsn, "summary", {})]


def members(dsn: str, limit: int = 5) -> list[MemberSummary]:
    """The members with the most points."""
    return [MemberSummary(*row) for row in _rows(dsn, "members", {"limit": limit})]


def status(dsn: str) -> list[AccountStatus]:
    """The state of each account's latest synchronisation."""
    return [AccountStatus(*row) for row in _rows(dsn, "status", {})]


def _rows(dsn: str, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connect(dsn) as connection:
        return connection.execute(query("report", name), parameters).fetchall()
