"""What an installation needs over the years.

Promises are checked, statistics renewed, and what is older than its retention is removed.
"""

import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from settings import Settings
from sql import audit, changes, maintenance, receivers
from sql.db import DbConnection, connect
from sql.retention import Removed, remove_old
from sql.sealing import KeyMissingError, keyring, reseal
from tasks.award.birthdays import note_birthdays
from tasks.award.members import award_members
from tasks.reconcile.points_due import PointsCheck, check_points
from tasks.run_database import RunDatabase

#: Runs deleted by one maintenance.
RUNS_MAX: Final = 2_000
_AT_ONCE: Final = 200
_ENDED: Final = [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED]


@dataclass
class Maintained:
    """What was found and done."""

    #: Points posted against points due.
    points: PointsCheck
    #: What is wrong with the audit log, "" for nothing.
    broken: str
    #: The largest tables.
    sizes: list[maintenance.Size] = field(default_factory=list)
    #: What was removed of the ledger database.
    removed: Removed = field(default_factory=Removed)
    #: Stored bodies that were sealed with the key in use.
    resealed: int = 0
    #: Why other bodies were not, "" for none.
    unread: str = ""
    #: Old runs that were deleted.
    runs: int = 0
    #: Old log files that were deleted.
    logs: int = 0

    @property
    def ok(self) -> bool:
        """Whether every promise holds."""
        return not (self.points.members or self.broken or self.unread)

    def to_text(self, *, dry_run: bool) -> str:
        """One line."""
        log = self.broken or "the audit log is whole"
        would = "would be " if dry_run else ""
        parts = [self.points.to_text(), log, f"{self.runs} old runs {would}deleted"]
        if self.logs:
            parts.append(f"{self.logs} old log files {would}deleted")
        if self.resealed:
            parts.append(f"{self.resealed} stored bodies sealed with the key in use")
        if self.unread:
            parts.append(self.unread)
        if text := self.removed.to_text():
            parts.append(f"not kept, only counted: {text}" if dry_run else text)
        return "; ".join(parts)


def maintain(config: Settings, run_id: str, *, keep_days: int | None, dry_run: bool) -> Maintained:
    """Checks the ledger and the audit log, renews the statistics, removes what is too old.

    What is never removed: sales, entries, rejects and the audit log. Months of the audit of requests
    are dropped by the API as well.

    Args:
        config: The installation: its ledger, and for how long each kind of data is kept.
        run_id: Prefect flow run.
        keep_days: Runs that ended earlier are deleted, with their logs and reports; at most
            RUNS_MAX at a time. None: as the settings say.
        dry_run: Only look.

    Raises:
        psycopg.Error: Of the database.
    """
    dsn = config.dsn()
    if not dry_run:
        _post_birthdays(dsn, run_id)
    with connect(dsn) as connection:
        verdict = audit.verify(connection)
        connection.rollback()
        removed = remove_old(connection, config.retention_days(), run_id, dry_run=dry_run)
        resealed, unread = 0, ""
        if not dry_run:
            _tidy_changes(connection)
            resealed, unread = _resealed(connection)
            maintenance.analyze(connection)
            connection.commit()
        sizes = maintenance.sizes(connection)
    broken = "" if verdict.ok else verdict.to_text()
    runs = _old_runs(keep_days or config.keep_runs_days, dry_run=dry_run)
    logs = 0
    if config.keep_logs_days is not None:
        logs = old_logs(config.logs, config.keep_logs_days, dry_run=dry_run)
    return Maintained(check_points(dsn), broken, sizes, removed, resealed, unread, runs, logs)


def _post_birthdays(dsn: str, run_id: str) -> None:
    """Points of birthdays that no award step has noticed yet."""
    run = RunDatabase(dsn, run_id)
    if note_birthdays(run):
        award_members(run, None)


def _resealed(connection: DbConnection) -> tuple[int, str]:
    """How many bodies were sealed with the key in use; and why others were not, "" for none."""
    count = 0
    try:
        for count in reseal(connection, keyring()):  # noqa: B007  the last one counts
            pass
    except KeyMissingError as error:
        return count, str(error)
    return count, ""


def old_logs(folder: Path, keep_days: int, *, dry_run: bool) -> int:
    """Deletes log files that were set aside longer ago, and sets the present ones aside.

    Programs that have a file open write on: it is emptied, not moved.
    """
    if not folder.is_dir():
        return 0
    before = time.time() - keep_days * 86_400
    old = [
        path for path in folder.glob("*.log*") if path.is_file() and path.stat().st_mtime < before
    ]
    if dry_run:
        return len(old)
    for path in old:
        path.unlink()
    stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    for path in folder.glob("*.log"):
        if path.stat().st_size:
            aside = path.with_name(f"{path.name}.{stamp}")
            shutil.copyfile(path, aside)
            aside.chmod(0o600)
            os.truncate(path, 0)
    return len(old)


def _tidy_changes(connection: DbConnection) -> None:
    """Publishes what nobody has read yet, and forgets old messages that were accepted."""
    while changes.publish(connection):
        pass
    receivers.forget(connection)


def _old_runs(keep_days: int, *, dry_run: bool) -> int:
    old = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED)),
        end_time=FlowRunFilterEndTime(before_=datetime.now(UTC) - timedelta(days=keep_days)),
    )
    count = 0
    with get_client(sync_client=True) as client:
        while count < RUNS_MAX:
            offset = count if dry_run else 0
            runs = client.read_flow_runs(
                flow_run_filter=old, limit=_AT_ONCE, offset=offset, sort=FlowRunSort.END_TIME_DESC
            )
            for run in [] if dry_run else runs:
                try:
                    client.delete_flow_run(run.id)
                except ObjectNotFound:  # another one was quicker
                    continue
            count += len(runs)
            if len(runs) < _AT_ONCE:
                break
    return count


def page(maintained: Maintained, summary: str) -> str:
    """The report."""
    rows = [
        f"| {size.table} | {size.rows} | {size.size_bytes / 2**20:.1f} |"
        for size in maintained.sizes[:30]
    ]
    return "\n".join(
        [
            "# Maintenance",
            "",
            summary + ".",
            "",
            "| Table | Rows, about | MB |",
            "|---|---:|---:|",
            *rows,
        ]
    )
