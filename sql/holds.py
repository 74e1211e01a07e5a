"""Legal holds: while one is in force, its member is not erased.

Nor does retention delete stored pages, webhooks and customer numbers. A hold is a row that stays; lifting it is another row. The caller owns the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from loyalty.corrections import Decision
from sql.corrections import CorrectionRefusedError, find_member
from sql.db import DbConnection
from sql.named_queries import query


@dataclass(frozen=True)
class Hold:
    """A hold in force."""

    #: Its number, by which it is lifted.
    hold_no: int
    #: Member who must not be erased; None: nobody may be.
    member_id: int | None
    #: Why.
    reason: str
    #: When it was placed.
    recorded_at: datetime

    def to_text(self) -> str:
        """One line."""
        whom = "everybody" if self.member_id is None else f"member {self.member_id}"
        return f"Hold {self.hold_no} on {whom} since {self.recorded_at:%Y-%m-%d}: {self.reason}"


def in_force(connection: DbConnection) -> list[Hold]:
    """All holds in force, the oldest first."""
    return [Hold(*row) for row in connection.execute(query("holds", "in_force")).fetchall()]


def place(connection: DbConnection, member_id: int | None, decision: Decision, run_id: str) -> Hold:
    """Places a hold on a member, or (None) on everybody.

    Raises CorrectionRefusedError if there is no such member.
    """
    if member_id is not None:
        find_member(connection, member_id)
    parameters = decision.model_dump() | {"member_id": member_id, "lifts_no": None}
    row = connection.execute(query("holds", "record"), parameters | {"run_id": run_id}).fetchone()
    assert row is not None
    return Hold(row[0], member_id, decision.reason, row[1])


def lift(connection: DbConnection, hold_no: int, decision: Decision, run_id: str) -> Hold:
    """Lifts a hold. Raises CorrectionRefusedError if there is none of that number in force."""
    hold = next((hold for hold in in_force(connection) if hold.hold_no == hold_no), None)
    if hold is None:
        message = f"there is no hold {hold_no} in force; `twezah hold list` shows them"
        raise CorrectionRefusedError(message)
    parameters = decision.model_dump() | {"member_id": hold.member_id, "lifts_no": hold_no}
    connection.execute(query("holds", "record"), parameters | {"run_id": run_id})
    return hold


def require_none(connection: DbConnection, members: Sequence[int]) -> None:
    """Raises CorrectionRefusedError if one of these members must not be erased."""
    for hold in in_force(connection):
        if hold.member_id is None or hold.member_id in members:
            message = (
                f"legal hold {hold.hold_no} forbids it ({hold.reason}); if the case is closed, "
                f"lift it first: `twezah hold lift {hold.hold_no}`"
            )
            raise CorrectionRefusedError(message)
