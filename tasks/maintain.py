"""What an installation needs over the years.

Promises are checked, statistics renewed, and Prefect's old runs deleted.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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

from sql import audit, changes, maintenance, receivers
from sql.db import DbConnection, connect
from tasks.reconcile.points_due import PointsCheck, check_points

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
    #: Old runs that were deleted.
    runs: int = 0

    @property
    def ok(self) -> bool:
        """Whether every promise holds."""
        return not self.points.members and not self.broken

    def to_text(self, *, dry_run: bool) -> str:
        """One line."""
        log = self.broken or "the audit log is whole"
        runs = f"{self.runs} old runs {'would be ' if dry_run else ''}deleted"
        return f"{self.points.to_text()}; {log}; {runs}"


def maintain(dsn: str, *, keep_days: int, dry_run: bool) -> Maintained:
    """Checks the ledger and the audit log, renews the statistics, deletes Prefect's old runs.

    What is never deleted: raw pages, sales, entries, rejects and the audit log. Months of the audit
    of requests are dropped by the API.

    Args:
        dsn: The ledger.
        keep_days: Runs that ended earlier are deleted, with their logs and reports; at most
            RUNS_MAX at a time.
        dry_run: Only look.

    Raises:
        psycopg.Error: Of the database.
    """
    with connect(dsn) as connection:
        verdict = audit.verify(connection)
        connection.rollback()
        if not dry_run:
            _tidy_changes(connection)
            maintenance.analyze(connection)
            connection.commit()
        sizes = maintenance.sizes(connection)
    broken = "" if verdict.ok else verdict.to_text()
    return Maintained(check_points(dsn), broken, sizes, _old_runs(keep_days, dry_run=dry_run))


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
