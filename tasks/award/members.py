"""Step 3, award: posts the points of the members whose history changed.

In: members that the load marked as changed (`store.mark_dirty`), and everything stored of them.
Out: entries appended to the ledger, only the difference between what is due and what is posted;
`Awarded` counts them. A sale whose points cannot be computed becomes a reject.
"""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from expectations import validate_awards
from loyalty.award import evaluate
from loyalty.difference import difference
from loyalty.explain import not_computed
from sql import (
    audit,
    budgets,
    duplicates,
    expiry,
    ledger,
    member_events,
    postings,
    refused,
    store,
    sync,
    tier_history,
)
from sql import member_history as facts
from sql.db import DbConnection
from sql.member_history import Rules, Stored
from sql.sync import AccountKey
from tasks.award.birthdays import note_birthdays
from tasks.run_database import RunDatabase

#: Members per transaction.
MEMBERS_AT_ONCE = 5_000
#: Transactions at a time: while the database takes one, the other is computed.
CHUNKS_AT_ONCE = 2
#: How often budgets are divided anew in one run; the next run does what is still open then.
ROUNDS_MAX = 10
#: How often a run begins anew because the rules were changed under it.
RESTARTS_MAX = 5


@dataclass
class Awarded:
    """What the award step posted."""

    #: Members whose points were computed.
    members: int = 0
    #: Entries appended to the ledger for sales.
    entries: int = 0
    #: Their sum.
    points: int = 0
    #: Sales whose points could not be computed.
    rejected: int = 0
    #: Points that expired, less what came back.
    expired: int = 0
    #: Entries for events of members (registrations, birthdays, what the app told), by name.
    event_entries: Counter[str] = field(default_factory=Counter)
    #: Their points, by name; less than 0 where more was taken back than given.
    event_points: Counter[str] = field(default_factory=Counter)
    #: Documents left out since, because another system's document of the same sale counts.
    left_out: int = 0
    #: Members that another run is working on.
    waiting: int = 0
    #: Why sales were rejected, and how often.
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, part: "Awarded") -> None:
        """Counts a committed chunk in."""
        with _adding:
            self.members += part.members
            self.entries += part.entries
            self.points += part.points
            self.rejected += part.rejected
            self.expired += part.expired
            # (Not by +=, which forgets what is not above 0.)
            self.event_entries.update(part.event_entries)
            self.event_points.update(part.event_points)
            self.left_out += part.left_out
            self.reasons += part.reasons

    def posted_in_words(self) -> str:
        """`2 entries, +1500 points`, and then what is of no sale: events by name, expiries."""
        return f"{self.entries} entries, {self.points:+d} points{self.beside_sales()}"

    def beside_sales(self) -> str:
        """What follows the points of sales in one line; "" where there is nothing else."""
        return beside_sales(self.event_points, self.expired)


def beside_sales(points_by_event: Mapping[str, int], expired_points: int) -> str:
    """Points of no sale, as they follow those of sales; "" where there are none.

    `; events: birthday +200, review +20; -70 points expired`.
    """
    named = ", ".join(f"{name} {points_by_event[name]:+d}" for name in sorted(points_by_event))
    text = f"; events: {named}" if named else ""
    return text + (f"; {-expired_points:+d} points expired" if expired_points else "")


_adding = threading.Lock()


class RulesChangedError(RuntimeError):
    """The rules were changed while points were computed.

    What is still to do is computed by the new ones.
    """


def award_members(run: RunDatabase, sync_id: int | None) -> Awarded:
    """Recomputes every changed member from stored history, chunk by chunk, one transaction each.

    A member is marked ("dirty") by whatever changes the history, and unmarked in the transaction
    that posts the points. So a run that dies loses nothing: the next one finds the marks.

    Two chunks are under way at a time: while the database takes the entries of one, the other is
    computed. A member that another run has claimed is skipped.

    Args:
        run: The database, and the run that the entries are posted by.
        sync_id: The synchronisation that asks. None: there is none, so a reject is filed under the
            synchronisation that last read its account.

    Raises:
        psycopg.Error: What was committed by then stays, the other members stay marked.
    """
    awarded = Awarded()
    for _ in range(RESTARTS_MAX):
        try:
            _award(run, sync_id, awarded)
        except RulesChangedError:
            continue
        break
    with run.transaction() as connection:
        awarded.waiting = ledger.dirty_members(connection)
        # What a synchronisation posts is in its own entry of the audit log.
        if sync_id is None and (awarded.entries or awarded.event_entries or awarded.expired):
            details: dict[str, Any] = {"entries": awarded.entries, "rejected": awarded.rejected}
            if awarded.event_entries:
                details |= {
                    "events": awarded.event_entries.total(),
                    "event_points": awarded.event_points.total(),
                    "points_by_event": dict(awarded.event_points),
                }
            if awarded.expired:
                details["expired_points"] = awarded.expired
            audit.record(
                connection,
                "award",
                "members",
                records=awarded.members,
                points=awarded.points,
                details=details,
                run_id=run.run_id,
            )
            postings.report_run(connection, run.run_id)
            run.commit(connection)
    return awarded


def award_only(run: RunDatabase, sync_id: int, members: Sequence[int]) -> Awarded:
    """Recomputes these members and no others.

    So a sale that is announced does not wait for the points of a backfill.

    Members that another run is working on are left to that run, which sees what was stored before.
    Where a promotion has a budget all waiting members are computed, since its division concerns
    them all.
    """
    awarded = Awarded()
    with run.transaction() as connection:
        rules = facts.rules(connection)
        for at in range(0, 0 if rules.budgets else len(members), MEMBERS_AT_ONCE):
            claimed = ledger.claim_of(connection, members[at : at + MEMBERS_AT_ONCE])
            if not facts.are_current(connection, rules):
                connection.rollback()
                break
            if claimed:
                part = _chunk(connection, run, sync_id, claimed, rules)
                run.commit(connection)
                awarded.add(part)
        else:
            if not rules.budgets:
                return awarded
    awarded.add(award_members(run, sync_id))
    return awarded


def _award(run: RunDatabase, sync_id: int | None, awarded: Awarded) -> None:
    """Computes all marked members by the rules as they are now.

    Raises RulesChangedError if they do not stay so.
    """
    note_birthdays(run)
    with run.transaction() as connection:
        rules = facts.rules(connection)
        # Points expire without a sale: who has such, or soon will, is marked now.
        now = expiry.now(connection)
        expired = expiry.newly_expired(connection, rules.programs, now)
        expiring = expiry.newly_expiring(connection, rules.programs, now)
        store.mark_dirty(connection, expired | expiring)
        waiting = ledger.dirty_members(connection)
        run.commit(connection)
    if rules.budgets:
        _claim_budgets(run, rules)
        _settle(run, rules)
    _in_chunks(run, sync_id, rules, awarded, waiting)
    # A sale that was stored meanwhile may come before others at a budget: whose share changes by it
    # is computed again.
    for _ in range(ROUNDS_MAX if rules.budgets else 0):
        if not _settle(run, rules):
            break
        _in_chunks(run, sync_id, rules, awarded, 0)


def _in_chunks(
    run: RunDatabase, sync_id: int | None, rules: Rules, awarded: Awarded, waiting: int
) -> None:
    if run.dry_run or waiting <= MEMBERS_AT_ONCE:
        _until_done(run, sync_id, rules, awarded)
        return
    with ThreadPoolExecutor(CHUNKS_AT_ONCE, thread_name_prefix="award") as pool:
        parts = [
            pool.submit(_until_done, run, sync_id, rules, awarded) for _ in range(CHUNKS_AT_ONCE)
        ]
    for part in parts:
        part.result()


def _claim_budgets(run: RunDatabase, rules: Rules) -> None:
    """Stores what the marked members claim of the budgets, before any budget is divided.

    They stay marked.
    """
    after = 0
    with run.transaction() as connection:
        while True:
            budgets.share(connection)
            members = ledger.claim_after(connection, after, MEMBERS_AT_ONCE)
            if not members:
                break
            _evaluated(connection, members, rules)
            run.commit(connection)
            after = members[-1]
        run.commit(connection)


def _settle(run: RunDatabase, rules: Rules) -> int:
    """Divides the budgets anew where claims changed, and marks the members whose share changes.

    Returns how many members that are.
    """
    with run.transaction() as connection:
        members = budgets.settle(connection, rules.budgets)
        # Claims of a version that these rules do not know would be settled as if they had no
        # budget.
        if not facts.are_current(connection, rules):
            connection.rollback()
            raise RulesChangedError
        store.mark_dirty(connection, members)
        run.commit(connection)
    return len(members)


def _evaluated(
    connection: DbConnection, members: list[int], rules: Rules
) -> tuple[pl.DataFrame, Stored]:
    """Points due to the members (HISTORY plus DUE), and what they were computed from.

    What the members claim of budgets is stored.
    """
    stored = facts.read(connection, members, rules)
    evaluation = evaluate(
        stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts
    )
    if rules.budgets:
        budgets.save_claims(connection, members, evaluation.claims)
    return evaluation.due, stored


def _until_done(run: RunDatabase, sync_id: int | None, rules: Rules, awarded: Awarded) -> None:
    """Claims marked members and posts their points, chunk by chunk, until none are left."""
    with run.transaction() as connection:
        try:
            while members := _claim(connection, rules):
                part = _chunk(connection, run, sync_id, members, rules)
                run.commit(connection)
                awarded.add(part)
        finally:
            if not run.dry_run:
                connection.rollback()


def _claim(connection: DbConnection, rules: Rules) -> list[int]:
    if rules.budgets:
        budgets.share(connection)
    members = ledger.claim(connection, MEMBERS_AT_ONCE)
    # A change of the rules marks members in its own transaction: a run that claims such a member
    # sees the new rules, and must use them.
    if not facts.are_current(connection, rules):
        raise RulesChangedError
    return members


def _chunk(
    connection: DbConnection,
    run: RunDatabase,
    sync_id: int | None,
    members: list[int],
    rules: Rules,
) -> Awarded:
    """Posts what some members are due and do not have yet; the caller commits.

    Entries that Great Expectations refuses are not posted; their sales are rejected.
    """
    awarded = Awarded(members=len(members))
    due, stored = _evaluated(connection, members, rules)
    entries = difference(due, ledger.posted(connection, members))
    good = entries
    if not entries.is_empty() and not (report := validate_awards(entries)).ok:
        numbered = entries.with_row_index("row_no")
        good = numbered.filter(~pl.col("row_no").is_in(report.failed_rows.implode())).drop("row_no")
        bad = numbered.filter(pl.col("row_no").is_in(report.failed_rows.implode()))
        _reject(connection, sync_id, bad, awarded, rules)
    _resolve(connection, sync_id, due)
    ledger.append(connection, good, run.run_id)
    postings.add(connection, good, run.run_id)
    if rules.precedence is not None:
        awarded.left_out = duplicates.save_left_out(
            connection, members, stored.left_out, run.run_id
        )
    done = member_events.post(connection, members, rules.programs, run.run_id)
    awarded.event_entries, awarded.event_points = done.entries, done.points
    now = expiry.now(connection)
    awarded.expired -= expiry.post(connection, members, due, rules.programs, now, run.run_id)
    expiry.announce(connection, members, due, rules.programs, now, run.run_id)
    tier_history.post(connection, members, stored, rules.programs, now, run.run_id)
    ledger.clear(connection, members)
    awarded.entries += good.height
    awarded.points += int(good["points"].sum() or 0)
    return awarded


def _reject(
    connection: DbConnection, sync_id: int | None, bad: pl.DataFrame, awarded: Awarded, rules: Rules
) -> None:
    """A sale whose points cannot be computed is rejected by name; what was posted for it stays."""
    for row in bad.iter_rows(named=True):
        program = next((p for p in rules.programs if p.version == row["program_version"]), None)
        reason = f"points: {not_computed(program, row['currency'], row['tier'], row['event_at'])}"
        if row["due_after"] is not None:
            reason = (
                "points: the computed entry is not plausible; "
                "see the validation in the run's report"
            )
        awarded.reasons[reason] += 1
        awarded.rejected += 1
        problems = json.dumps([{"field": "points", "path": "", "reason": reason, "example": ""}])
        sale = row["external_id"]
        values = ("awards", sale, sale, reason, problems, row["page_id"], row["record_no"], None)
        reject = pl.DataFrame([values], schema=store.REJECT, orient="row")
        owner = AccountKey(row["system"], row["account"])
        asked = sync_id or sync.latest(connection, owner)
        store.save_rejects(connection, owner, asked, reject)
        refused.classify(connection, owner, asked)


def _resolve(connection: DbConnection, sync_id: int | None, due: pl.DataFrame) -> None:
    """Closes rejects of sales whose points could be computed, in every account they are of.

    Members buy in several systems, so a run meets sales of other accounts.
    """
    computed = due.filter(pl.col("due").is_not_null())
    for (system, account), rows in computed.group_by("system", "account"):
        owner = AccountKey(str(system), str(account))
        if store.has_open_rejects(connection, owner):
            asked = sync_id or sync.latest(connection, owner)
            store.resolve_rejects(
                connection, owner, asked, rows["external_id"].to_list(), awards=True
            )
