"""Is the stack well, as an operator would see it: runs that run, schedules that are on and kept."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort

#: So long it may take until a run has a process, or its new one after it was begun again.
STARTING: Final = timedelta(seconds=60)
#: A run that is due for so long has nobody who starts it.
OVERDUE: Final = timedelta(seconds=120)
_UNDER_WAY: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_LIMIT: Final = 200
SYNC: Final = "sync-"
#: Fields of connections: how often it is looked for what the vendor does not tell of (0: always),
#: and how many days back. The simulated sales are of the last months.
_LOOKS: Final = {
    "deletions_hours": 0,
    "look_back_hours": 0,
    "look_back_days": 400,
    "reread_days": 400,
    "recheck_days": 400,
}


@dataclass(frozen=True)
class Run:
    """One run, as far as its life is concerned."""

    name: str
    state: str
    #: Since when it is in this state.
    since: datetime
    #: Number of its process; None where Prefect was not told one.
    pid: int | None

    @classmethod
    def of(cls, run: FlowRun, names: dict[UUID, str]) -> "Run":
        """Read from Prefect's answer."""
        number = re.search(r"(\d+)$", run.infrastructure_pid or "")
        name = names.get(run.deployment_id, "?") if run.deployment_id else "?"
        since = run.state.timestamp if run.state is not None else datetime.now(UTC)
        return cls(f"{name} ({run.id})", run.state_name or "?", since, number and int(number[1]))


def dead_runs(runs: Iterable[Run], living_pids: Collection[int], now: datetime) -> list[str]:
    """Runs that are said to run and do not: their process is gone, or they never had one.

    One that is about to start may have none, or be known by that of an attempt that died.
    """
    return [
        f"{run.name} is {run.state} for {(now - run.since).total_seconds():.0f} s and does not run"
        for run in runs
        if run.pid not in living_pids
        and (now - run.since > STARTING or (run.pid is not None and run.state == "Running"))
    ]


class Schedules:
    """The schedules as they were when all was well, polled every minute from then on."""

    def __init__(self, every_seconds: int) -> None:
        self._every = timedelta(seconds=every_seconds)
        self._active: set[tuple[str, str]] = set()
        self._names: dict[UUID, str] = {}

    def set_up(self) -> None:
        """Polls as often as an operator may choose to, and remembers which schedules are on."""
        with get_client(sync_client=True) as client:
            for deployment in _deployments(client):
                self._names[deployment.id] = deployment.name
                for schedule in deployment.schedules:
                    if not schedule.active:
                        continue
                    self._active.add((deployment.name, str(schedule.id)))
                    if deployment.name.startswith(SYNC):
                        interval = IntervalSchedule(interval=self._every)
                        client.update_deployment_schedule(
                            deployment.id, schedule.id, schedule=interval
                        )

    def problems(self, quiet_since: datetime, living_pids: Collection[int]) -> list[str]:
        """What is not well, one sentence each.

        Args:
            quiet_since: Every sync deployment has completed a run that started after this instant.
            living_pids: Processes of the stack.

        Raises:
            Exception: Whatever Prefect's client raises while its server is away.
        """
        now = datetime.now(UTC)
        with get_client(sync_client=True) as client:
            runs = [Run.of(run, self._names) for run in _runs(client, _UNDER_WAY)]
            problems = [
                *dead_runs(runs, living_pids, now),
                *_overdue(_runs(client, [StateType.SCHEDULED]), self._names, now),
                *self._without_success(client, quiet_since),
            ]
            # Reading deployments costs the server much, so it comes last.
            return problems or self._switched_off(_deployments(client))

    def _switched_off(self, deployments: Iterable[DeploymentResponse]) -> list[str]:
        active = {
            (one.name, str(schedule.id))
            for one in deployments
            if not one.paused
            for schedule in one.schedules
            if schedule.active
        }
        return [f"the schedule of {name} is off" for name, _ in sorted(self._active - active)]

    def _without_success(self, client: SyncPrefectClient, quiet_since: datetime) -> list[str]:
        polled = {name for name, _ in self._active if name.startswith(SYNC)}
        wanted = {one: name for one, name in self._names.items() if name in polled}
        if not wanted:
            return ["no system is polled"]
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(wanted))),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
                # Not those of a clock that was ahead.
                start_time=FlowRunFilterStartTime(after_=quiet_since, before_=datetime.now(UTC)),
            ),
            sort=FlowRunSort.START_TIME_DESC,
            limit=_LIMIT,
        )
        done = {run.deployment_id for run in runs}
        return [f"no run of {name} completed" for one, name in wanted.items() if one not in done]


def _overdue(runs: Iterable[FlowRun], names: dict[UUID, str], now: datetime) -> list[str]:
    sentences = []
    for run in runs:
        due = run.next_scheduled_start_time or run.expected_start_time
        if due is not None and now - due > OVERDUE:
            name = names.get(run.deployment_id, "?") if run.deployment_id else "?"
            seconds = (now - due).total_seconds()
            sentences.append(f"{name} is {run.state_name} and {seconds:.0f} s overdue")
    return sentences


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    return list(client.read_deployments(limit=_LIMIT, sort=DeploymentSort.NAME_ASC))


def _runs(client: SyncPrefectClient, states: list[StateType]) -> list[FlowRun]:
    in_state = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    return list(
        client.read_flow_runs(
            flow_run_filter=in_state, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_LIMIT
        )
    )


def look_back_in_every_run() -> None:
    """What leaves no trace at the vendor is looked for at once; with the defaults it takes hours."""
    from panel.blocks.connected import connected_blocks

    for name, block in connected_blocks().items():
        looks = _LOOKS.keys() & type(block).model_fields.keys()
        for field in looks:
            setattr(block, field, _LOOKS[field])
        if looks:
            block.save(name, overwrite=True)
