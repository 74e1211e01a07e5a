"""What a merge would change: it is entered, computed as an award would, and taken back.

Nothing is posted on the way: whoever may merge may not write the ledger (the API's role).
"""

from dataclasses import dataclass

import polars as pl

from loyalty.award import evaluate
from loyalty.corrections import Decision
from loyalty.difference import difference
from sql import expiry, ledger, member_history, tier_history
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
        after = _computed(connection, [member_id, into])
    changes = tuple(
        MemberChange(number, before[number][0], after[number][0], before[number][1],
                     after[number][1])
        for number in (member_id, into)
    )  # fmt: skip
    return MergePreview(merged, changes)


def _standing(connection: DbConnection, members: list[int]) -> dict[int, tuple[int, str]]:
    rows = connection.execute(query("members", "standing"), {"members": members}).fetchall()
    return {number: (balance, tier) for number, balance, tier in rows}


def _computed(connection: DbConnection, members: list[int]) -> dict[int, tuple[int, str]]:
    """Their balances and tiers once what is due to them as stored now is posted."""
    rules = member_history.rules(connection)
    stored = member_history.read(connection, members, rules)
    due = evaluate(stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts).due
    awards = difference(due, ledger.posted(connection, members))
    now = expiry.now(connection)
    expiries = expiry.entries(connection, members, due, rules.programs, now)
    moved = pl.concat([frame.select("member_id", "points") for frame in (awards, expiries)])
    points = dict(moved.drop_nulls().group_by("member_id").agg(pl.col("points").sum()).rows())
    tiers = tier_history.in_force(connection, members, stored, rules.programs, now)
    return {
        number: (balance + points.get(number, 0), tiers.get(number, tier))
        for number, (balance, tier) in _standing(connection, members).items()
    }
