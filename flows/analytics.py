"""Hourly: what analysts read and what is too much to compute at each question."""

from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panel.runs.error_advice import describe_error
from settings import DatabaseNotRunning, settings
from sql.analytics import refresh
from sql.db import connect
from tasks.database_errors import without_row_data


@flow(name="refresh-analytics", flow_run_name="refresh analytics", persist_result=False, retries=0)
def refresh_analytics() -> State[Any]:
    """Make anew what analysts read and what is too much to compute at each question."""
    try:
        with without_row_data(), connect(settings().dsn()) as connection:
            message = refresh(connection)
            connection.commit()
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    get_run_logger().info(message)
    return Completed(message=message)
