"""Weekly: are the promises kept, and what grows?"""

from typing import Annotated, Any

import psycopg
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error as named
from settings import DatabaseNotRunning, settings
from tasks.maintain import maintain, page
from tasks.steps import without_row_data


@changing_flow(name="maintenance", flow_run_name="maintenance")
def maintenance(
    keep_days: Annotated[int, Field(ge=7, le=3650)] = 90, dry_run: bool = False
) -> State[Any]:
    """Check that points posted are points due and that the audit log is whole, renew the database's statistics, delete old runs.

    Sales, raw pages, entries, rejects and the audit log are never deleted. The run fails if a
    promise does not hold.

    Args:
        keep_days: Runs that ended longer ago are deleted from this UI, with their logs and reports.
        dry_run: Only look.
    """
    try:
        with without_row_data():
            done = maintain(settings().dsn(), keep_days=keep_days, dry_run=dry_run)
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{named(error)} Then press Retry.")
    said = done.to_text(dry_run=dry_run)
    create_markdown_artifact(key="maintenance", markdown=page(done, said), description=said[:200])
    get_run_logger().info(said)
    if done.ok:
        return Completed(message=said)
    return Failed(
        message=f"{said}. Points: run recompute-points. Audit log: docs/audit.md says what to do."
    )
