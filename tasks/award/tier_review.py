"""Reviews the tiers of members whose period ended.

So the history and the tier in force now are up to date without a sale.

Points need no review: the tier of a sale is computed for its own instant.
"""

from dataclasses import dataclass

from sql import member_history as facts
from sql import store, tier_history
from tasks.award.birthdays import note_birthdays
from tasks.award.members import Awarded, award_members
from tasks.run_database import RunDatabase


@dataclass(frozen=True)
class Reviewed:
    """What a review of tiers found."""

    #: Members looked at.
    members: int
    #: Rises and falls that are new in the history...
    steps: int
    #: ...of so many members.
    changed: int
    #: What was posted: expiries, and points that other tiers make.
    awarded: Awarded

    def to_text(self) -> str:
        """One line."""
        if not self.members:
            return (
                "No member's tier can change by time: the program evaluates no tiers, "
                f"or nobody has reached one{self.awarded.beside_sales()}"
            )
        return (
            f"{self.members} members reviewed: {self.steps} rises and falls of {self.changed} "
            f"members; {self.awarded.points:+d} points{self.awarded.beside_sales()}"
        )


def evaluate(dsn: str, run_id: str, *, everyone: bool = False, dry_run: bool = False) -> Reviewed:
    """Recomputes the tiers that may have changed by time alone, and posts what differs.

    Run it when a period (or its grace) ended; once a day costs little. Running it again, or twice
    at once, posts nothing twice: members are marked, and the award step claims each of them once.

    Args:
        dsn: The ledger.
        run_id: Kept with the entries.
        everyone: All members who ever bought, as after a tier policy was set for the past.
        dry_run: Compute and post, then roll everything back.

    Raises:
        psycopg.Error: What was committed by then stays; the rest of the members stay marked.
    """
    run = RunDatabase(dsn, run_id, dry_run=dry_run)
    with run.scope():
        # (Where no sale comes in, nothing else would notice a birthday.)
        birthdays = note_birthdays(run)
        with run.transaction() as connection:
            rules = facts.rules(connection)
            evaluates = any(p.tier_policy for p in rules.programs)
            members = tier_history.may_change(connection, everyone=everyone) if evaluates else []
            store.mark_dirty(connection, set(members))
            run.commit(connection)
        if not members and not birthdays:
            return Reviewed(0, 0, 0, Awarded())
        awarded = award_members(run, None)
        with run.transaction() as connection:
            posted = tier_history.totals(connection, run_id)
        return Reviewed(len(members), posted.steps, posted.members, awarded)
