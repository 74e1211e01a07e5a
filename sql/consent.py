"""Consent of members: withdrawn, given again, and when it was missing.

Each decision is a row that stays. The caller owns the transaction. Points are not computed here:
the member is marked, and the award step posts the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from loyalty.consent import WITHDRAWN
from loyalty.corrections import Decision
from sql.corrections import find_member
from sql.db import DbConnection, read_frame
from sql.named_queries import query


@dataclass(frozen=True)
class Consent:
    """What is so now. `repeated`: it was so already, and nothing was entered."""

    #: The member as named.
    member_id: int
    #: Who earns for them.
    owner_id: int
    #: Whether the member takes part.
    given: bool
    repeated: bool
    #: Since when it is so; None: always.
    since: datetime | None

    def to_text(self) -> str:
        """One line."""
        whose = f"Member {self.owner_id}"
        what = (
            "takes part: sales earn points"
            if self.given
            else "withdrew consent: sales that happen from now on earn no points"
        )
        return f"{whose} {what}{'; it was so before' if self.repeated else ''}"


def current(connection: DbConnection, member_id: int) -> Consent:
    """What the member decided last. Raises CorrectionRefusedError if there is no such member."""
    member = find_member(connection, member_id)
    row = connection.execute(query("consent", "last"), {"owner_id": member.owner_id}).fetchone()
    given, since = row or (True, None)
    return Consent(member_id, member.owner_id, given, repeated=True, since=since)


def decide(
    connection: DbConnection, member_id: int, decision: Decision, run_id: str, *, given: bool
) -> Consent:
    """Enters that consent was withdrawn, or given again; it counts from now on.

    Safe to repeat. Raises CorrectionRefusedError if there is no such member.
    """
    # (Two at once would both see the state before.)
    connection.execute(query("corrections", "lock_merges"))
    before = current(connection, member_id)
    if before.given == given:
        return before
    parameters = decision.model_dump() | {
        "member_id": before.owner_id,
        "given": given,
        "run_id": run_id,
    }
    row = connection.execute(query("consent", "record"), parameters).fetchone()
    since = None if row is None else row[0]
    return Consent(member_id, before.owner_id, given, repeated=False, since=since)


def withdrawn(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    """WITHDRAWN of these members, who earn for themselves and whoever was merged into them."""
    return read_frame(
        connection, query("consent", "withdrawn"), {"members": list(members)}, WITHDRAWN
    )
