"""What is stored, in the few numbers an operator asks for first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sql.db import connect
from sql.named_queries import query


@dataclass(frozen=True)
class SystemSummary:
    """One billing system's sales and points."""

    system: str
    sales: int
    void_sales: int
    #: Records that wait to be accepted.
    open_rejects: int
    members: int
    #: Entries of its sales.
    entries: int
    #: What it adds to the balance; negative: takes.
    points: int


@dataclass(frozen=True)
class MemberSummary:
    """One member's balance."""

    #: Number of the member.
    member_id: int
    tier: str
    #: Sum of all entries and adjustments.
    balance_points: int
    entries: int


@dataclass(frozen=True)
class TierSummary:
    """What the sales in one tier are due now.

    `points` is what the amounts earn (`base_points`) plus what the tier adds.
    """

    tier: str
    #: Of the tier, e.g. 1.2.
    multiplier: str
    members: int
    sales: int
    #: What the amounts earn.
    base_points: int
    #: What the tier adds.
    tier_points: int
    #: Everything that is due.
    points: int


@dataclass(frozen=True)
class Posted:
    """Entries of some runs with the same cause.

    The cause is a reason of the ledger, or "tier" where only the tier differs.
    """

    cause: str
    entries: int
    #: Points that were added.
    added: int
    #: Points that were taken back, as a negative number.
    taken_back: int
    #: What it adds to the balance; negative: takes.
    points: int


@dataclass(frozen=True)
class Example:
    """One entry that corrects what was posted before."""

    cause: str
    system: str
    invoice: str
    tier: str
    #: Points posted for the sale before this entry.
    due_before: int
    #: Points due for the sale from this entry on.
    due_after: int
    #: What it adds to the balance; negative: takes.
    points: int


@dataclass(frozen=True)
class AccountStatus:
    """How fresh one account is."""

    system: str
    #: Account at the billing system.
    account: str
    state: str
    last_run_at: datetime
    #: When the last run was stored; None: none was.
    last_success_at: datetime | None
    #: Every change before this instant is stored.
    complete_up_to: datetime | None
    sales: int
    #: Records that wait to be accepted.
    open_rejects: int
    #: Why it failed, without personal data; None: it did not.
    error: str | None


def summary(dsn: str) -> list[SystemSummary]:
    """Sales, rejects, entries and points per system."""
    return [SystemSummary(*row) for row in _rows(dsn, "summary", {})]


def members(dsn: str, limit: int = 5) -> list[MemberSummary]:
    """The members with the most points."""
    return [MemberSummary(*row) for row in _rows(dsn, "members", {"limit": limit})]


def tiers(dsn: str) -> list[TierSummary]:
    """Points per tier in which the sales were made; they sum to all points in the ledger."""
    return [TierSummary(*row) for row in _rows(dsn, "tiers", {})]


def posted(dsn: str, run_ids: Sequence[str]) -> list[Posted]:
    """What these runs posted, by cause."""
    return [Posted(*row) for row in _rows(dsn, "posted", {"run_ids": list(run_ids)})]


def examples(dsn: str, run_ids: Sequence[str]) -> list[Example]:
    """Of what these runs posted, one entry per cause.

    It is the entry with the fewest points: what takes back most comes first.
    """
    return [Example(*row) for row in _rows(dsn, "examples", {"run_ids": list(run_ids)})]


def status(dsn: str) -> list[AccountStatus]:
    """The state of each account's latest synchronisation."""
    return [AccountStatus(*row) for row in _rows(dsn, "status", {})]


def _rows(dsn: str, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connect(dsn) as connection:
        return connection.execute(query("report", name), parameters).fetchall()
