"""The pages of Prefect's UI about all connections: renewed on a schedule, and after every run of a connection."""

from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.pages.publish import prune
from tasks.pages.refresh import refresh
from twezah.settings import DatabaseNotRunning, settings


@flow(name="pages", flow_run_name="pages", persist_result=False, retries=0, timeout_seconds=120)
def renew_pages() -> State[Any]:
    """Renew the pages "Billing systems" and "Sync status", and delete versions of reports that nobody reads any more.

    It runs by itself; start it by hand to see the present at once.
    """
    try:
        done = refresh(settings())
    except (psycopg.Error, DatabaseNotRunning) as error:
        return Failed(
            message=f"The database could not be used: {error}. Nothing to correct here; it tries again by itself."
        )
    with get_client(sync_client=True) as client:
        deleted = prune(client)
    get_run_logger().info("%s %s %d old reports deleted; %.2f s", done.systems, done.status, deleted, done.seconds)
    return Completed(message=done.systems)
