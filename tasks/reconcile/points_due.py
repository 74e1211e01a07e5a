"""Compares points posted with points due, member by member, and posts the difference."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
import psycopg

from loyalty.award import evaluate
from loyalty.difference import difference
from settings import settings
from sql import ledger, member_events, store
from sql import member_history as facts
from sql.db import connect
from tasks.award.members import Awarded, award_members
from tasks.run_database import RunDatabase

#: Members computed at a time.
MEMBERS_AT_ONCE = 5_000
#: Members of the largest differences that are named.
LARGEST = 20


class TooManyPointsError(ValueError):
    """The differences are larger than the limit and were not confirmed; nothing was posted."""


@dataclass
class PointsCheck:
    """Where posted points differ from due ones."""

    #: Members compared.
    looked_at: int = 0
    #: Members that a run is about to compute; they are left out.
    waiting: int = 0
    #: Sales whose posted points differ from what is due.
    sales: int = 0
    #: Points posted to the members compared.
    posted: int = 0
    #: Points to give.
    added: int = 0
    #: Points to take back; not above 0.
    taken: int = 0
    #: Sales without points under the rules of their time; they are rejected by name.
    uncomputed: int = 0
    #: Members with a difference.
    members: list[int] = field(default_factory=list)
    #: The largest differences: (member, posted, due).
    largest: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def moved(self) -> int:
        """Points to give and to take, both counted as positive."""
        return self.added - self.taken

    def to_text(self) -> str:
        """One line."""
        waiting = f" ({self.waiting} more are waiting for a run)" if self.waiting else ""
        if not self.members:
            return f"points posted are the points due, for {self.looked_at} members{waiting}"
        return (
            f"{len(self.members)} of {self.looked_at} members{waiting} "
            f"have other points than they are due, for {self.sales} sales: "
            f"{self.added:+d} to give, {self.taken:+d} to take back"
        )


def check_points(dsn: str, members: Sequence[int] | None = None) -> PointsCheck:
    """Computes what is due from the stored sales and compares it with the ledger.

    It changes nothing and holds up nobody.

    Args:
        dsn: The ledger.
        members: By number; None: all.

    Raises:
        psycopg.Error: Of the database.
    """
    check = PointsCheck()
    with connect(dsn) as connection:
        # Sales, rules and entries as they are at one instant: a run that posts meanwhile is seen
        # whole or not at all.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        everyone = ledger.everyone(connection) if members is None else sorted(set(members))
        connection.rollback()
        for at in range(0, len(everyone), MEMBERS_AT_ONCE):
            chunk = everyone[at : at + MEMBERS_AT_ONCE]
            waiting = ledger.waiting_of(connection, chunk)
            settled = [member for member in chunk if member not in waiting]
            rules = facts.rules(connection)
            stored = facts.read(connection, settled, rules)
            due = evaluate(
                stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts
            ).due
            posted = ledger.posted(connection, settled)
            events = member_events.changes(connection, settled, rules.programs)
            connection.rollback()
            check.looked_at += len(settled)
            check.waiting += len(waiting)
            _count(check, _compared(difference(due, posted), events), posted)
    return check


def recompute(
    dsn: str,
    run_id: str,
    members: Sequence[int] | None = None,
    *,
    dry_run: bool = True,
    confirm: int = 0,
) -> tuple[PointsCheck, Awarded]:
    """Checks, and without `dry_run` posts what is missing.

    Running it again, or twice at once, posts nothing twice.

    Args:
        dsn: The ledger.
        run_id: Kept with the entries.
        members: By number; None: all.
        dry_run: Only check.
        confirm: A difference of so many points, given and taken together, is agreed to.

    Raises:
        TooManyPointsError: Above the limit and not confirmed.
        psycopg.Error: What was committed by then stays; the rest of the members stay marked.
    """
    check = check_points(dsn, members)
    if dry_run or not check.members:
        return check, Awarded()
    config = settings()
    percent = 100 * check.moved / max(check.posted, 1)
    if confirm < check.moved and (
        check.moved > config.change_points_max or percent > config.change_percent_max
    ):
        raise TooManyPointsError(
            f"it would move {check.moved} points ({percent:.1f} % of those posted), "
            f"more than the limit of {config.change_points_max} points or "
            f"{config.change_percent_max} %. If that is meant, confirm {check.moved} points"
        )
    run = RunDatabase(dsn, run_id)
    with run.transaction() as connection:
        store.mark_dirty(connection, set(check.members))
        connection.commit()
    return check, award_members(run, None)


def _compared(entries: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """What differs, of sales and of events: member_id, due_before, due_after, points."""
    names = ("member_id", "due_before", "due_after", "points")
    of_events = events.select(
        "member_id",
        pl.col("posted").alias("due_before"),
        pl.col("due").alias("due_after"),
        (pl.col("due") - pl.col("posted")).alias("points"),
    )
    return pl.concat([entries.select(names), of_events])


def _count(check: PointsCheck, entries: pl.DataFrame, posted: pl.DataFrame) -> None:
    check.posted += int(posted["due_after"].sum() or 0)
    check.uncomputed += entries.filter(
        pl.col("due_after").is_null() & pl.col("due_before").eq(0)
    ).height
    computed = entries.filter(pl.col("due_after").is_not_null())
    if computed.is_empty():
        return
    check.sales += computed.height
    check.added += int(computed.filter(pl.col("points") > 0)["points"].sum())
    check.taken += int(computed.filter(pl.col("points") < 0)["points"].sum())
    wrong = computed["member_id"].unique().sort()
    check.members += wrong.to_list()
    before = posted.group_by("member_id").agg(pl.col("due_after").sum().alias("posted"))
    moves = (
        computed.group_by("member_id")
        .agg(pl.col("points").sum(), pl.col("points").abs().sum().alias("size"))
        .join(before, on="member_id", how="left")
        .with_columns(pl.col("posted").fill_null(0))
    )
    rows = moves.select(
        "member_id", "posted", (pl.col("posted") + pl.col("points")).alias("due")
    ).rows()
    check.largest = sorted(
        [*check.largest, *rows], key=lambda row: (-abs(row[2] - row[1]), row[0])
    )[:LARGEST]
