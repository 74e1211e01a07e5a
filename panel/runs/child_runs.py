"""Runs another deployment as one part of a larger run, such as a backfill.

The part is started once, waited for, and continued where it failed.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import DeploymentSort
from prefect.states import Scheduled

#: After this long the wait ends: probably no worker takes the run up, because a run that works is
#: ended after six hours.
SECONDS_MAX: Final = 8 * 3600.0
#: Seconds between two looks.
LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class ChildRun:
    """How a run of another deployment ended."""

    #: What the run is called.
    name: str
    #: Its id in Prefect; "" where it could not be started.
    run_id: str
    #: Whether it completed.
    ok: bool
    #: The message of its last state.
    message: str


def run_child(deployment: str, name: str, parameters: dict[str, Any], *, key: str) -> ChildRun:
    """Starts the run with this key, or continues the one started before; waits for its end.

    Args:
        deployment: Its name.
        name: What the run is called.
        parameters: Of the run.
        key: The same key is the same run, also after a crash of the caller.
    """
    with get_client(sync_client=True) as client:
        wanted = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
        deployments = client.read_deployments(
            deployment_filter=wanted, limit=1, sort=DeploymentSort.NAME_ASC
        )
        if not deployments:
            return ChildRun(
                name,
                "",
                ok=False,
                message=(
                    f"there is no deployment {deployment!r}: is the block saved, and `twezah up` "
                    "running?"
                ),
            )
        run = client.create_flow_run_from_deployment(
            deployments[0].id, parameters=parameters, name=name, idempotency_key=key
        )
        if run.state is not None and (
            run.state.is_failed() or run.state.is_crashed() or run.state.is_cancelled()
        ):
            client.set_flow_run_state(
                run.id, Scheduled(name="AwaitingRetry", message="Retry of the backfill"), force=True
            )
            run = client.read_flow_run(run.id)
        run = _wait_for_end(client, run)
    message = (run.state.message or run.state.name or "") if run.state else ""
    return ChildRun(
        name, str(run.id), ok=bool(run.state and run.state.is_completed()), message=message
    )


def _wait_for_end(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """The run once it has ended, or as it is after SECONDS_MAX.

    A crashed run may be continued by an automation, so a crash counts as the end only after several
    looks.
    """
    crashes, deadline = 0, time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        if run.state is not None and run.state.is_final():
            if not run.state.is_crashed() or crashes >= 5:
                return run
            crashes += 1
        else:
            crashes = 0
        time.sleep(LOOK_SECONDS)
        run = client.read_flow_run(run.id)
    return run
