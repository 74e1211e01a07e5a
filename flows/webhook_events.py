"""Webhooks to look at: the page of them, replay, and a test event."""

import time
from datetime import UTC, datetime
from typing import Any, Final, Literal

import psycopg
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from connectors.kit.described.test_event import NAME
from connectors.kit.errors import block_name
from panel.connect.test_event import NoTestEventError, send_test_event
from panel.pages.refresh import renew_webhooks
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.refused_state import refused_state
from settings import DatabaseNotRunning, settings
from sql import webhooks
from sql.db import connect
from tasks.database_errors import without_row_data

#: How long it is waited for a test event, or for replayed ones.
_WAIT_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.25


@changing_flow(name="webhook-events", flow_run_name="webhooks: {do}")
def webhook_events(
    do: Literal["show", "replay", "send a test event"] = "show",
    connection: str = "",
    event: int | None = None,
) -> State[Any]:
    """Show what arrived by webhook and what it became; replay it; send a test event.

    The page is /artifacts/key/webhook-events.

    Args:
        do: show: renew the page. replay: parked and failed webhooks are tried again at once; do so
            after you have corrected the cause. send a test event: a signed one, by HTTP, to the
            address of a custom or push only connection; it becomes nothing, and the message says
            whether it was accepted and read.
        connection: The connection's name. Replay: empty means all. Needed for a test event.
        event: Replay only the webhook with this number.
    """
    config = settings()
    try:
        with without_row_data():
            if do == "send a test event":
                if not connection:
                    return refused_state("name the connection that a test event is to be sent to")
                result = _tested(block_name(connection))
            elif do == "replay":
                result = Completed(message=_replayed(config.dsn(), connection, event))
            else:
                result = None
            line = renew_webhooks(config)
    except NoTestEventError as error:
        return Failed(message=str(error))
    except (psycopg.Error, DatabaseNotRunning) as error:
        return Failed(message=describe_error(error))
    return result or Completed(message=line)


def _replayed(dsn: str, connection: str, event: int | None) -> str:
    numbers = None if event is None else [event]
    of = block_name(connection) if connection else None
    with connect(dsn) as db:
        count = webhooks.replay(db, event_nos=numbers, of=of)
        db.commit()
        if count:
            webhooks.nudge(db)
            db.commit()
    return f"{count} webhooks are tried again" if count else "No webhook waits for a replay"


def _tested(connection: str) -> State[Any]:
    config = settings()
    sent = send_test_event(config.dsn(), config.fernet_key(), config.http_url, connection)
    if sent.status != 200:
        return Failed(
            message=f"{connection}: the test event was answered with {sent.status}. {sent.advice}"
        )
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        with connect(config.dsn()) as db:
            row = webhooks.first_after(db, sent.endpoint_no, sent.after_no, NAME)
        if row is not None and row.state in ("done", "parked"):
            break
        if time.monotonic() > deadline:
            return Failed(
                message=f"{connection}: the test event was accepted at {datetime.now(UTC):%H:%M} "
                "UTC, and no run has read it yet. Is the worker running (`twezah up`)?"
            )
        time.sleep(_LOOK_SECONDS)
    if row.state == "parked":
        return Failed(message=f"{connection}: the test event cannot be read: {row.reason}")
    return Completed(
        message=f"{connection}: the test event was accepted and read; nothing came of it, as "
        f"is right (webhook {row.event_no})"
    )
