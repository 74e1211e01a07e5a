"""What a member has: one definition for the API, the command and whoever spends points.

`loyalty.member_balance` sums what is posted. Points whose time is over are posted as expired by
the next award step; until then they are left out of what is available. So are pending points, for
as long as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from loyalty.masking import identifier
from sql import expiry
from sql.db import DbConnection
from sql.expiry import Outlook
from sql.named_queries import query


@dataclass(frozen=True)
class ExpiringPoints:
    """Points that expire next, if nothing is spent or given until then."""

    #: When they expire.
    expires_at: datetime
    points: int


@dataclass(frozen=True)
class PendingPoints:
    """Points of a sale that cannot be spent yet."""

    #: Who has them.
    member_id: int
    points: int
    #: When the days are over; None: they are over, or there are none.
    available_at: datetime | None
    #: Whether they wait for the payment of the sale.
    awaits_payment: bool

    def to_text(self, zone: ZoneInfo) -> str:
        """What is waited for, times in `zone`."""
        days = None if self.available_at is None else self.available_at.astimezone(zone)
        waits = [
            "the sale is paid" if self.awaits_payment else "",
            f"{days:%Y-%m-%d %H:%M}" if days else "",
        ]
        return f"{self.points} pending until {' and '.join(filter(None, waits))}"


@dataclass(frozen=True)
class MemberBalance:
    """What a member has now."""

    #: Number of the member.
    member_id: int
    #: Tier in force now.
    tier: str
    #: added_points - taken_back_points - spent_points; may be negative.
    balance_points: int
    #: What was added, without redemptions given back.
    added_points: int
    #: What was taken, without redemptions, as a positive number.
    taken_back_points: int
    #: Points spent, less those given back.
    spent_points: int
    #: Points reserved by holds.
    held_points: int
    #: Points in the balance that cannot be spent before days are over or the sale is paid.
    pending_points: int
    #: Points that can be spent.
    available_points: int
    #: Everything that moved the balance.
    entries: int
    last_posted_at: datetime | None
    #: Whether a change waits for the award step.
    changing: bool
    #: Who earns for the member; None: the member.
    merged_into: int | None
    #: What expires next; None: nothing does.
    expiring_next: ExpiringPoints | None = None
    #: Why the balance is negative; None: it is not.
    below_zero: str | None = None

    @classmethod
    def of(
        cls, row: Sequence[Any], taken: Sequence[Sequence[Any]], outlook: Outlook | None
    ) -> "MemberBalance":
        """From the queries `member` and (of a negative balance) `below_zero`."""
        counted = cls(*row[:-1])
        spendable, upcoming = counted.available_points, None
        if outlook is not None:
            spendable = max(0, spendable - outlook.overdue_points)
            if outlook.next_at is not None:
                upcoming = ExpiringPoints(outlook.next_at, outlook.next_points)
        return replace(
            counted,
            available_points=spendable,
            expiring_next=upcoming,
            below_zero=_why(counted, taken) if counted.balance_points < 0 else None,
        )


def can_expire(row: Sequence[Any]) -> bool:
    """Whether points can expire at all, by a row of the query `member`."""
    return bool(row[-1])


def is_below_zero(row: Sequence[Any]) -> bool:
    """Whether the balance is negative, by a row of the query `member`."""
    return int(row[2]) < 0


def read(connection: DbConnection, member_id: int) -> MemberBalance | None:
    """The member's balance; None if there is no such member.

    What was posted and what is over are read one after the other. Where the award step posts an
    expiry in between, both are read again: points that are over would look as if they were there.
    """
    which = {"member_id": member_id}
    row = connection.execute(query("balance", "member"), which).fetchone()
    if row is None:
        return None
    outlook = None
    while can_expire(row):
        before, outlook = row, expiry.outlook(connection, member_id)
        row = connection.execute(query("balance", "member"), which).fetchone()
        assert row is not None
        if row == before:
            break
    taken = (
        connection.execute(query("balance", "below_zero"), which).fetchall()
        if is_below_zero(row)
        else []
    )
    return MemberBalance.of(row, taken, outlook)


def _why(counted: MemberBalance, taken: Sequence[Sequence[Any]]) -> str:
    """One sentence: what took the points, the latest first."""
    begin = (
        f"{counted.spent_points} points were spent, and more was taken than is left: "
        if counted.spent_points > 0
        else "More was taken than there was: "
    )
    return begin + ("; ".join(_words(*row) for row in taken) or "see the history")


def _words(
    kind: str, points: int, event_at: datetime, posted_at: datetime, system: str | None,
    document: str | None,
) -> str:  # fmt: skip
    what = f"{kind} of {system}" if system else kind
    number = f" {identifier(document)}" if document else ""
    reserved = (
        f", reserved on {event_at:%Y-%m-%d}"
        if kind == "redemption" and event_at < posted_at
        else ""
    )
    return f"{what}{number} on {posted_at:%Y-%m-%d} ({points:+d}{reserved})"
