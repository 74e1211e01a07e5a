"""Are the books right?

Ours against the billing system's, and points posted against points due; with repair.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from connectors.kit.errors import ConnectorError, block_name
from flows.sync import job_of, not_before, sync_system, utc
from panel.blocks import BillingConnection, NotConnectedError
from panel.blocks.connected import load_block
from panel.reports.reconcile import markdown, points_markdown
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.refused_state import REFUSED, refused_state
from settings import DatabaseNotRunning, settings
from sql import sync
from sql.corrections import CorrectionRefusedError, find_member
from sql.db import connect
from tasks.database_errors import without_row_data
from tasks.reconcile.points_due import PointsCheck, TooManyPointsError, check_points, recompute
from tasks.reconcile.vendor import Reconciled, listed_since, reconcile_vendor
from tasks.sync import WAIT_SECONDS

#: The days compared where none are named.
DAYS = 30
#: Failures with a message for whoever must act; anything else is a defect.
EXPECTED = (ConnectorError, sync.SyncBusyError, psycopg.OperationalError, DatabaseNotRunning)


@changing_flow(name="reconcile", flow_run_name="reconcile {system}")
def reconcile(
    system: str,
    since: datetime | None = None,
    until: datetime | None = None,
    repair: bool = False,
    confirm_points: int = 0,
) -> State[Any]:
    """Compare our books with the billing system's, and points posted with points due.

    Documents are compared per day and one by one.

    Without *repair* nothing is changed. With it, what differs is read again and points are computed
    again: only differences are posted, so that it can be repeated.

    Args:
        system: The connection, by the name of its block.
        since: First day to compare. Empty: thirty days ago.
        until: Up to before this time. Empty: now.
        repair: Correct what reading again, and computing again, corrects.
        confirm_points: With repair: agree to a change of so many points, where it is above the
            limit.
    """
    try:
        block = load_block(system)
    except NotConnectedError as error:
        return refused_state(str(error).rstrip("."))
    begin = utc(since) or datetime.now(UTC) - timedelta(days=DAYS)
    end = utc(until) or datetime.now(UTC)
    if begin >= end:
        return refused_state(not_before(begin, end))
    try:
        return _compared(block, begin, end, repair=repair, confirm=confirm_points)
    except TooManyPointsError as error:
        return Failed(message=f"Documents are corrected, points are not: {error}")
    except EXPECTED as error:
        if isinstance(error, ConnectorError):
            error = error.of_block(block.name)
        return Failed(
            message=f"{describe_error(error)} Nothing that was posted is lost; then press Retry."
        )


def _compared(
    block: BillingConnection, begin: datetime, end: datetime, *, repair: bool, confirm: int
) -> State[Any]:
    books, points = _look(block, begin, end)
    _publish(
        block,
        begin,
        end,
        books,
        points,
        "as it was found" if repair else "looked at, nothing changed",
    )
    if not repair or not (books.repairable or points.members):
        return Completed(message=_said(books, points))
    if books.repairable:
        state = sync_system.fn(block.name, since=listed_since(begin))
        if state.is_failed():
            return Failed(
                message=(
                    f"The differences are in the artifact; reading again failed: {state.message}"
                )
            )
    with without_row_data():
        recompute(settings().dsn(), _run_id(), dry_run=False, confirm=confirm)
    books, points = _look(block, begin, end)
    _publish(block, begin, end, books, points, "after the repair")
    left = books.repairable or points.members
    return (Failed if left else Completed)(message=f"Repaired. Now: {_said(books, points)}")


@changing_flow(name="recompute-points", flow_run_name="recompute points")
def recompute_points(
    member: int | None = None,
    dry_run: bool = True,
    confirm_points: int = 0,
) -> State[Any]:
    """Compute points again from the stored sales, and post what differs from the ledger.

    Each sale is computed by the rules of its time.

    Normally nothing does: every run posts what it changed. To change the rules for the past, use
    *program*.

    Args:
        member: Only this member, by number. Empty: all.
        dry_run: Only say what would be posted. Switch it off to post it.
        confirm_points: Agree to a change of so many points, where it is above the limit.
    """
    try:
        with without_row_data(), connect(settings().dsn()) as connection:
            if member is not None:
                find_member(connection, member)
        with without_row_data():
            check, awarded = recompute(
                settings().dsn(),
                _run_id(),
                None if member is None else [member],
                dry_run=dry_run,
                confirm=confirm_points,
            )
    except CorrectionRefusedError as error:
        return refused_state(str(error))
    except TooManyPointsError as error:
        return Failed(name=REFUSED, message=f"Not posted: {error}")
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    posted = (
        "Nothing posted"
        if dry_run
        else f"{awarded.entries} entries posted, {awarded.points:+d} points{awarded.beside_sales()}"
    )
    message = f"{posted}: {check.to_text()}"
    create_markdown_artifact(
        key="recompute-points",
        markdown=f"# {posted}\n\n{points_markdown(check)}",
        description=message[:200],
    )
    get_run_logger().info(message)
    return Completed(message=message)


def _look(
    block: BillingConnection, since: datetime, until: datetime
) -> tuple[Reconciled, PointsCheck]:
    job = job_of(block, listed_since(since), None, dry_run=True, replay=False, rejects=False)
    with without_row_data(), sync.exclusive(job.dsn, job.account, wait_seconds=WAIT_SECONDS):
        books = reconcile_vendor(job, since, until)
    with without_row_data():
        return books, check_points(job.dsn)


def _publish(
    block: BillingConnection,
    since: datetime,
    until: datetime,
    books: Reconciled,
    points: PointsCheck,
    when: str,
) -> None:
    text = markdown(block.name, since, until, books, points, when)
    summary = _said(books, points)
    create_markdown_artifact(
        key=f"reconcile-{block_name(block.name)}", markdown=text, description=summary[:200]
    )
    get_run_logger().info("%s: %s", when, summary)


def _said(books: Reconciled, points: PointsCheck) -> str:
    return f"{books.to_text()}; {points.to_text()}"


def _run_id() -> str:
    return str(flow_run.id or uuid4())
