"""Webhooks to look at and a test alert, from Prefect's forms."""

from typing import Any

from prefect.client.orchestration import get_client
from pydantic import SecretStr

from flows.alerts import test_alerts as send_test_alert
from flows.webhook_events import webhook_events
from panel.alerts.automations import BLOCK, alert_document
from panel.alerts.mail import Alerts
from settings import settings
from sql import webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tests.flows.office import Office
from tests.support.books import NOON


def page() -> str:
    """The page "Webhooks" as it is now."""
    wanted = {"artifacts": {"key": {"any_": ["webhook-events"]}}, "limit": 5}
    with get_client(sync_client=True) as client:
        (only,) = client.request("POST", "/artifacts/filter", json=wanted).json()
    return str(only["data"])


def run(**parameters: Any) -> Any:
    return webhook_events(**parameters, return_state=True)


def test_a_parked_webhook_is_shown_and_replayed(office: Office) -> None:
    with connect(office.dsn) as connection:
        made = create_endpoint(connection, NewEndpoint("custom", "custom"))
        event = NewEvent(made.endpoint_no, "id:1", "sale.completed", {}, b"{}", None, NOON)
        webhooks.store_event(connection, event)
        webhooks.claim_events(connection, 1, run_id="r")
        webhooks.park(connection, [1], run_id="r", reason="it holds no document")
        connection.commit()
    shown = run()
    assert shown.is_completed() and shown.message == "1 parked."
    assert "it holds no document" in page()
    assert run(do="replay", event=7).message == "No webhook waits for a replay"
    assert run(do="replay", event=1).message == "1 webhooks are tried again"
    assert "**1 waiting.**" in page() and "it holds no document" in page()  # why at first


def test_a_test_event_says_what_is_missing(office: Office) -> None:
    assert "name the connection" in run(do="send a test event").message
    absent = run(do="send a test event", connection="custom")
    assert absent.is_failed() and "no webhook address" in absent.message
    with connect(office.dsn) as connection:
        create_endpoint(connection, NewEndpoint("xero", "xero"))
        made = create_endpoint(connection, NewEndpoint("custom", "custom"))
        connection.commit()
    assert "only xero itself can sign" in run(do="send a test event", connection="xero").message
    assert "no secret" in run(do="send a test event", connection="custom").message
    with connect(office.dsn) as connection:
        webhooks.add_secret(
            connection,
            made.endpoint_no,
            "whsec_" + "a" * 32,
            settings().fernet_key(),
            overlap_seconds=0,
        )
        connection.commit()
    away = run(do="send a test event", connection="custom")
    assert away.is_failed() and "does not answer" in away.message


def test_a_test_alert_says_whether_it_went_out(office: Office) -> None:
    with get_client(sync_client=True) as client:
        assert alert_document(client) is None
    nobody: Any = send_test_alert(return_state=True)
    assert nobody.is_failed() and "reach nobody yet" in nobody.message
    Alerts(webhook_url=SecretStr("http://127.0.0.1:9/hook")).save(BLOCK)  # type: ignore[unused-coroutine]
    try:
        away: Any = send_test_alert(return_state=True)
        assert away.is_failed() and "webhook (URLError)" in away.message
    finally:
        Alerts.delete(BLOCK)
