"""Alerts and what goes on by itself, on a real Prefect server: its automations, a local web hook and a local mail server."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event
from prefect.events.schemas.automations import AutomationCore
from prefect.states import Cancelled, Crashed, Pending, Running
from pydantic import SecretStr

from flows.alerts import check_alerts
from flows.sync import sync_system
from panel.alerts import rules
from panel.alerts.automations import BLOCK, automations, ensure_automations
from panel.alerts.mail import EmailAlerts
from sql.db import connect
from sql.keys import create
from tests.flows.office import Office, worked
from tests.flows.worker_fixtures import Prefect, eventually, worker
from tests.support.ports import free_ports
from twezah.stack.run_cleanup import collapse_waiting

TAGS = ["billing"]
#: One light module: the worker is ready sooner.
PRELOAD = "--preload=prefect.flow_engine"
#: What a message is sent about, on a server where no synchronisation has a schedule.
ALERTS = {
    f"Twezah alert: {title}"
    for title in (
        "a run failed",
        "corrections were refused",
        "many rejects",
        "credentials end soon",
        "an API key ends soon",
        "webhooks pile up",
        "the loyalty app hears nothing",
    )
}
#: What lets runs go on; nobody is sent a message.
CONTINUING = {
    "Twezah: a run whose process died goes on",
    "Twezah: a run that has fallen silent has died",
    "Twezah: a run that does not begin has died",
}


class Receiver:
    """What arrived at a local web hook."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def block(self) -> CustomWebhookNotificationBlock:
        data = {"subject": "{{subject}}", "body": "{{body}}"}
        return CustomWebhookNotificationBlock(name="local", url=self.url, json_data=data)


class Mails(Message):
    """What arrived at a local mail server."""

    def __init__(self) -> None:
        super().__init__(EmailMessage)
        self.mails: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(office: Office) -> Iterator[SyncPrefectClient]:
    """A client of the server, whose automations are gone before and after."""
    with get_client(sync_client=True) as made:
        _clear(made)
        yield made
        _clear(made)


def _clear(client: SyncPrefectClient) -> None:
    for one in automations(client):
        client.delete_automation(one.id)


def _changed() -> set[str]:
    """The names of the automations that were created or updated, each of them once."""
    names = ensure_automations()
    assert len(names) == len(set(names))
    return set(names)


def _deploy(client: SyncPrefectClient, name: str) -> UUID:
    return client.create_deployment(
        client.create_flow(sync_system), name, tags=TAGS, concurrency_limit=1
    )


def _run(client: SyncPrefectClient, deployment: UUID, **parameters: Any) -> FlowRun:
    return client.create_flow_run_from_deployment(
        deployment, parameters={"system": "xero", **parameters}
    )


def test_broken_credentials_are_told_once_with_what_to_do_and_nothing_secret(
    office: Office, client: SyncPrefectClient, receiver: Receiver
) -> None:
    deployment = _deploy(client, "sync-xero")
    # Without a block, alerts are in the event feed only.
    assert _changed() == ALERTS | CONTINUING
    receiver.block().save(BLOCK)
    try:
        assert _changed() == ALERTS
        assert ensure_automations() == []
        assert worked(_run(client, deployment)).is_completed()
        office.edit("xero", client_secret=SecretStr("wr0ng-s3cret"))
        failed = [worked(_run(client, deployment)) for _ in range(3)]
        assert all(state.is_failed() for state in failed)
        (message,) = eventually(lambda: receiver.messages or None)
        assert message["subject"] == "Twezah: sync-xero failed"
        assert "CredentialsRejected" in message["body"] and "press Retry" in message["body"]
        assert f"/runs/flow-run/{failed[0].state_details.flow_run_id}" in message["body"]
        assert not office.shown_of(json.dumps(message))

        # Warnings: a parked webhook and a key that ends soon, looked for twice.
        with connect(office.dsn) as connection:
            create(connection, "the shop", ["status:read"], days=10)
            connection.commit()
        for _ in range(2):
            state: Any = check_alerts(return_state=True)
            assert state.message == "1 things to tell; 0 alerts created or updated"
        told = eventually(lambda: receiver.messages[1:] or None)
        assert "twezah keys rotate twz_" in told[0]["body"] and "once a day" in told[0]["body"]
        assert len(receiver.messages) == 2
    finally:
        CustomWebhookNotificationBlock.delete(BLOCK)


def test_a_system_without_success_is_told_of_once(
    office: Office, client: SyncPrefectClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "INTERVALS", 0)
    monkeypatch.setattr(rules, "NO_SUCCESS_MIN", timedelta(seconds=10))
    deployment = _deploy(client, "sync-quiet")
    client.create_deployment_schedules(
        deployment, [(IntervalSchedule(interval=timedelta(hours=1)), True)]
    )
    receiver.block().save(BLOCK)
    try:
        assert "Twezah alert: no success, sync-quiet" in ensure_automations()
        assert worked(_run(client, deployment)).is_completed()
        assert receiver.messages == []
        (message,) = eventually(lambda: receiver.messages or None)
        assert message["subject"].startswith("Twezah: no success of sync-quiet")
        assert "it should every 60" in message["body"] and "Late: no worker runs" in message["body"]
    finally:
        client.delete_deployment(deployment)
        CustomWebhookNotificationBlock.delete(BLOCK)


def test_the_mail_block_sends_and_what_an_operator_edited_stays(
    office: Office, client: SyncPrefectClient
) -> None:
    ensure_automations()
    (edited,) = [one for one in automations(client) if one.name.endswith("a run failed")]
    values = {
        **edited.model_dump(exclude={"id", "owner_resource"}),
        "description": "Mine",
        "enabled": False,
    }
    client.update_automation(edited.id, AutomationCore(**values))
    handler = Mails()
    (port,) = map(int, free_ports(1))
    server = Controller(handler, hostname="127.0.0.1", port=port)
    server.start()
    try:
        EmailAlerts(
            recipients=["ops@example.com"],
            sender="twezah@example.com",
            host="127.0.0.1",
            port=port,
            encryption="none",
        ).save(BLOCK)  # type: ignore[unused-coroutine]
        assert _changed() == ALERTS - {edited.name}
        (mail,) = eventually(lambda: _backlog_told(handler.mails))
        assert mail["Subject"] == "Twezah: webhooks pile up: xero"
        assert "What happened: 9 wait" in mail.get_payload()
        kept = client.read_automation(edited.id)
        assert kept is not None and kept.description == "Mine" and not kept.enabled
    finally:
        server.stop()
        EmailAlerts.delete(BLOCK)


def test_dead_and_silent_runs_go_on_three_times_and_schedules_do_not_pile_up(
    office: Office, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "SILENCE", timedelta(seconds=10))
    deployment, often = _deploy(client, "sync-dead"), _deploy(client, "sync-often")
    client.create_deployment_schedules(
        often, [(IntervalSchedule(interval=timedelta(seconds=1)), True)]
    )
    ensure_automations()
    dead, silent, unbegun = (_run(client, deployment) for _ in range(3))
    client.set_flow_run_state(unbegun.id, Pending(), force=True)
    client.set_flow_run_state(silent.id, Running(), force=True)
    emit_event(
        "prefect.flow-run.heartbeat",
        {"prefect.resource.id": f"prefect.flow-run.{silent.id}"},
        related=[{"prefect.resource.id": "prefect.tag.billing", "prefect.resource.role": "tag"}],
    )
    client.set_flow_run_state(dead.id, Crashed(message="status code: -9"), force=True)
    state = eventually(lambda: _awaiting(client, dead))
    assert "goes on by itself" in str(state.message) and "Retry" in str(state.message)
    assert worked(client.read_flow_run(dead.id)).is_completed()

    by_hand = _run(client, deployment)
    now = eventually(lambda: _three_are_due(client, often))
    assert collapse_waiting(client, now) >= 2
    assert len(_due(client, often, now)) == 1 and collapse_waiting(client, now) == 0
    # (It may be late by now.)
    assert client.read_flow_run(by_hand.id).state_type is StateType.SCHEDULED
    for run in (silent, unbegun):
        eventually(lambda run=run: _awaiting(client, run))  # type: ignore[misc]


def test_a_run_goes_on_after_kill_9_of_its_process_and_of_its_worker(
    client: SyncPrefectClient, worker_prefect: Prefect
) -> None:
    """A worker takes up what awaits a retry: the first half shows it."""
    client.update_deployment(worker_prefect.deployments["sleep"], DeploymentUpdate(tags=TAGS))
    ensure_automations()
    with worker(worker_prefect, "mortal", PRELOAD) as (server, _):
        run = worker_prefect.submit("mortal", "sleep", seconds=60)
        first = eventually(lambda: worker_prefect.pid(run))
        os.kill(first, signal.SIGKILL)
        eventually(lambda: _other(worker_prefect, run, first))
        server.kill()
        server.wait()
        run_of_it = client.read_flow_run(run)
        assert run_of_it.run_count == 2
        assert "goes on by itself" in str(eventually(lambda: _awaiting(client, run_of_it)).message)
    client.set_flow_run_state(run, Cancelled(), force=True)
    client.update_deployment(worker_prefect.deployments["sleep"], DeploymentUpdate(tags=[]))


def _backlog_told(mails: list[Any]) -> list[Any] | None:
    """Tells of a backlog and what came of it: the server takes up changed automations a little later than it says so."""
    emit_event(
        "twezah.webhooks.backlog",
        {"prefect.resource.id": "twezah.webhooks.backlog.xero"},
        payload={"about": "xero", "what": "9 wait", "todo": "Look.", "link": "http://127.0.0.1/x"},
    )
    time.sleep(1)
    return mails or None


def _other(prefect: Prefect, run: UUID, pid: int) -> int | None:
    return found if (found := prefect.pid(run)) != pid else None


def _awaiting(client: SyncPrefectClient, run: FlowRun) -> Any:
    state = client.read_flow_run(run.id).state
    return state if state is not None and state.name == "AwaitingRetry" else None


def _three_are_due(client: SyncPrefectClient, deployment: UUID) -> datetime | None:
    now = datetime.now(UTC)
    return now if len(_due(client, deployment, now)) >= 3 else None


def _due(client: SyncPrefectClient, deployment: UUID, now: datetime) -> list[FlowRun]:
    of = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    runs = client.read_flow_runs(
        deployment_filter=of, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200
    )
    return [
        run for run in runs if run.expected_start_time is not None and run.expected_start_time < now
    ]
