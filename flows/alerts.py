"""Looks for what nobody has complained about yet, and keeps the alerts in order."""

import asyncio
import inspect
from typing import Any

import psycopg
from prefect import flow, get_run_logger
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from panel.alerts.automations import alert_document, ensure_automations
from panel.alerts.checks import due_alerts, now_utc
from panel.alerts.events import emit_alert
from panel.alerts.mail import Alerts, AlertsNotSentError
from panel.alerts.reach import FORM
from settings import settings
from tasks.database_errors import without_row_data


@flow(name="test-alerts", flow_run_name="test alert", persist_result=False, retries=0)
def test_alerts() -> State[Any]:
    """Send a test alert to the address in the block `alerts`, and say whether it went out."""
    with get_client(sync_client=True) as client:
        document = alert_document(client)
    if document is None:
        return Failed(
            message=f"Alerts reach nobody yet: create a block named alerts ({settings().ui_url}"
            f"{FORM}), then start this again"
        )
    try:
        block = Block.load(f"{document['block_type']['slug']}/{document['name']}")
        sent = _send(block)
    except Exception as error:  # noqa: BLE001 - blocks of others raise what they like
        # The text of others' errors may quote an address, which is a secret.
        why = str(error) if isinstance(error, AlertsNotSentError) else type(error).__name__
        return Failed(message=f"The test alert failed: {why}. Correct the block alerts")
    return Completed(message=f"The test alert was sent: {sent}. Look whether it has arrived")


def _send(block: Any) -> str:
    subject, body = "Twezah: test alert", "This is a test. Nothing is wrong."
    if isinstance(block, Alerts):
        return ", ".join(block.send(body, subject))
    notified = block.notify(body, subject)
    if inspect.isawaitable(notified):
        asyncio.run(_awaited(notified))
    return str(block._block_type_name)  # noqa: SLF001


async def _awaited(notified: Any) -> None:
    await notified


@flow(
    name="check-alerts",
    flow_run_name="check-alerts",
    persist_result=False,
    retries=0,
    timeout_seconds=300,
)
def check_alerts() -> State[Any]:
    """Look for API keys and consents that end soon, and for what does not get through.

    That is: webhooks that pile up, an app that hears nothing, and corrections that were refused.
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
