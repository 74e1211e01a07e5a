"""Weekly: are the promises kept, and what grows?"""

from typing import Annotated, Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from settings import DatabaseNotRunning, settings
from tasks.database_errors import without_row_data
from tasks.maintain import maintain, page


@changing_flow(name="maintenance", flow_run_name="maintenance")
def maintenance(
    keep_days: Annotated[int, Field(ge=7, le=3650)] | None = None, dry_run: bool = False
) -> State[Any]:
    """Check the ledger and the audit log, renew the database's statistics, remove what is too old.

    It checks that points posted are points due, and that the audit log is whole.

    How long each kind of data is kept is in the settings (docs/privacy.md). Sales, entries, rejects
    and the audit log are never deleted. The run fails if a promise does not hold.

    Args:
        keep_days: Runs that ended longer ago are deleted from this UI, with their logs and reports.
            Empty: as TWEZAH_KEEP_RUNS_DAYS says.
        dry_run: Only look.
    """
    try:
        with without_row_data():
            run_id = str(flow_run.id or uuid4())
            maintained = maintain(settings(), run_id, keep_days=keep_days, dry_run=dry_run)
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    summary = maintained.to_text(dry_run=dry_run)
    create_markdown_artifact(
        key="maintenance", markdown=page(maintained, summary), description=summary[:200]
    )
    get_run_logger().info(summary)
    if maintained.ok:
        return Completed(message=summary)
    return Failed(
        message=(
            f"{summary}. Points: run recompute-points. Audit log: docs/audit.md says what to do."
        )
    )
