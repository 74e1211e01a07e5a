"""Keeps Prefect's server in order: leftovers of a stop, the queue, and runs that have died."""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from panel.alerts.automations import ensure_automations
from panel.alerts.rules import CONTINUED_MAX, SILENCE, SILENT
from twezah.stack.leftover_processes import MARK
from twezah.stack.provision import SYNC, Present, project_deployments

#: A scheduled run that is overdue for this long waits behind another run of its deployment.
OVERDUE = timedelta(seconds=60)
#: A time further in the future than this was written while the clock ran ahead, and says nothing.
AHEAD_MAX = timedelta(minutes=1)
#: A worker took the run and it has not begun after this long: the worker has died.
PENDING_MAX = timedelta(minutes=3)
#: Tag of the deployments whose runs are looked after here.
_TAG = "billing"
#: Prefect returns at most this many rows at a time.
_PAGE = 200
#: Prefect deletes at most this many runs in one request.
_DELETED_AT_ONCE = 50
#: On deployments that are paused because the installation is a restored copy.
STANDBY_TAG = "standby"
#: Message of runs that a restored copy cancels.
STANDS_BY = "This installation is a restored copy on standby: `twezah go-live` switches it on."
#: The event with which a run reports that it lives.
_HEARTBEAT = "prefect.flow-run.heartbeat"
#: Message of runs that the last stop of the stack interrupted.
STOPPED = (
    "The stack was stopped while this run was under way. It goes on by itself where it stopped, or "
    "press Retry."
)


class Tended(NamedTuple):
    """What a round of looking after runs has found."""

    #: Names of runs that had died without anybody noticing.
    died: list[str]
    #: Runs that were put off by a clock that ran ahead, and are due again.
    recalled: int


def tend_runs(listening_for: timedelta, *, on_this_machine: bool = True) -> Tended:
    """One round of looking after runs; every half minute is enough.

    Args:
        listening_for: How long the server has answered without a break.
        on_this_machine: A run with a living process here lives; on another machine the same
            number is another process.
    """
    ensure_automations(registered=True)
    with get_client(sync_client=True) as client:
        recalled = recall_put_off(client, datetime.now(UTC))
        collapse_waiting(client, datetime.now(UTC) - OVERDUE)
        now = datetime.now(UTC)
        died = end_dead_runs(client, now, listening_for, on_this_machine=on_this_machine)
        return Tended(died, recalled)


def clear_leftovers(
    client: SyncPrefectClient,
    present: Iterable[Present],
    started_at: datetime,
    *,
    catch_up: bool,
) -> int:
    """Settles the runs that the last stop left; returns how many.

    It is called after a start of our own server, and before the worker starts. Runs that were under
    way are over and continue. Of missed scheduled runs only the latest of each deployment is kept.

    Args:
        client: Of the server.
        present: All its deployments.
        started_at: Runs that changed later than this belong to the present start.
        catch_up: False: no missed run is kept, and no interrupted run continues.
    """
    declared = {spec["name"] for spec in project_deployments()}
    ours = {
        UUID(row["id"]): row["name"]
        for row in present
        if row["name"].startswith(SYNC) or row["name"] in declared
    }
    if not ours:
        return 0
    deployments = DeploymentFilter(id=DeploymentFilterId(any_=list(ours)))
    settled = 0
    for run in _runs(client, deployments, *_UNDER_WAY):
        if run.state is None or _is_since(run.state.timestamp, started_at, datetime.now(UTC)):
            continue
        settled += 1
        # No machine can resume the consent in a browser, so `connect` does not continue.
        alone = ours.get(run.deployment_id or UUID(int=0)) == "connect"
        _end_interrupted_run(client, run, catch_up=catch_up and not alone)
    surplus, seen = [], set()
    for run in _runs(client, deployments, StateType.SCHEDULED, due_before=started_at):
        if not run.auto_scheduled or run.run_count:  # one that had begun goes on
            continue
        if run.deployment_id in seen or not catch_up:
            surplus.append(run.id)
        seen.add(run.deployment_id)
    _delete(client, surplus)
    return settled + len(surplus)


#: States of runs that are due at another time than was planned.
_PUT_OFF = ("AwaitingConcurrencySlot", "AwaitingRetry")
#: States of runs that had a process.
_UNDER_WAY = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)


def _end_interrupted_run(client: SyncPrefectClient, run: FlowRun, *, catch_up: bool) -> None:
    """Ends a run whose process is gone; it goes on unless somebody was cancelling it."""
    if run.state is not None and run.state.type == StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(message=STOPPED), force=True)
        return
    client.set_flow_run_state(run.id, Crashed(message=STOPPED), force=True)
    # Not left to the automation: the server has just started and may not evaluate events yet.
    if catch_up and run.run_count <= CONTINUED_MAX:
        again: State[Any] = Scheduled(name="AwaitingRetry", message=STOPPED)
        client.set_flow_run_state(run.id, again, force=True)


def is_ours(row: Present) -> bool:
    """Whether the deployment is one of prefect.yaml."""
    return _TAG in row["tags"]


def pause_deployments(client: SyncPrefectClient, present: Iterable[Present]) -> list[str]:
    """Pauses the deployments of a restored copy and cancels what waits; returns their names.

    A tag marks them, so that `resume_deployments` continues only what was paused here.
    """
    paused = []
    ours = [row for row in present if is_ours(row)]
    for row in ours:
        if not row["paused"]:
            tags = list(dict.fromkeys([*row["tags"], STANDBY_TAG]))
            client.update_deployment(UUID(row["id"]), DeploymentUpdate(tags=tags))
            client.pause_deployment(UUID(row["id"]))
            paused.append(row["name"])
    if ours:
        deployments = DeploymentFilter(
            id=DeploymentFilterId(any_=[UUID(row["id"]) for row in ours])
        )
        for run in _runs(client, deployments, StateType.SCHEDULED):
            client.set_flow_run_state(run.id, Cancelled(message=STANDS_BY), force=True)
    return paused


def resume_deployments(client: SyncPrefectClient, present: Iterable[Present]) -> list[str]:
    """Continues what `pause_deployments` paused; returns the names of those deployments."""
    continued = []
    for row in present:
        if STANDBY_TAG in row["tags"]:
            client.resume_deployment(UUID(row["id"]))
            tags = [tag for tag in row["tags"] if tag != STANDBY_TAG]
            client.update_deployment(UUID(row["id"]), DeploymentUpdate(tags=tags))
            continued.append(row["name"])
    return continued


def _runs(
    client: SyncPrefectClient,
    deployments: DeploymentFilter,
    *states: StateType,
    due_before: datetime | None = None,
    names: Sequence[str] | None = None,
) -> list[FlowRun]:
    """All runs of these deployments in these states, latest first."""
    wanted = FlowRunFilter(
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=list(states)),
            name=None if names is None else FlowRunFilterStateName(any_=list(names)),
        ),
        expected_start_time=(
            None if due_before is None else FlowRunFilterExpectedStartTime(before_=due_before)
        ),
    )
    runs: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            deployment_filter=deployments, flow_run_filter=wanted,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_PAGE, offset=len(runs),
        )  # fmt: skip
        runs += page
        if len(page) < _PAGE:
            return runs


def _delete(client: SyncPrefectClient, run_ids: list[UUID]) -> None:
    for begin in range(0, len(run_ids), _DELETED_AT_ONCE):
        some = [str(run_id) for run_id in run_ids[begin : begin + _DELETED_AT_ONCE]]
        wanted: dict[str, Any] = {"flow_runs": {"id": {"any_": some}}, "limit": len(some)}
        client.request("POST", cast("Any", "/flow_runs/bulk_delete"), json=wanted)


def collapse_waiting(client: SyncPrefectClient, due_before: datetime) -> int:
    """Of the scheduled runs that wait behind a longer one, keeps one per deployment.

    Each run reads everything that changed since the last success, so a second one would have
    nothing to do. Runs that an operator asked for, or that have begun already, stay. Returns how
    many were deleted.
    """
    deployments = DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG]))
    seen, surplus = set(), []
    waiting = _runs(client, deployments, StateType.SCHEDULED, due_before=due_before)
    for run in reversed(waiting):
        if not run.auto_scheduled or run.run_count:
            continue
        if run.deployment_id in seen:
            surplus.append(run.id)
        seen.add(run.deployment_id)
    _delete(client, surplus)
    return len(surplus)


def recall_put_off(client: SyncPrefectClient, now: datetime) -> int:
    """Makes runs due again that a clock has put off which ran ahead; returns how many.

    A run that waits for another one, or for its next attempt, is due some seconds later: by a clock
    that is an hour ahead, in an hour. Such runs stand for all that were planned until then, so
    nothing of their deployment would begin before. Their state is of a time that has not come yet.
    """
    deployments = DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG]))
    recalled = 0
    for run in _runs(client, deployments, StateType.SCHEDULED, names=_PUT_OFF):
        if run.state is None or run.state.timestamp <= now + AHEAD_MAX:
            continue
        due: State[Any] = Scheduled(
            name=run.state.name, message=run.state.message, scheduled_time=run.expected_start_time
        )
        try:
            client.set_flow_run_state(run.id, due, force=True)
        except ObjectNotFound:
            continue
        recalled += 1
    return recalled


def end_dead_runs(
    client: SyncPrefectClient,
    now: datetime,
    listening_for: timedelta,
    *,
    on_this_machine: bool = True,
) -> list[str]:
    """Ends runs that stand as Running or Pending and are dead; returns their names.

    Prefect's automations do the same, but they need events. They do not know of a run that died
    before its first sign of life, or whose events went to a server that was killed. Here the runs
    themselves are looked at. A run lives if its process is one of this machine's, or if it has
    reported lately. Where the server itself was away lately, no run could report, and nothing is
    ended.
    """
    if listening_for < PENDING_MAX:
        return []
    deployments = DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG]))
    without_sign = {
        run.id: run
        for run in _runs(client, deployments, StateType.RUNNING, StateType.PENDING)
        if _is_old(run, now) and not (on_this_machine and _is_alive_here(run))
    }
    if not without_sign:
        return []
    for run_id in _runs_with_heartbeat(client, list(without_sign), now):
        without_sign.pop(run_id, None)
    ended = []
    for run in without_sign.values():
        try:
            # Not by force: a run that has ended meanwhile keeps its final state.
            client.set_flow_run_state(run.id, Crashed(message=SILENT))
        except ObjectNotFound:
            continue
        ended.append(run.name)
    return ended


def _is_old(run: FlowRun, now: datetime) -> bool:
    if run.state is None:
        return False
    patience = SILENCE if run.state.type == StateType.RUNNING else PENDING_MAX
    return not _is_since(run.state.timestamp, now - patience, now)


def _is_since(time: datetime, since: datetime, now: datetime) -> bool:
    """Whether a time is of then or later, and not of a future that a clock ran ahead to."""
    return since <= time <= now + AHEAD_MAX


def _is_alive_here(run: FlowRun) -> bool:
    """True when the run's process is a living one of a stack on this machine, and older than it."""
    try:
        process = psutil.Process(int(run.infrastructure_pid or 0))
        if MARK not in process.environ() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        begun_at = process.create_time()
    except (ValueError, psutil.Error, OSError):
        return False
    started = run.start_time or datetime.now(UTC)
    return bool(process.pid != os.getpid() and begun_at <= started.timestamp() + 1)


def _runs_with_heartbeat(
    client: SyncPrefectClient, run_ids: list[UUID], now: datetime
) -> set[UUID]:
    """Those whose sign of life reached the server lately, by the server's clock."""
    prefix, since = "prefect.flow-run.", now - PENDING_MAX
    wanted = {
        "filter": {
            "occurred": {"since": since.isoformat()},
            "event": {"name": [_HEARTBEAT]},
            "resource": {"id": [f"{prefix}{run_id}" for run_id in run_ids]},
        },
        "limit": 50,
    }
    alive: set[UUID] = set()
    page = client.request("POST", "/events/filter", json=wanted).json()
    while True:
        alive |= {
            UUID(event["resource"]["prefect.resource.id"].removeprefix(prefix))
            for event in page["events"]
            if _is_since(datetime.fromisoformat(event["received"]), since, now)
        }
        if not page.get("next_page"):
            return alive
        page = client.request("GET", page["next_page"]).json()
