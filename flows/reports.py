"""Reports on schedule: the month-end report."""

from datetime import date
from typing import Annotated, Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from panel.reports.month_end import make, summary
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.refused_state import refused_state
from settings import DatabaseNotRunning, settings
from sql.db import connect
from tasks.database_errors import without_row_data
from tasks.month_report import NotTiedOutError


@changing_flow(name="month-end", flow_run_name="month-end report {month}")
def month_end(
    month: Annotated[str, Field(pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$")] = "",
) -> State[Any]:
    """Write the report of a month as CSV, Parquet and PDF into `reports` of the state folder.

    The points owed when the month began and ended, and what changed them; points never used; sales
    against points per system; the audit log. It is written only if it ties out to the ledger.

    Args:
        month: For example 2026-10. Empty: the last month that has ended.
    """
    config = settings()
    wanted = date.fromisoformat(f"{month}-01") if month else None
    try:
        with without_row_data(), connect(config.dsn()) as connection:
            folder, report = make(connection, config.home, wanted, str(flow_run.id or uuid4()))
    except NotTiedOutError as error:
        return Failed(message=f"No report was made, because it does not tie out: {error}")
    except ValueError as error:
        return refused_state(str(error))
    except OSError as error:
        return Failed(
            message=(
                f"The files could not be written: {error.strerror}. "
                f"Make room under {config.home}, then Retry"
            )
        )
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    message = summary(folder, report)
    get_run_logger().info(message)
    return Completed(message=message)
