"""Brings a Prefect server to the state that prefect.yaml describes. Safe to repeat.

A deployment that exists keeps its schedules, its parameters and any tags an operator added.
"""

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    VariableCreate,
    VariableUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from connectors.kit.errors import block_name
from settings import PROJECT_ROOT, settings
from sql.actor import LABEL, actor
from twezah.stack import roles
from twezah.stack.flow_descriptions import (
    Descriptions,
    describe,
    descriptions,
    project_deployments,
    source_digest,
)

#: A deployment with this tag has had its schedule switched on once; from then on the switch is the
#: operator's.
CONNECTED_TAG = "connected"
#: The deployment of a connection is called this and the connection's name.
SYNC = "sync-"
#: Prefect's variable with the digest of the sources from which blocks and deployments were
#: registered: a start with the same sources skips that.
REGISTERED = "twezah_registered"
#: Prefect returns at most this many rows at a time.
_PAGE = 200
#: A deployment in plain JSON, as the server's API returns it.
Present = dict[str, Any]


def ensure_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Make the work pool (type process) unless it exists."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        # The worker, which starts at the same time, may be first.
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def present_deployments(client: SyncPrefectClient) -> dict[str, Present]:
    """All deployments of the server by name, in one request and as plain JSON.

    Prefect's client would walk through all time zones of the machine for every schedule.
    """
    rows: list[Present] = []
    while True:
        wanted = {"sort": "NAME_ASC", "limit": _PAGE, "offset": len(rows)}
        page = client.request("POST", "/deployments/filter", json=wanted).json()
        rows += page
        if len(page) < _PAGE:
            return {row["name"]: row for row in rows}


def apply_deployment(
    client: SyncPrefectClient,
    spec: dict[str, Any],
    flows: Descriptions | None = None,
    present: Mapping[str, Present] | None = None,
) -> bool:
    """Create the deployment, or update it where it differs; True if it was.

    Args:
        client: Of the server.
        spec: The deployment's entry in prefect.yaml.
        flows: What `describe` says of its flow; by default it is imported.
        present: The deployments that are there; by default the server is asked.

    """
    flow = (flows or describe())[spec["entrypoint"]]
    there = present_deployments(client) if present is None else present
    limit = spec["concurrency_limit"]
    folder = str(PROJECT_ROOT)
    common: dict[str, Any] = {
        "entrypoint": spec["entrypoint"],
        "path": folder,
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": folder}}],
        "description": spec["description"],
        "work_pool_name": spec["work_pool"]["name"],
        "concurrency_limit": limit["limit"],
        "concurrency_options": _concurrency(limit),
        "parameter_openapi_schema": flow["schema"],
        "enforce_parameter_schema": True,
    }
    deployment = there.get(spec["name"])
    if deployment is None:
        client.create_deployment(
            flow_id=client.create_flow_from_name(flow["name"]), name=spec["name"],
            schedules=_schedules(spec), parameters=spec["parameters"], tags=spec["tags"], **common,
        )  # fmt: skip
        return True
    parameters = {**deployment["parameters"], **spec["parameters"]}
    tags = list(dict.fromkeys([*spec["tags"], *deployment["tags"]]))
    return _update(client, deployment, {**common, "parameters": parameters, "tags": tags})


def _update(client: SyncPrefectClient, deployment: Present, wanted: Mapping[str, Any]) -> bool:
    """Change the deployment unless it is as wanted; True if it was changed.

    Its description keeps the footer, which the pages write. Without it, each start would write
    all descriptions, and the pages theirs after that.
    """
    from panel.pages.deployment_descriptions import with_text

    text = with_text(deployment["description"] or "", wanted["description"])
    wanted = {**wanted, "description": text}
    if all(_is_equal(deployment, name, value) for name, value in wanted.items()):
        return False
    client.update_deployment(UUID(deployment["id"]), DeploymentUpdate(**wanted))
    return True


def _is_equal(deployment: Present, name: str, value: Any) -> bool:
    if name == "concurrency_limit":
        return bool((deployment.get("global_concurrency_limit") or {}).get("limit") == value)
    if name == "concurrency_options":
        strategy = (deployment.get(name) or {}).get("collision_strategy")
        return bool(strategy == value.collision_strategy.value)
    if name == "tags":
        return sorted(deployment[name]) == sorted(value)
    return bool(deployment.get(name) == value)


def _concurrency(limit: Mapping[str, Any]) -> ConcurrencyOptions:
    return ConcurrencyOptions(collision_strategy=limit["collision_strategy"])


def _schedules(spec: dict[str, Any]) -> list[DeploymentScheduleCreate]:
    return [
        DeploymentScheduleCreate(
            schedule=_schedule(entry),
            active=entry["active"],
            slug=entry["slug"],
        )
        for entry in spec["schedules"]
    ]


def _schedule(entry: dict[str, Any]) -> IntervalSchedule | CronSchedule:
    if "cron" in entry:  # by the calendar, e.g. on the first of each month
        return CronSchedule(cron=entry["cron"], timezone=entry["timezone"])
    return IntervalSchedule(interval=timedelta(seconds=entry["interval"]))


def apply_connection(
    client: SyncPrefectClient,
    name: str,
    system: str,
    present: Mapping[str, Present] | None = None,
) -> bool:
    """Creates or updates the deployment of a further account, modelled on its system's.

    Its name is that of its block. Returns False where nothing had to change, and where there is no
    model: the system's own deployment is missing.
    """
    there = present_deployments(client) if present is None else present
    first = SYNC + block_name(system)
    model = there.get(first)
    if model is None or SYNC + name == first:
        return False
    spec = next(entry for entry in project_deployments() if entry["name"] == first)
    common: dict[str, Any] = {
        "entrypoint": model["entrypoint"],
        "path": model["path"],
        "pull_steps": model["pull_steps"],
        "description": _renamed(spec["description"], system, name),
        "work_pool_name": model["work_pool_name"],
        "concurrency_limit": spec["concurrency_limit"]["limit"],
        "concurrency_options": _concurrency(spec["concurrency_limit"]),
        "parameter_openapi_schema": model["parameter_openapi_schema"],
        "enforce_parameter_schema": True,
    }
    deployment = there.get(SYNC + name)
    if deployment is not None:
        return _update(client, deployment, common)
    client.create_deployment(
        flow_id=UUID(model["flow_id"]), name=SYNC + name, schedules=_schedules(spec),
        parameters={**spec["parameters"], "system": name}, tags=[*spec["tags"], name], **common,
    )  # fmt: skip
    return True


def _renamed(description: str, system: str, name: str) -> str:
    """The description of a system's deployment, for another block of it."""
    first = block_name(system)
    text = description.replace(f"sync-{first})", f"sync-{name})")
    return f"The connection **{name}**.\n\n{text.replace(f'`{first}`', f'`{name}`')}"


def activate_connected(
    ready: Mapping[str, str] | None = None, present: Mapping[str, Present] | None = None
) -> list[str]:
    """Switch on the schedules of connections that have become complete, once each; return those.

    Args:
        ready: The system of each complete connection, by name; by default all blocks are read.
        present: The deployments that are there; by default the server is asked.

    """
    from panel.blocks import BLOCKS
    from panel.blocks.connected import connected
    from panel.connect.webhook_address import NoWebhooksError

    activated = []
    with get_client(sync_client=True) as client:
        there = dict(present_deployments(client) if present is None else present)
        for name, system in (connected() if ready is None else ready).items():
            if SYNC + name not in there and apply_connection(client, name, system, there):
                there = present_deployments(client)
            deployment = there.get(SYNC + name)
            if deployment is None or CONNECTED_TAG in deployment["tags"]:
                continue
            deployment_id = UUID(deployment["id"])
            for schedule in deployment["schedules"]:
                schedule_id = UUID(schedule["id"])
                client.update_deployment_schedule(deployment_id, schedule_id, active=True)
            if BLOCKS[system].made_from.pushed_only:
                try:
                    make_address(name)
                except (
                    NoWebhooksError
                ):  # the page says that it has none; the next round tries again
                    continue
            tags = [*deployment["tags"], CONNECTED_TAG]
            client.update_deployment(deployment_id, DeploymentUpdate(tags=tags))
            activated.append(name)
    return activated


def start_first_runs(names: Iterable[str]) -> None:
    """Starts a run of connections whose schedule was switched on now, once each.

    Without this the first one would come with the schedule, minutes later. A connection whose sales
    arrive by webhook alone has no schedule, and nothing to run; what somebody paused stays so. May
    be repeated after a failure.
    """
    wanted = {SYNC + name for name in names}
    if not wanted:
        return
    with get_client(sync_client=True) as client:
        for name, deployment in present_deployments(client).items():
            is_active = any(schedule["active"] for schedule in deployment["schedules"])
            if name in wanted and is_active and not deployment["paused"]:
                deployment_id = UUID(deployment["id"])
                client.create_flow_run_from_deployment(
                    deployment_id,
                    idempotency_key=f"first-run-{deployment_id}",
                    labels={LABEL: actor("twezah")},
                )


def make_address(name: str) -> None:
    """Makes the address of a connection whose sales arrive by webhook alone.

    Raises NoWebhooksError, psycopg.Error.
    """
    from panel.blocks.connected import find_block
    from panel.connect.webhook_address import ensure_addresses
    from sql.db import connect

    with connect(settings().dsn()) as connection:
        ensure_addresses(connection, find_block(name), settings().fernet_key())
        connection.commit()


def renew_pages() -> None:
    """Renews the page "Billing systems", so that it shows the connections as they are now.

    Without this the page would change only after the next run.
    """
    from panel.pages.refresh import refresh

    try:
        refresh(roles.with_role(settings(), roles.PANEL), charts=False)
    except Exception as error:  # noqa: BLE001 - a page is no reason not to start
        sys.stderr.write(f"the pages were not renewed: {type(error).__name__}\n")


def provision(simulator_url: str | None, flows: Descriptions | None = None) -> dict[str, list[str]]:
    """Blocks, work pool, deployments, schedules, automations, pages that are linked to.

    Args:
        simulator_url: Connects systems that have no block to the simulator there.
        flows: What `describe` says; by default from the state folder, or computed.

    Returns:
        connected: the connections that are ready for use; activated: those of them whose schedule
        was switched on now; changed: what was written of deployments, blocks and schedules.

    """
    from panel.alerts.automations import ensure_automations
    from panel.blocks import connect_simulator, register_blocks
    from panel.blocks.connected import connected, connections
    from panel.pages.publish import ensure_linked

    digest = source_digest()
    flows = descriptions(settings().home, digest) if flows is None else flows
    specs = project_deployments()
    pool = {"name": settings().work_pool}
    with get_client(sync_client=True) as client:
        is_registered = registered(client) == digest
        if not is_registered:
            register_blocks()
        if simulator_url is not None:
            connect_simulator(simulator_url)
        ensure_work_pool(client, settings().work_pool)
        present = present_deployments(client)
        changed = [
            spec["name"]
            for spec in specs
            if apply_deployment(client, {**spec, "work_pool": pool}, flows, present)
        ]
        if changed:
            present = present_deployments(client)
        names = connections()
        renewed = [
            SYNC + name
            for name, system in names.items()
            if apply_connection(client, name, system, present)
        ]
        if renewed:
            present = present_deployments(client)
    ready = connected()
    activated = activate_connected(ready, present)
    blocks = ["blocks"] if not is_registered or simulator_url is not None else []
    if not is_registered or activated or changed:
        ensure_automations()
        with get_client(sync_client=True) as client:
            texts = [row["description"] or "" for row in present_deployments(client).values()]
            ensure_linked(client, texts)
            _store_digest(client, digest)
    return {
        "activated": activated,
        "connected": sorted(ready),
        "changed": [*changed, *renewed, *blocks, *activated],
    }


def registered(client: SyncPrefectClient) -> str:
    """The digest of the sources for which everything was registered; "" where nothing was."""
    variable = client.read_variable_by_name(REGISTERED)
    return "" if variable is None else str(variable.value)


def _store_digest(client: SyncPrefectClient, digest: str) -> None:
    values: dict[str, Any] = {"name": REGISTERED, "value": digest, "tags": ["twezah"]}
    if client.read_variable_by_name(REGISTERED) is None:
        client.create_variable(VariableCreate(**values))
    else:
        client.update_variable(VariableUpdate(**values))


__all__: Sequence[str] = [
    "CONNECTED_TAG",
    "SYNC",
    "activate_connected",
    "apply_connection",
    "apply_deployment",
    "ensure_work_pool",
    "present_deployments",
    "project_deployments",
    "provision",
    "registered",
    "renew_pages",
    "start_first_runs",
]
