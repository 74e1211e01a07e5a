"""The main job: one billing system's sales become points."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, State

from sql import sync
from tasks import steps
from tasks.blocks import BillingConnection, SystemName, load_block
from tasks.job import Job, Policy
from tasks.report import RunReport, markdown
from twezah.settings import settings

#: How long a run waits for another one of the same account to end.
WAIT_SECONDS = 600
T = TypeVar("T")


@flow(name="sync-system", flow_run_name="sync {system}", persist_result=False, retries=0)
def sync_system(
    system: SystemName, since: datetime | None = None, until: datetime | None = None, dry_run: bool = False
) -> State[Any]:
    """Bring the sales of one billing system into the points ledger.

    Running it again, twice at once, or after a crash never counts a sale twice: points are recomputed from the stored history
    and only the difference is posted.

    Args:
        system: The billing system; it must be connected (a block of the same name).
        since: Read changes from this time on. Empty: from where the last run ended.
        until: Read changes up to this time. With `since` or `until` the cursor does not move.
        dry_run: Fetch, map, validate and compute everything, report it, and keep nothing.
    """
    block = load_block(system)
    job = _job(block, since, until, dry_run=dry_run)
    report = RunReport(job, datetime.now(UTC))
    try:
        run_job(report)
    except Exception as error:
        report.error = f"{type(error).__name__}: {error}"
        if not dry_run:
            sync.fail(job.dsn, job.run_id, report.error)
        raise
    finally:
        create_markdown_artifact(
            key=f"sync-{system}",
            markdown=markdown(report, settings().ui_url, job.spec.title),
            description=report.error or report.headline(),
        )
    return Completed(message=report.headline())


def run_job(report: RunReport) -> None:
    """The three steps of one synchronisation, alone on its account; `report` is filled as they go.

    Raises what the steps raise: ConnectorError, TooManyRejectsError, psycopg.Error; SyncBusyError.
    """
    job, logger = report.job, get_run_logger()
    with sync.exclusive(job.dsn, job.account, wait_seconds=WAIT_SECONDS), job.scope():
        report.extracted = _timed(report, "extract", lambda: steps.extract(job))
        with job.transaction() as connection:
            report.pages = sync.page_counts(connection, report.extracted.sync_id)
        logger.info("fetched %d pages in %d calls", sum(p for p, _, _ in report.pages.values()), len(job.calls))
        extracted = report.extracted
        report.loaded = _timed(report, "load", lambda: steps.load(job, extracted))
        for reason, count in report.loaded.reasons.most_common(5):
            logger.warning("rejected %d: %s", count, reason)
        report.awarded = _timed(report, "award", lambda: steps.award(job, extracted.sync_id))
        logger.info(report.headline())
        with job.transaction() as connection:
            sync.set_summary(connection, extracted.sync_id, report.summary())
            job.commit(connection)


def _timed(report: RunReport, step: str, do: Callable[[], T]) -> T:
    started = time.monotonic()
    try:
        return do()
    finally:
        report.seconds[step] = time.monotonic() - started


def _job(block: BillingConnection, since: datetime | None, until: datetime | None, *, dry_run: bool) -> Job:
    policy = Policy(
        overlap=timedelta(minutes=block.overlap_minutes),
        reject_percent_max=block.reject_percent_max,
        reject_records_min=block.reject_records_min,
    )
    own = settings()
    return Job(
        own.dsn(),
        block.connection(),
        key=own.fernet_key(),
        run_id=str(flow_run.id or uuid4()),
        policy=policy,
        since=_utc(since),
        until=_utc(until),
        dry_run=dry_run,
    )


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
