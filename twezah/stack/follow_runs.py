"""Starts runs of the sync deployments and follows them to their end."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import FlowRunSort

from sql.actor import LABEL, actor
from twezah.stack.errors import StackError
from twezah.stack.processes import reason
from twezah.stack.provision import SYNC, present_deployments

#: Seconds between two looks at one run; at several, as many times that, up to so many.
POLL_SECONDS = 0.4
POLLS_MAX = 4
#: Log lines that are asked for at a time.
LOG_PAGE = 200
#: Runs whose new lines are asked for at each look, in turn: every request costs the server 20 ms,
#: and the runs need it too.
LOGS_PER_LOOK = 2
#: If no run has started after this long, there is probably no worker; the operator is told once.
PICKUP_SECONDS_MAX = 60.0
#: How long the server may be away while runs are followed; the stack restarts it meanwhile.
AWAY_SECONDS_MAX = 600.0
#: Seconds between two attempts while the server is away.
AWAY_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class FinishedRun:
    """How one run ended."""

    #: Name of the connection.
    system: str
    #: Id of the run in Prefect.
    flow_run_id: str
    #: Name of Prefect's state, e.g. "Completed".
    state: str
    #: The state's message.
    message: str
    #: Whether it completed.
    ok: bool
    #: From the request to the end.
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self)


def run_systems(
    parameters: Mapping[str, Mapping[str, Any]],
    *,
    on_log: Callable[[str, Log], None],
    tend: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> list[FinishedRun]:
    """Run one deployment per system at once and wait for all of them.

    Args:
        parameters: System key -> extra flow parameters.
        on_log: Gets each log line of each run, in order per run.
        tend: Called every round, to supervise whatever the runs depend on.
        say: Gets hints for the operator.

    Raises:
        StackError: a deployment is missing.

    """
    begun = time.monotonic()
    with get_client(sync_client=True) as client:
        runs = _start(client, parameters)
        printed = dict.fromkeys(runs, 0)
        finished: list[FinishedRun] = []
        hinted, looks = False, 0
        outage = _Outage(say)
        while len(finished) < len(runs):
            tend()
            waiting = set(runs) - {UUID(run.flow_run_id) for run in finished}
            try:
                current = client.read_flow_runs(
                    flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(waiting))),
                    sort=FlowRunSort.ID_DESC,
                    limit=len(waiting),
                )
            except Exception as error:  # noqa: BLE001 - a server that restarts fails in many ways
                outage.wait_after(error)
                continue
            outage.end()
            for place, run in enumerate(current):
                if (place - looks * LOGS_PER_LOOK) % len(current) < LOGS_PER_LOOK:
                    printed[run.id] += _print_logs(
                        client, run.id, printed[run.id], runs[run.id], on_log
                    )
                if run.state is not None and run.state.is_final():
                    finished.append(_finished(run, runs[run.id], time.monotonic() - begun))
            if (
                not hinted
                and time.monotonic() - begun > PICKUP_SECONDS_MAX
                and any(run.start_time is None for run in current)
            ):
                say(
                    "No worker has picked the run up yet. Is one serving the work pool (`twezah "
                    "up`)?"
                )
                hinted = True
            looks += 1
            time.sleep(POLL_SECONDS * min(len(waiting), POLLS_MAX))
        time.sleep(2 * POLL_SECONDS)  # the last lines are shipped a moment after the final state
        for run_id, system in runs.items():
            _print_logs(client, run_id, printed[run_id], system, on_log)
    return sorted(finished, key=lambda run: list(parameters).index(run.system))


class _Outage:
    """How long the server has not answered. It may be restarting, so it is asked again."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since: float | None = None

    def wait_after(self, error: Exception) -> None:
        """Waits a moment; raises StackError once the server has been away for too long."""
        self._since = self._since or time.monotonic()
        away_seconds = time.monotonic() - self._since
        if away_seconds > AWAY_SECONDS_MAX:
            raise StackError(
                f"Prefect's server has not answered for {away_seconds:.0f} s: {reason(error)}"
            ) from error
        self._say(f"Prefect's server does not answer ({reason(error)}); asking again.")
        time.sleep(AWAY_PAUSE_SECONDS)

    def end(self) -> None:
        """The server has answered."""
        self._since = None


def _start(
    client: SyncPrefectClient, parameters: Mapping[str, Mapping[str, Any]]
) -> dict[UUID, str]:
    """Starts a run of each system; returns the systems by the id of their run."""
    present = present_deployments(client)
    for system in parameters:
        if SYNC + system not in present:
            raise StackError(
                f"There is no deployment {SYNC + system} on this Prefect server. Run `twezah up` "
                "once."
            )
    labels: dict[str, bool | int | float | str] = {LABEL: actor()}
    runs = {}
    for system, extra in parameters.items():
        deployment_id = UUID(present[SYNC + system]["id"])
        run = client.create_flow_run_from_deployment(
            deployment_id, parameters=dict(extra), labels=labels
        )
        runs[run.id] = system
    return runs


def _print_logs(
    client: SyncPrefectClient,
    run_id: UUID,
    offset: int,
    system: str,
    on_log: Callable[[str, Log], None],
) -> int:
    """Hands on the lines after `offset`; returns how many, 0 while the server is away."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    try:
        lines = client.read_logs(wanted, limit=LOG_PAGE, offset=offset)
    except Exception:  # noqa: BLE001 - the next round asks for the same lines
        return 0
    for line in lines:
        on_log(system, line)
    return len(lines)


def _finished(run: FlowRun, system: str, seconds: float) -> FinishedRun:
    assert run.state is not None
    return FinishedRun(
        system,
        str(run.id),
        run.state.name or run.state.type.value,
        run.state.message or "",
        run.state.is_completed(),
        round(seconds, 1),
    )
