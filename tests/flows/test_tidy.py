"""What the caretaker keeps in order, on a real Prefect server."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event
from prefect.states import Cancelling, Pending, Running, Scheduled

from flows.sync import sync_system
from settings import embedded_dsn
from tests.flows.worker_fixtures import eventually
from twezah.stack import run_cleanup as tidy
from twezah.stack.leftover_processes import MARK
from twezah.stack.provision import present_deployments

pytestmark = pytest.mark.usefixtures("prefect")
HOUR = timedelta(hours=1)


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as made:
        yield made


@pytest.fixture
def deployment_id(client: SyncPrefectClient) -> UUID:
    """A deployment that is ours, with a schedule that is on."""
    return client.create_deployment(
        client.create_flow(sync_system),
        f"sync-tidy-{uuid4().hex[:8]}",
        schedules=[],
        tags=["billing"],
    )


def run_in(client: SyncPrefectClient, deployment_id: UUID, state: State[object] | None) -> UUID:
    run_id = client.create_flow_run_from_deployment(deployment_id).id
    client.update_flow_run(
        run_id, infrastructure_pid="0"
    )  # or Cancelling would be Cancelled at once
    if state is not None:
        client.set_flow_run_state(run_id, state, force=True)
    return run_id


def state_of(client: SyncPrefectClient, run_id: UUID) -> str:
    state = client.read_flow_run(run_id).state
    assert state is not None
    return str(state.name)


class Missed:
    """Makes runs as the scheduler does: only it can say so, in the server's own database."""

    def __init__(self, client: SyncPrefectClient, dsn: str, deployment_id: UUID) -> None:
        self.client, self.dsn, self.deployment_id = client, dsn, deployment_id

    def make(self, times: Iterable[datetime]) -> list[UUID]:
        ids = [
            self.client.create_flow_run_from_deployment(
                self.deployment_id, state=Scheduled(scheduled_time=at)
            ).id
            for at in times
        ]
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "UPDATE flow_run SET auto_scheduled = true WHERE id = ANY(%s)", [ids]
            )
        return ids


@pytest.fixture
def missed(
    client: SyncPrefectClient, deployment_id: UUID, tmp_path_factory: pytest.TempPathFactory
) -> Missed:
    home = tmp_path_factory.getbasetemp() / "ledger"
    return Missed(client, embedded_dsn(home, "prefect"), deployment_id)


def later() -> datetime:
    """When runs that began just now have stood for long."""
    return datetime.now(UTC) + HOUR


def test_a_start_settles_what_the_stop_left(
    client: SyncPrefectClient, deployment_id: UUID, missed: Missed
) -> None:
    """Runs under way go on, one that was being cancelled is cancelled, a queue becomes one run."""
    running, pending = (run_in(client, deployment_id, s) for s in (Running(), Pending()))
    cancelling = run_in(client, deployment_id, Cancelling())
    by_hand = run_in(client, deployment_id, None)
    now = datetime.now(UTC)
    late = missed.make(now - timedelta(minutes=n) for n in range(1, 60))
    present = [
        row for row in present_deployments(client).values() if row["id"] == str(deployment_id)
    ]
    settled = tidy.clear_leftovers(client, present, later(), catch_up=True)
    states = [state_of(client, run_id) for run_id in (running, pending, cancelling)]
    assert states == ["AwaitingRetry", "AwaitingRetry", "Cancelled"]
    assert state_of(client, by_hand) in ("Scheduled", "Late"), "somebody asked for it"
    assert settled == 3 + 58
    left = {run.id for run in runs(client, deployment_id)} & set(late)
    assert left == {late[0]}, "the latest of the missed ones is enough"
    assert tidy.clear_leftovers(client, present, later(), catch_up=False) == 1
    assert not {run.id for run in runs(client, deployment_id)} & set(late)


def runs(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    """Those of this deployment alone: the server lists 200 at most, and other tests have theirs."""
    alone = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    return client.read_flow_runs(deployment_filter=alone, sort=FlowRunSort.ID_DESC, limit=200)


def test_a_run_that_died_unseen_is_ended(client: SyncPrefectClient, deployment_id: UUID) -> None:
    """Its process is gone, or never was, and nobody has heard of it; others are left alone."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    alive = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: "id:/home"})
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        dead = [run_in(client, deployment_id, Running()) for _ in range(2)]
        unknown = run_in(client, deployment_id, Pending())
        living, heard = (run_in(client, deployment_id, Running()) for _ in range(2))
        for run_id, pid in ((dead[0], gone.pid), (dead[1], stranger.pid), (living, alive.pid)):
            client.update_flow_run(run_id, infrastructure_pid=str(pid))
        say_alive(heard)
        heard_by = datetime.now(UTC)
        eventually(lambda: tidy._runs_with_heartbeat(client, [heard], heard_by) == {heard}, 50)
        soon = datetime.now(UTC) + timedelta(seconds=100)
        assert tidy.end_dead_runs(client, soon, timedelta(seconds=30)) == [], "it was away itself"
        tidy.end_dead_runs(client, soon, HOUR)
        assert [state_of(client, run_id) for run_id in dead] != ["Running", "Running"]
        assert state_of(client, unknown) == "Pending", "its worker may be loading"
        assert [state_of(client, run_id) for run_id in (living, heard)] == ["Running"] * 2
        tidy.end_dead_runs(client, soon + timedelta(minutes=3), HOUR)
        assert state_of(client, unknown) != "Pending"
        assert state_of(client, living) == "Running", "its process is there"
        tidy.end_dead_runs(client, soon + timedelta(minutes=3), HOUR, on_this_machine=False)
        assert state_of(client, living) != "Running", "on another machine that number is a stranger"
    finally:
        for process in (alive, stranger):
            process.kill()
            process.wait()


def test_a_clock_that_ran_ahead_keeps_no_dead_run_alive(
    client: SyncPrefectClient, deployment_id: UUID, missed: Missed
) -> None:
    """The state and the sign of life are of in an hour, the process is gone: it is over today."""
    begun, left = (run_in(client, deployment_id, Running()) for _ in range(2))
    say_alive(begun)
    eventually(lambda: tidy._runs_with_heartbeat(client, [begun], datetime.now(UTC)) == {begun}, 50)
    with psycopg.connect(missed.dsn) as connection:
        connection.execute(
            "UPDATE flow_run_state SET timestamp = timestamp + interval '1 hour' "
            "WHERE flow_run_id = ANY(%s)",
            [[begun, left]],
        )
        connection.execute(
            "UPDATE events SET occurred = occurred + interval '1 hour', "
            "received = received + interval '1 hour' WHERE resource_id = %s",
            [f"prefect.flow-run.{begun}"],
        )
    now = datetime.now(UTC)
    present = [
        row for row in present_deployments(client).values() if row["id"] == str(deployment_id)
    ]
    assert len(tidy.end_dead_runs(client, now, HOUR)) >= 2
    assert "Running" not in {state_of(client, run_id) for run_id in (begun, left)}
    again = run_in(client, deployment_id, Running())
    with psycopg.connect(missed.dsn) as connection:
        connection.execute(
            "UPDATE flow_run_state SET timestamp = timestamp + interval '1 hour' "
            "WHERE flow_run_id = %s",
            [again],
        )
    assert tidy.clear_leftovers(client, present, now, catch_up=False) >= 1
    assert state_of(client, again) != "Running", "it is of the start before"


def test_what_a_clock_that_ran_ahead_put_off_is_due_again(
    client: SyncPrefectClient, deployment_id: UUID, missed: Missed
) -> None:
    """Else a system is read again when the hour has passed that the clock was ahead."""
    now = datetime.now(UTC)
    put_off, retried, waiting, planned = missed.make([now - timedelta(minutes=2)] * 2) + [
        run_in(client, deployment_id, None) for _ in range(2)
    ]
    for run_id, name, due in (
        (put_off, "AwaitingConcurrencySlot", now + HOUR),
        (retried, "AwaitingRetry", now + HOUR),
        (waiting, "AwaitingConcurrencySlot", now + timedelta(seconds=30)),
        (planned, "Scheduled", now + HOUR),
    ):
        state: State[object] = Scheduled(name=name, message="why", scheduled_time=due)
        client.set_flow_run_state(run_id, state, force=True)
    with psycopg.connect(missed.dsn) as connection:
        connection.execute(
            "UPDATE flow_run_state SET timestamp = timestamp + interval '1 hour' "
            "WHERE flow_run_id = ANY(%s)",
            [[put_off, retried, planned]],
        )
    assert tidy.recall_put_off(client, now) == 2
    assert tidy.recall_put_off(client, now) == 0
    for run_id, is_due, name in (
        (put_off, True, "AwaitingConcurrencySlot"),
        (retried, True, "AwaitingRetry"),
        (waiting, False, "AwaitingConcurrencySlot"),
        (planned, False, "Scheduled"),
    ):
        run = client.read_flow_run(run_id)
        assert run.state is not None and run.next_scheduled_start_time is not None
        assert (run.next_scheduled_start_time <= now, run.state.name) == (is_due, name)
        assert run.state.message == "why"


def say_alive(run_id: UUID) -> None:
    """As a run does every half minute."""
    emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{run_id}"})


def test_a_copy_stands_by_and_goes_live(client: SyncPrefectClient, deployment_id: UUID) -> None:
    """Everything is paused and says why; what an operator had paused stays so afterwards."""
    paused_before = client.create_deployment(
        client.create_flow(sync_system),
        f"sync-off-{uuid4().hex[:8]}",
        paused=True,
        tags=["billing"],
    )
    waiting = run_in(client, deployment_id, None)
    rows = present_deployments(client)
    mine = [row for row in rows.values() if row["id"] in (str(deployment_id), str(paused_before))]
    assert len(tidy.pause_deployments(client, mine)) == 1
    assert state_of(client, waiting) == "Cancelled"
    paused = client.read_deployment(deployment_id)
    assert paused.paused and tidy.STANDBY_TAG in paused.tags
    rows = present_deployments(client)
    mine = [row for row in rows.values() if row["id"] in (str(deployment_id), str(paused_before))]
    assert tidy.pause_deployments(client, mine) == [], "again: nothing is left to pause"
    assert len(tidy.resume_deployments(client, mine)) == 1
    live = client.read_deployment(deployment_id)
    assert not live.paused and live.tags == ["billing"]
    assert client.read_deployment(paused_before).paused


def test_waiting_runs_of_any_number_become_one(
    client: SyncPrefectClient, deployment_id: UUID, missed: Missed
) -> None:
    now = datetime.now(UTC)
    queue = missed.make(now - timedelta(minutes=n) for n in range(2, 63))
    assert tidy.collapse_waiting(client, now - timedelta(minutes=1)) >= 60
    left = {run.id for run in runs(client, deployment_id)} & set(queue)
    assert left == {queue[-1]}, "the first one, which reads what all of them would"
