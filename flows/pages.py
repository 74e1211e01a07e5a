"""Renews the pages of Prefect's UI about all accounts, and tidies up there, on a schedule."""

from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panel.connect.webhook_address import adopt_block_secrets
from panel.pages import guides
from panel.pages.publish import prune
from panel.pages.refresh import refresh
from settings import PROJECT_ROOT, DatabaseNotRunning, settings
from tasks.database_errors import without_row_data


@flow(name="pages", flow_run_name="pages", persist_result=False, retries=0, timeout_seconds=120)
def renew_pages() -> State[Any]:
    """Renew the pages "Billing systems" and "Sync status" and the guides.

    It also takes new webhook secrets from the blocks and deletes old versions of reports.

    It runs by itself; start it by hand to see the present at once.
    """
    config, logger = settings(), get_run_logger()
    try:
        with without_row_data():
            for line in adopt_block_secrets(config.dsn(), config.fernet_key()):
                logger.info(line)
        with get_client(sync_client=True) as client:
            guides.renew(client, PROJECT_ROOT / "docs")
        refreshed = refresh(config)
    except (psycopg.Error, DatabaseNotRunning) as error:
        return Failed(
            message=(
                f"The database could not be used: {error}. "
                "Nothing to correct here; it tries again by itself."
            )
        )
    with get_client(sync_client=True) as client:
        deleted = prune(client)
    logger.info(
        "%s %s %d old reports deleted; %.2f s",
        refreshed.systems,
        refreshed.status,
        deleted,
        refreshed.seconds,
    )
    return Completed(message=refreshed.systems)
