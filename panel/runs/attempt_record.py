"""Stores how an attempt of a run ended, for success rates and response times over time."""

from contextlib import suppress
from datetime import datetime
from typing import Literal

import psycopg

from sql import attempts, audit
from sql.attempts import Attempt
from sql.db import connect
from tasks.load.invoices import TooManyRejectsError
from tasks.run_report import RunReport


def record_attempt(report: RunReport, connection_name: str, error: str | None) -> None:
    """Stores how the run ended. A dry run leaves no trace.

    Never raises what the database raises: the database may be what failed, and a missing record
    changes no points.

    Args:
        report: Of the run.
        connection_name: The connection.
        error: What failed; None: it succeeded.
    """
    job, counts = report.job, report.summary()
    if job.dry_run:
        return
    stored = report.loaded is not None and not isinstance(report.error, TooManyRejectsError)
    made = Attempt(
        job.run_id,
        connection_name,
        _kind(report),
        report.started_at,
        job.account.system,
        job.account.account,
        report.extracted.sync_id if report.extracted else None,
        records=sum(
            records for name, (_, records, _) in report.pages.items() if _is_list(report, name)
        ),
        new_sales=counts["new"] if stored else 0,
        changed_sales=counts["changed"] if stored else 0,
        rejected=counts["rejected"],
        entries=counts["entries"],
        points=counts["points"],
        calls=len(job.calls),
        failed_calls=sum(1 for call in job.calls if call.status == 0 or call.status >= 400),
        throttled=counts["throttled"],
        response_ms=[call.elapsed_ms for call in job.calls],
        error=error,
    )
    _add(job.dsn, made)


def record_refused_attempt(
    dsn: str, run_id: str, connection_name: str, started_at: datetime, error: str
) -> None:
    """Stores a run that could not begin: its connection does not exist, or cannot be used."""
    _add(dsn, Attempt(run_id, connection_name, "poll", started_at, error=error))


def audit_refused(dsn: str, run_id: str, connection_name: str, error: str) -> None:
    """Records a run that could not begin in the audit log.

    Runs that did begin are recorded where their data is stored.
    """
    with suppress(psycopg.Error), connect(dsn) as connection:
        audit.record(
            connection,
            "sync",
            connection_name,
            status="error",
            error=error,
            run_id=run_id,
            details={"began": False},
        )
        connection.commit()


def _add(dsn: str, made: Attempt) -> None:
    with suppress(psycopg.Error), connect(dsn) as connection:
        attempts.add(connection, made)
        connection.commit()


def _kind(report: RunReport) -> Literal["poll", "window", "replay"]:
    if report.job.replay:
        return "replay"
    return "window" if report.job.by_hand else "poll"


def _is_list(report: RunReport, name: str) -> bool:
    return report.extracted is not None and name in report.extracted.streams
