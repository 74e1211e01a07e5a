"""What a merge would change: it is entered, computed as an award would, and taken back.

Nothing is posted for it, so that whoever may merge members needs no right to the ledger.
"""

from dataclasses import dataclass

import polars as pl

from loyalty.award import evaluate
from loyalty.corrections import Decision
from loyalty.difference import difference
from sql import expiry, ledger, member_events, member_history, tier_history
from sql.corrections import Merged, MergedTiers, find_member, merge
from sql.db import DbConnection
from sql.named_queries import query


@dataclass(frozen=True)
class MemberChange:
    """Balance and tier of one member, before and after."""

    member_id: int
    balance_points_before: int
    balance_points_after: int
    tier_before: str
    tier_after: str

    def to_text(self) -> str:
        """One line."""
        return (
            f"member {self.member_id}: {self.balance_points_before} -> "
            f"{self.balance_points_after} points, {self.tier_before} -> {self.tier_after}"
        )


@dataclass(frozen=True)
class MergePreview:
    """What a merge changes for the two members. Shares of a promotion's budget stay as they are."""

    merged: Merged
    #: The member whose sales go over, and who earns for them then.
    changes: tuple[MemberChange, ...]

    def to_text(self) -> str:
        """One line."""
        return "; ".join(change.to_text() for change in self.changes)


def preview(
    connection: DbConnection,
    member_id: int,
    into_id: int,
    decision: Decision,
    run_id: str,
    *,
    tiers: MergedTiers = "better",
) -> MergePreview:
    """What `corrections.merge` of the same members would change; nothing is kept.

    Raises CorrectionRefusedError as that does.
    """
    with connection.transaction(force_rollback=True):
        into = find_member(connection, into_id).owner_id
        before = _standing(connection, [member_id, into])
        merged = merge(connection, member_id, into_id, decision, run_id, tiers=tiers)
        after = _standing_once_posted(connection, [member_id, into])
    changes = tuple(
        MemberChange(number, before[number][0], after[number][0], before[number][1],
                     after[number][1])
        for number in (member_id, into)
    )  # fmt: skip
    return MergePreview(merged, changes)


def _standing(connection: DbConnection, members: list[int]) -> dict[int, tuple[int, str]]:
    rows = connection.execute(query("members", "standing"), {"members": members}).fetchall()
    return {number: (balance, tier) for number, balance, tier in rows}


def _standing_once_posted(
    connection: DbConnection, members: list[int]
) -> dict[int, tuple[int, str]]:
    """Balance and tier by what is stored now, as if what is due to the members were posted."""
    rules = member_history.rules(connection)
    stored = member_history.read(connection, members, rules)
    due = evaluate(stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts).due
    awards = difference(due, ledger.posted(connection, members))
    now = expiry.now(connection)
    events = member_events.due_moves(connection, members, rules.programs)
    changes = member_events.changes(connection, members, rules.programs)
    moved = pl.concat(
        [
            awards.filter(pl.col("due_after").is_not_null()).select("member_id", "points"),
            expiry.entries(connection, members, due, rules.programs, now, events).select(
                "member_id", "points"
            ),
            changes.select("member_id", (pl.col("due") - pl.col("posted")).alias("points")),
        ]
    )
    points = dict(moved.group_by("member_id").agg(pl.col("points").sum()).iter_rows())
    tiers = tier_history.in_force(members, stored, rules.programs, now)
    return {
        number: (balance + points.get(number, 0), tiers.get(number, tier))
        for number, (balance, tier) in _standing(connection, members).items()
    }
