"""What happens to a sale: extract, load, award. `synchronise(job)` is the one way through.

    extract   the vendor's pages -> raw pages in the database, and the same pages mapped (Extracted)
    load      mapped pages -> invoices, rejects, moved cursors, marked members (Loaded)
    award     marked members -> entries in the points ledger (Awarded)

Flows, tests and benchmarks call the functions of this module and nothing below it, so that what is
tested and measured is what runs. Inside a flow run each step is a Prefect task, seen and retried in
the UI; elsewhere the same function is called as it is, without a server. Frames and jobs pass in
process and are never stored or hashed.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

from prefect import get_run_logger
from prefect.context import FlowRunContext

from connectors.kit.errors import ConnectorError
from sql import postings, sync
from tasks.award.members import Awarded, award_members, award_only
from tasks.database_errors import without_row_data
from tasks.extract.pages import Extracted, extract_pages, replay_pages
from tasks.job import Job
from tasks.load.invoices import Loaded, StoreTransaction, load_pages
from tasks.load.retry_rejects import load_and_retry
from tasks.run_report import RunReport, changes_line, times_lines
from tasks.steps import step

#: How long a run waits for another one of the same account to end.
WAIT_SECONDS: Final = 600
#: Reasons for rejects that are logged.
_REASONS_LOGGED: Final = 5


def synchronise(job: Job, report: RunReport | None = None) -> RunReport:
    """Brings the sales that `job` asks for into the ledger, alone on its account.

    `report` is filled as the steps go, so that a failed run reports as much as it can; without one
    a new one is begun. Returns it.

    Raises what the steps raise: ConnectorError, TooManyRejectsError, psycopg.Error; SyncBusyError.
    """
    report = report or RunReport(job, datetime.now(UTC))
    with sync.exclusive(job.dsn, job.account, wait_seconds=WAIT_SECONDS), job.scope():
        # 1. The vendor's answers are stored as they came, and mapped.
        extracted = _run_step(report, "extract", extract, job)
        report.extracted = extracted
        with closing(extracted):
            _count_pages(report, extracted)
            # 2. Sales are stored or rejected; their members are marked.
            report.loaded = _run_step(report, "load", load, job, extracted)
        _log_loaded(report.loaded)
        # 3. Marked members get the points that they are due and do not have yet.
        report.awarded = _run_step(report, "award", award, job, extracted.sync_id)
        with job.transaction() as connection:
            # A dry run keeps nothing, so it says only what it would post itself.
            report.posted = postings.report(
                connection, job.account, job.run_id, others=not job.dry_run
            )
            sync.set_summary(connection, extracted.sync_id, report.summary())
            job.commit(connection)
        _logger().info(report.headline())
    return report


@step("extract")
def extract(job: Job) -> Extracted:
    """Fetch every page and store it as received; in a replay, take the pages that are stored."""
    with without_row_data():
        try:
            return read(job)
        except ConnectorError as error:
            raise error.of_block(job.vendor.name or job.vendor.system) from error.__cause__


@step("load", retry_when_busy=True)
def load(job: Job, extracted: Extracted) -> Loaded:
    """Map, validate and store the invoices; move the cursor; try open rejects again."""
    with without_row_data():
        return load_and_retry(job, extracted)


@step("award", retry_when_busy=True)
def award(job: Job, sync_id: int) -> Awarded:
    """Post the points of every member whose history changed."""
    with without_row_data():
        return award_members(job, sync_id)


def read(job: Job) -> Extracted:
    """The pages that the job asks for: the vendor's, or in a replay those that are stored.

    Raises ConnectorError.
    """
    if job.replay:
        return replay_pages(job, StoreTransaction)
    return extract_pages(job, StoreTransaction)


def load_announced(job: Job, sync_id: int, extracted: Extracted) -> tuple[Loaded, Awarded]:
    """Loads what webhooks announced, and awards the members it concerns and no others.

    Raises TooManyRejectsError, psycopg.Error.
    """
    with closing(extracted):
        loaded = load_pages(job, extracted)
    return loaded, award_only(job, sync_id, sorted(loaded.stored.members))


def _run_step(report: RunReport, name: str, step: Any, *arguments: Any) -> Any:
    """Runs a step and notes its seconds: a task run within a flow run, else a plain call."""
    call: Callable[..., Any] = step if FlowRunContext.get() is not None else step.fn
    started = time.monotonic()
    try:
        return call(*arguments)
    finally:
        report.seconds[name] = time.monotonic() - started


def _count_pages(report: RunReport, extracted: Extracted) -> None:
    job = report.job
    with job.transaction() as connection:
        report.pages = sync.page_counts(connection, extracted.sync_id)
    lists = {name: counts for name, counts in report.pages.items() if name in extracted.streams}
    records, pages = (sum(counts[at] for counts in lists.values()) for at in (1, 0))
    _logger().info("fetched %d records on %d pages, %d calls", records, pages, len(job.calls))
    if extracted.changes:
        _logger().warning(changes_line(extracted.changes))
    if extracted.stored_since is not None:
        _logger().warning(
            "only pages fetched since %s are still stored (docs/privacy.md)",
            extracted.stored_since.isoformat(timespec="seconds"),
        )


def _log_loaded(loaded: Loaded) -> None:
    if loaded.tried_again:
        _logger().info("tried %d earlier rejects again", loaded.tried_again)
    for reason, count in loaded.reasons.most_common(_REASONS_LOGGED):
        _logger().warning("rejected %d: %s", count, reason)
    for line in times_lines(loaded):
        _logger().warning(line)


def _logger() -> Any:
    """The run's log within a flow run; elsewhere the module's."""
    return logging.getLogger(__name__) if FlowRunContext.get() is None else get_run_logger()
