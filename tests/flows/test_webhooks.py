"""The run that awards webhooks, in Prefect: connections from blocks, a report, a state that says what came of it."""

import json
from datetime import UTC, datetime

from prefect.client.orchestration import get_client

from flows.webhooks import award_webhooks
from sql import webhooks
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tests.flows.office import Office


def test_a_run_awards_what_came_in_and_reports(office: Office) -> None:
    """A whole document, an id to be fetched from QuickBooks, one event for its other company, and one that is parked."""
    sale = next(
        one
        for one in office.vendors.world.truth()
        if one.system == "quickbooks"
        and one.kind == "invoice"
        and one.status == "paid"
        and one.phone_e164
    )
    whole = {
        "id": "s1",
        "customer": {"id": "c", "phone": "+244 923 456 789"},
        "total": "150.00",
        "issued_on": "2026-01-02",
    }
    entity = {
        "name": "Invoice",
        "id": sale.external_id,
        "operation": "Update",
        "lastUpdated": "2026-01-01T00:00:00Z",
    }
    bodies = [
        ("custom", {"type": "sale.completed", "data": whole}),
        ("custom", {"type": "sale.completed", "data": {"amount": "nothing usable"}}),
        ("quickbooks", {"eventNotifications": [{"realmId": sale.account, "dataChangeEvent": {"entities": [entity]}}]}),
        ("quickbooks", {"eventNotifications": [{"realmId": "77", "dataChangeEvent": {"entities": [entity]}}]}),
    ]  # fmt: skip
    with connect(office.dsn) as connection:
        made = {
            system: create_endpoint(connection, NewEndpoint(system, system)).endpoint_no
            for system in ("custom", "quickbooks")
        }
        for number, (system, body) in enumerate(bodies):
            event = NewEvent(
                made[system],
                f"id:{number}",
                "test",
                {},
                json.dumps(body).encode(),
                None,
                datetime.now(UTC),
            )
            webhooks.store_event(connection, event)
        connection.commit()
    state = award_webhooks(linger_seconds=0, return_state=True)
    assert state.is_completed()
    assert state.message is not None
    assert state.message.startswith("3 webhooks done, 1 parked; 2 new sales, 2 entries")
    assert set(office.points()) == {("custom", "s1"), ("quickbooks", sale.external_id)}
    assert office.rows("SELECT count(*) FROM billing.sync_cursor") == [(0,)]
    wanted = {
        "artifacts": {"key": {"any_": ["webhooks"]}},
        "sort": "CREATED_DESC",
        "limit": 1,
        "offset": 0,
    }
    with get_client(sync_client=True) as client:
        (found,) = client._client.post("/artifacts/filter", json=wanted).json()
    assert "twezah webhooks replay" in found["data"]
    assert office.shown_of(found["data"]) == []
    # Nothing is waiting any more.
    again = award_webhooks(linger_seconds=0, return_state=True)
    assert again.message == "No webhooks were waiting"
