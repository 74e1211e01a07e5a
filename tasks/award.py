"""Step 3: points of the members whose history changed; only the difference to what is posted is appended."""

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl

from expectations import validate_awards
from loyalty.award import award
from loyalty.difference import difference
from loyalty.program import Program
from loyalty.promotions import Promotion
from sql import ledger, store
from sql.db import Connection
from sql.sync import Account
from tasks.job import Job

#: Members per transaction, and transactions at a time.
MEMBERS_AT_ONCE = 5_000
CHUNKS_AT_ONCE = 2


@dataclass
class Awarded:
    """What the award step posted. `waiting`: members that another run is working on."""

    members: int = 0
    entries: int = 0
    points: int = 0
    rejected: int = 0
    waiting: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, part: "Awarded") -> None:
        """Counts a committed chunk in."""
        with _adding:
            self.members += part.members
            self.entries += part.entries
            self.points += part.points
            self.rejected += part.rejected
            self.reasons += part.reasons


_adding = threading.Lock()


@dataclass(frozen=True)
class Rules:
    """What points are computed with."""

    programs: list[Program]
    promotions: list[Promotion]


def award_members(job: Job, sync_id: int) -> Awarded:
    """Recomputes every dirty member from stored history, chunk by chunk, each chunk in one transaction.

    Two chunks at a time: while the database takes the entries of one, the other is computed; claims skip what is locked.
    Raises psycopg.Error; what was committed by then stays, the rest stays dirty.
    """
    done = Awarded()
    with job.transaction() as connection:
        rules = Rules(ledger.programs(connection), ledger.promotions(connection))
        waiting = ledger.dirty_members(connection)
        job.commit(connection)
    if job.dry_run or waiting <= MEMBERS_AT_ONCE:
        _until_done(job, sync_id, rules, done)
    else:
        with ThreadPoolExecutor(CHUNKS_AT_ONCE, thread_name_prefix="award") as pool:
            parts = [pool.submit(_until_done, job, sync_id, rules, done) for _ in range(CHUNKS_AT_ONCE)]
        for part in parts:
            part.result()
    with job.transaction() as connection:
        done.waiting = ledger.dirty_members(connection)
    return done


def _until_done(job: Job, sync_id: int, rules: "Rules", done: Awarded) -> None:
    with job.transaction() as connection:
        try:
            while members := ledger.claim(connection, MEMBERS_AT_ONCE):
                part = _chunk(connection, job, sync_id, members, rules)
                job.commit(connection)
                done.add(part)
        finally:
            if not job.dry_run:
                connection.rollback()


def _chunk(connection: Connection, job: Job, sync_id: int, members: list[int], rules: Rules) -> Awarded:
    done = Awarded(members=len(members))
    history = ledger.history(connection, members)
    due = award(history, ledger.tiers(connection, members), rules.programs, rules.promotions)
    entries = difference(due, ledger.posted(connection, members))
    good = entries
    if not entries.is_empty() and not (report := validate_awards(entries)).ok:
        numbered = entries.with_row_index("row_no")
        good = numbered.filter(~pl.col("row_no").is_in(report.failed_rows.implode())).drop("row_no")
        bad = numbered.filter(pl.col("row_no").is_in(report.failed_rows.implode()))
        _reject(connection, sync_id, bad, done)
    _resolve(connection, sync_id, due)
    ledger.append(connection, good, job.run_id)
    ledger.clear(connection, members)
    done.entries += good.height
    done.points += int(good["points"].sum() or 0)
    return done


def _reject(connection: Connection, sync_id: int, bad: pl.DataFrame, done: Awarded) -> None:
    """A sale whose points cannot be computed is rejected by name; what was posted for it stays."""
    for row in bad.iter_rows(named=True):
        reason = f"points: the program (version {row['program_version']}) has no rate for currency {row['currency']} or tier {row['tier']}"
        if row["due_after"] is not None:
            reason = "points: the computed entry is not plausible; see the validation in the run's report"
        done.reasons[reason] += 1
        done.rejected += 1
        problems = json.dumps([{"field": "points", "path": "", "reason": reason, "example": ""}])
        sale = row["external_id"]
        values = ("awards", sale, sale, reason, problems, row["page_id"], row["record_no"], None)
        reject = pl.DataFrame([values], schema=store.REJECT, orient="row")
        store.save_rejects(connection, Account(row["system"], row["account"]), sync_id, reject)


def _resolve(connection: Connection, sync_id: int, due: pl.DataFrame) -> None:
    """Members buy in several systems: a run closes the rejects of every account whose sales it could compute."""
    computed = due.filter(pl.col("due").is_not_null())
    for (system, account), rows in computed.group_by("system", "account"):
        owner = Account(str(system), str(account))
        if store.has_open_rejects(connection, owner):
            store.resolve_rejects(connection, owner, sync_id, rows["external_id"].to_list(), awards=True)
