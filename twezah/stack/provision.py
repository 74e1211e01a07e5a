"""Brings a Prefect server to what prefect.yaml says: `python -m twezah.stack.provision`. Safe to repeat.

A deployment that exists keeps its schedules, its parameters and any tags an operator added. The last line
of the output is JSON: {"connected": [system, ...], "activated": [system, ...]}.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import ConcurrencyOptions, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Crashed, Scheduled

from tasks.alerts.rules import CONTINUED_MAX
from twezah.settings import PROJECT_ROOT, settings
from twezah.stack.api import is_healthy

#: A deployment with this tag has had its schedule switched on once; from then on the switch is the
#: operator's.
CONNECTED_TAG = "connected"
SYNC = "sync-"


def project_deployments() -> list[dict[str, Any]]:
    """The deployments of prefect.yaml, anchors resolved."""
    project = yaml.safe_load((PROJECT_ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return list(project["deployments"])


def ensure_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Make the work pool (type process) unless it exists."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        with contextlib.suppress(ObjectAlreadyExists):  # the worker, which starts at the same time, was first
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def apply_deployment(client: SyncPrefectClient, spec: dict[str, Any]) -> None:
    """Create or update one deployment."""
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow: Flow[..., Any] = load_flow_from_entrypoint(str(PROJECT_ROOT / spec["entrypoint"]))
    limit = spec["concurrency_limit"]
    common: dict[str, Any] = {
        "entrypoint": spec["entrypoint"],
        "path": str(PROJECT_ROOT),
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT_ROOT)}}],
        "description": spec["description"],
        "work_pool_name": spec["work_pool"]["name"],
        "concurrency_limit": limit["limit"],
        "concurrency_options": ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
        "parameter_openapi_schema": parameter_schema(flow).model_dump(mode="json"),
        "enforce_parameter_schema": True,
    }
    present = find(client, spec["name"])
    if present is None:
        client.create_deployment(
            flow_id=client.create_flow(flow), name=spec["name"], schedules=_schedules(spec),
            parameters=spec["parameters"], tags=spec["tags"], **common,
        )  # fmt: skip
        return
    parameters = {**present.parameters, **spec["parameters"]}
    tags = list(dict.fromkeys([*spec["tags"], *present.tags]))
    client.update_deployment(present.id, DeploymentUpdate(parameters=parameters, tags=tags, **common))


def _schedules(spec: dict[str, Any]) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            schedule=IntervalSchedule(interval=timedelta(seconds=entry["interval"])),
            active=entry["active"], slug=entry["slug"],
        )
        for entry in spec["schedules"]
    ]  # fmt: skip


def find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """The deployment of this name (names are unique in this project), or None.

    Asked for alone: for every schedule in an answer, server and client each walk through all time zones of the machine.
    """
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    return next(iter(client.read_deployments(deployment_filter=wanted, limit=1, sort=DeploymentSort.NAME_ASC)), None)


def apply_connection(client: SyncPrefectClient, name: str, system: str) -> DeploymentResponse | None:
    """Create or update the deployment of a further account: like its system's, named after its block.

    Returns None where there is nothing to take after: the system's own deployment is missing.
    """
    from connectors.kit.errors import block_name

    first = SYNC + block_name(system)
    model = find(client, first)
    if model is None or SYNC + name == first:
        return model
    spec = next(one for one in project_deployments() if one["name"] == first)
    common: dict[str, Any] = {
        "entrypoint": model.entrypoint, "path": model.path, "pull_steps": model.pull_steps,
        "description": _renamed(spec["description"], system, name), "work_pool_name": model.work_pool_name,
        "concurrency_limit": spec["concurrency_limit"]["limit"],
        "concurrency_options": ConcurrencyOptions(collision_strategy=spec["concurrency_limit"]["collision_strategy"]),
        "parameter_openapi_schema": model.parameter_openapi_schema, "enforce_parameter_schema": True,
    }  # fmt: skip
    present = find(client, SYNC + name)
    if present is not None:
        client.update_deployment(present.id, DeploymentUpdate(**common))
        return present
    parameters = {**spec["parameters"], "system": name}
    tags = [*spec["tags"], name]
    client.create_deployment(
        flow_id=model.flow_id, name=SYNC + name, schedules=_schedules(spec), parameters=parameters, tags=tags, **common
    )
    return find(client, SYNC + name)


def _renamed(description: str, system: str, name: str) -> str:
    """The description of a system's deployment, for another block of it."""
    from connectors.kit.errors import block_name

    first = block_name(system)
    text = description.replace(f"sync-{first})", f"sync-{name})").replace(f"`{first}`", f"`{name}`")
    return f"The connection **{name}**.\n\n{text}"


def activate_connected() -> list[str]:
    """Switch on the schedules of connections that have become complete, once each; return those."""
    from tasks.connections import connected

    activated = []
    with get_client(sync_client=True) as client:
        for system, kind in connected().items():
            deployment = find(client, SYNC + system) or apply_connection(client, system, kind)
            if deployment is None or CONNECTED_TAG in deployment.tags:
                continue
            for schedule in deployment.schedules:
                client.update_deployment_schedule(deployment.id, schedule.id, active=True)
            client.update_deployment(deployment.id, DeploymentUpdate(tags=[*deployment.tags, CONNECTED_TAG]))
            activated.append(system)
    return activated


def renew_pages() -> None:
    """Shows the connections as they are now. Without it the pages would follow with the next run."""
    from tasks.pages.refresh import refresh

    try:
        refresh(settings(), charts=False)
    except Exception as error:  # noqa: BLE001 - a page is no reason not to start
        sys.stderr.write(f"the pages were not renewed: {type(error).__name__}\n")


def clear_leftovers(client: SyncPrefectClient, started_at: datetime, *, catch_up: bool) -> None:
    """After a start of our own server, tidy up what its stop left behind.

    Runs that were under way are over, and of missed scheduled runs the
    latest is enough, or none without `catch_up`.
    """
    declared = {spec["name"] for spec in project_deployments()}
    deployments_found = client.read_deployments(limit=200, sort=DeploymentSort.NAME_ASC)
    ours = [d.id for d in deployments_found if d.name.startswith(SYNC) or d.name in declared]
    if not ours:
        return
    alone = {
        d.id for d in deployments_found if d.name == "connect"
    }  # its consent in the browser cannot be taken up again
    deployments = DeploymentFilter(id=DeploymentFilterId(any_=ours))
    for run in _runs(client, deployments, [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]):
        if run.state is not None and run.state.timestamp < started_at:
            message = "The stack was stopped while this run was under way. It goes on by itself where it stopped, or press Retry."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            # Not left to the automation: the server has just started and may not evaluate events yet.
            if catch_up and run.run_count <= CONTINUED_MAX and run.deployment_id not in alone:
                client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry", message=message))
    seen = set()
    for run in _runs(client, deployments, [StateType.SCHEDULED]):
        if (
            run.auto_scheduled
            and not run.run_count  # one that had begun goes on
            and run.expected_start_time is not None
            and run.expected_start_time < started_at
        ):
            if run.deployment_id in seen or not catch_up:
                client.delete_flow_run(run.id)
            seen.add(run.deployment_id)


def _runs(client: SyncPrefectClient, deployments: DeploymentFilter, states: list[StateType]) -> list[FlowRun]:
    in_state = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    return list(
        client.read_flow_runs(
            deployment_filter=deployments,
            flow_run_filter=in_state,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )
    )


def provision(simulator_url: str | None, started_at: datetime, *, catch_up: bool) -> dict[str, list[str]]:
    """Blocks, work pool, deployments, schedules. `simulator_url` connects absent systems to the simulator."""
    from tasks.alerts.automations import ensure_automations
    from tasks.blocks import connect_simulator, register_blocks
    from tasks.connections import connected_systems, connections
    from tasks.pages.publish import ensure_linked

    register_blocks()
    if simulator_url is not None:
        connect_simulator(simulator_url)
    with get_client(sync_client=True) as client:
        ensure_work_pool(client, settings().work_pool)
        for spec in project_deployments():
            apply_deployment(client, {**spec, "work_pool": {"name": settings().work_pool}})
        for name, system in connections().items():
            apply_connection(client, name, system)
        ensure_automations()
        if settings().prefect_api_url is None or _is_own_server():
            clear_leftovers(client, started_at, catch_up=catch_up)
    activated = activate_connected()
    renew_pages()
    with get_client(sync_client=True) as client:
        described = client.read_deployments(limit=200, sort=DeploymentSort.NAME_ASC)
        ensure_linked(client, [one.description or "" for one in described])
    return {"activated": activated, "connected": sorted(connected_systems())}


def _is_own_server() -> bool:
    """True when this process was started for a server of our own (named in PREFECT_API_URL)."""
    own = settings().model_copy(update={"prefect_api_url": None})
    return settings().api_url == own.api_url


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait for the server, then provision it."""
    parser = argparse.ArgumentParser(prog="python -m twezah.stack.provision", description=__doc__)
    parser.add_argument("--simulator-url", help="connect the systems that are not connected to this simulator")
    parser.add_argument("--await-seconds", type=int, default=0, help="how long to wait for the server")
    parser.add_argument("--drop-missed", action="store_true", help="do not catch up on missed scheduled runs")
    options = parser.parse_args(arguments)
    started_at = datetime.now(UTC)
    _preload()
    deadline = time.monotonic() + options.await_seconds
    while not is_healthy(settings().api_url) and time.monotonic() < deadline:
        time.sleep(0.2)
    result = provision(options.simulator_url, started_at, catch_up=not options.drop_missed)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def _preload() -> None:
    """Import the flows while the server is still starting."""
    from prefect.flows import load_flow_from_entrypoint

    for entrypoint in {spec["entrypoint"] for spec in project_deployments()}:
        load_flow_from_entrypoint(str(PROJECT_ROOT / entrypoint))


if __name__ == "__main__":
    sys.exit(main())
