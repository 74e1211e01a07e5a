"""Looks for what nobody has complained about yet, and keeps the alerts in order."""

from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panel.alerts.automations import ensure_automations
from panel.alerts.checks import due_alerts, now_utc
from panel.alerts.events import emit_alert
from settings import settings
from tasks.database_errors import without_row_data


@flow(
    name="check-alerts",
    flow_run_name="check-alerts",
    persist_result=False,
    retries=0,
    timeout_seconds=300,
)
def check_alerts() -> State[Any]:
    """Look for API keys and consents that end soon, and for webhooks that pile up.

    What it finds is sent through the block `alerts`.

    It runs by itself. Start it by hand after creating or changing the block `alerts`, or to see
    what it finds.
    """
    changed = ensure_automations()
    try:
        with without_row_data():
            events = due_alerts(settings().dsn(), now_utc())
    except psycopg.Error as error:
        return Failed(
            message=(
                f"The database could not be used: {error}. "
                "Nothing to correct here; it looks again by itself."
            )
        )
    for event in events:
        get_run_logger().warning("%s", event.what)
        emit_alert(event)
    return Completed(
        message=f"{len(events)} things to tell; {len(changed)} alerts created or updated"
    )
