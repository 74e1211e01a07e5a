"""The main job: one billing system's sales become points."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from prefect.utilities.timeout import timeout

from connectors.kit.errors import ConnectorError, block_name
from panel.alerts.checks import corrections_refused, reject_ratio
from panel.alerts.events import emit_alert
from panel.blocks import BillingConnection, NotConnectedError
from panel.blocks.connected import load_block
from panel.blocks.settings_check import check_settings
from panel.connect.subscriptions import keep_subscribed
from panel.pages.refresh import after_a_run
from panel.reports.sync_run import Links, markdown, summary_line
from panel.runs.attempt_record import audit_refused, record_attempt, record_refused_attempt
from panel.runs.error_advice import TookTooLongError, describe_error, is_expected
from panel.runs.refused_state import refused_state
from panel.runs.sync_progress import sync_progress
from settings import DatabaseNotRunning, settings
from sql import refused as refusals
from sql import sync
from tasks.job import Job, Policy
from tasks.load.invoices import TooManyRejectsError
from tasks.run_report import RunReport
from tasks.sync import synchronise

#: A run that takes longer is ended, so that those behind it get their turn. A backfill goes on
#: where it was with the next.
SECONDS_MAX = 6 * 3600
#: Failures with a message for whoever must act; anything else is a defect and keeps its traceback.
EXPECTED = (ConnectorError, TooManyRejectsError, sync.SyncBusyError)


@flow(
    name="sync-system", flow_run_name="sync {system}", persist_result=False, retries=0,
    on_completion=[after_a_run], on_failure=[after_a_run],
)  # fmt: skip
def sync_system(
    system: str,
    since: datetime | None = None,
    until: datetime | None = None,
    dry_run: bool = False,
    replay: bool = False,
    rejects: bool = False,
) -> State[Any]:
    """Bring the sales of one billing system into the points ledger.

    Running it again, twice at once, or after a crash never counts a sale twice: points are
    recomputed from the stored history and only the difference is posted.

    Args:
        system: The connection, by the name of its block: quickbooks, xero, freshbooks, netsuite,
            sage-intacct, custom, file, or what a further one was called.
        since: Read changes from this time on. Empty: from where the last run ended.
        until: Read changes up to this time. With `since` or `until` the cursor does not move.
        dry_run: Fetch, map, validate and compute everything, report it, and keep nothing.
        replay: Do not ask the billing system: map the pages that were stored from `since` to
            `until` again, with the field mapping of now. After a correction of the mapping, this
            corrects the sales that were read with the old one.
        rejects: Do not ask the billing system: try all records that are rejected again, whenever
            they were read. (Every run does so by itself once the mapping has changed or a missing
            phone is there.)
    """
    begun = _begin(system, since, until, dry_run=dry_run, replay=replay, rejects=rejects)
    if isinstance(begun, State):
        if not dry_run:
            with suppress(DatabaseNotRunning):
                audit_refused(
                    settings().dsn(),
                    str(flow_run.id or uuid4()),
                    block_name(system),
                    begun.message or "",
                )
        return begun
    block, job = begun
    report = RunReport(job, datetime.now(UTC))
    try:
        with timeout(SECONDS_MAX, TookTooLongError), sync_progress(report, block.name):
            synchronise(job, report)
    except Exception as error:
        report.error = error
        if isinstance(error, TooManyRejectsError):
            report.loaded = error.loaded
        if not dry_run:
            with suppress(psycopg.Error):  # the database may be what failed
                sync.fail(job.dsn, job.run_id, describe_error(error))
        if not isinstance(error, EXPECTED) and not is_expected(error):
            _publish(report, block)
            raise
    if report.error is None and not dry_run and not job.replay:
        report.subscription = keep_subscribed(block, settings(), job.run_id)
        if report.subscription:
            get_run_logger().warning("webhooks: %s", report.subscription)
    _publish(report, block)
    if report.error is not None:
        get_run_logger().error(describe_error(report.error))
        return Failed(message=describe_error(report.error))
    _tell_of_rejects(report, block)
    return Completed(message=report.headline())


def _begin(
    system: str,
    since: datetime | None,
    until: datetime | None,
    *,
    dry_run: bool,
    replay: bool,
    rejects: bool,
) -> tuple[BillingConnection, Job] | State[Any]:
    """The connection and the job, or the end of a run that cannot begin."""
    started_at = datetime.now(UTC)
    if wrong := _wrong_request(utc(since), utc(until), replay=replay, rejects=rejects):
        return refused_state(wrong)
    try:
        block = load_block(system)
    except NotConnectedError as error:
        if not _is_own_deployments(system):
            return refused_state(str(error).rstrip("."))
        return _refused(system, started_at, describe_error(error), dry_run=dry_run)
    try:
        return block, job_of(block, since, until, dry_run=dry_run, replay=replay, rejects=rejects)
    except ConnectorError as error:  # settings that cannot work as they are
        return _refused(
            block.name, started_at, describe_error(error.of_block(block.name)), dry_run=dry_run
        )
    except DatabaseNotRunning as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")


def _wrong_request(
    since: datetime | None, until: datetime | None, *, replay: bool, rejects: bool
) -> str | None:
    """Why a request is refused that cannot be meant; None if it can be."""
    if replay and rejects:
        return '"replay" and "rejects" are two things: choose one'
    if since is not None and until is not None and since >= until:
        return not_before(since, until)
    if since is not None and since > datetime.now(UTC) + timedelta(days=1):
        return f"since ({since:%Y-%m-%d %H:%M}) is in the future"
    return None


def not_before(since: datetime, until: datetime) -> str:
    """Why a period is refused whose beginning is not before its end."""
    return f"since ({since:%Y-%m-%d %H:%M}) is not before until ({until:%Y-%m-%d %H:%M})"


def _is_own_deployments(system: str) -> bool:
    """Whether this is the run of a deployment, so that nobody mistyped the name of the block.

    That is a run by schedule, or one started without other values.
    """
    return deployment.name is None or deployment.name == f"sync-{block_name(system)}"


def _tell_of_rejects(report: RunReport, block: BillingConnection) -> None:
    if report.loaded is None or report.job.dry_run:
        return
    policy, link = report.job.policy, f"{settings().ui_url}/runs/flow-run/{report.job.run_id}"
    event = reject_ratio(
        block_name(block.name), report.loaded.accepted, report.loaded.rejected,
        limit_percent=policy.reject_percent_max, fewest=policy.reject_records_min, link=link,
    )  # fmt: skip
    if event is not None:
        emit_alert(event)
    for refusal in corrections_refused(report.corrections, link):
        emit_alert(refusal)


def _refused(name: str, started_at: datetime, error: str, *, dry_run: bool) -> State[Any]:
    """The state of a run that cannot begin; it counts as a failure in the rate of success."""
    with suppress(DatabaseNotRunning):
        if dry_run:
            return Failed(message=error)
        record_refused_attempt(
            settings().dsn(), str(flow_run.id or uuid4()), block_name(name), started_at, error
        )
    return Failed(message=error)


def _told(error: Exception | None) -> str | None:
    """What the pages say about a failure; None if there was none.

    The text of a defect may quote anything, so it stays in the run's log.
    """
    if error is None or isinstance(error, EXPECTED) or is_expected(error):
        return None if error is None else describe_error(error)
    return f"{type(error).__name__}: a defect; report it with the log of the run"


def _publish(report: RunReport, block: BillingConnection) -> None:
    record_attempt(report, block.name, _told(report.error))
    # The database may be what failed.
    with suppress(psycopg.Error), report.job.aside() as connection:
        report.corrections = refusals.open_corrections(connection, report.job.account)
    ui = settings().ui_url
    run = f"{ui}/runs/flow-run/{report.job.run_id}"
    document = block._block_document_id  # noqa: SLF001
    links = Links(run, f"{ui}/blocks/block/{document}", block.name)
    try:
        create_markdown_artifact(
            key=f"sync-{block_name(block.name)}",
            markdown=markdown(report, links, report.job.spec.title),
            description=summary_line(report),
        )
    except Exception as error:  # noqa: BLE001 - the work is done, and counted in billing.sync_run
        get_run_logger().warning("The report could not be published: %s", type(error).__name__)


def job_of(
    block: BillingConnection,
    since: datetime | None,
    until: datetime | None,
    *,
    dry_run: bool,
    replay: bool,
    rejects: bool,
) -> Job:
    """One synchronisation of a connection, as its block says."""
    check_settings(block)
    policy = Policy(
        overlap=timedelta(minutes=block.overlap_minutes),
        reject_percent_max=block.reject_percent_max,
        reject_records_min=block.reject_records_min,
        award=block.award_policy(),
    )
    config = settings()
    return Job(
        config.dsn(),
        block.connection(),
        key=config.fernet_key(),
        run_id=str(flow_run.id or uuid4()),
        policy=policy,
        since=utc(since),
        until=utc(until),
        dry_run=dry_run,
        replay=replay,
        rejects=rejects,
    )


def utc(moment: datetime | None) -> datetime | None:
    """A time from a form; without a zone it is UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
