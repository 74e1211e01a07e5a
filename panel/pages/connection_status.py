"""The status of all connections as Prefect knows it, read with a handful of requests.

That is: their blocks, deployments, schedules, and next runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import BlockDocument
from pydantic import ValidationError

from connectors.kit.described.documents import problems
from connectors.kit.errors import block_name
from panel.blocks import BLOCKS, BillingConnection
from panel.blocks.connected import by_name, saved
from panel.blocks.settings_check import why_not_ready

#: Prefect returns at most this many rows at a time.
_PAGE = 200
#: The deployment of a connection is called this and the connection's name.
SYNC = "sync-"
#: Tag of the deployments with which a connection is made, e.g. `connect`.
_TAG = "connection"


@dataclass
class ConnectionStatus:
    """What Prefect knows of one connection, or of a system that has none yet."""

    #: What operators call the connection: the name of its block.
    name: str
    #: Key of the billing system, e.g. `sage_intacct`.
    system: str
    #: What people call the billing system, e.g. "Sage Intacct".
    title: str
    #: Path of the form that makes its block, in Prefect's UI.
    form: str
    #: The account at the vendor; "" while the block does not name one.
    account: str = ""
    #: Why the connection cannot be used, "" where it can.
    problem: str = ""
    #: Id of the block document; "" for a system that has no connection yet.
    block_id: str = ""
    #: Id of the deployment `sync-NAME`; "" where there is none.
    deployment_id: str = ""
    #: Whether its sales arrive by webhook alone: then it has no schedule.
    pushed_only: bool = False
    #: Whether a schedule of the deployment is on.
    scheduled: bool = False
    #: Whether the deployment is paused.
    paused: bool = False
    #: The shortest interval of its active schedules.
    every: timedelta | None = None
    #: When the next run is expected to start.
    next_run_at: datetime | None = None
    #: Id of the run that is under way, "" where there is none.
    running: str = ""


@dataclass(frozen=True)
class ConnectionOverview:
    """What Prefect knows of all connections and deployments."""

    #: Every connection by its name; a system without one is there by its own name.
    connections: dict[str, ConnectionStatus]
    #: Ids of the deployments that synchronise nothing, by name.
    others: dict[str, str] = field(default_factory=dict)
    #: Id and description of every deployment, by name.
    descriptions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def names(self) -> dict[tuple[str, str], str]:
        """The first connection, by name, of each system and account."""
        names: dict[tuple[str, str], str] = {}
        for name, connection in sorted(self.connections.items()):
            if connection.account:
                names.setdefault((connection.system, connection.account), name)
        return names


def read(client: SyncPrefectClient, *, everything: bool = True) -> ConnectionOverview:
    """Reads the overview. Raises what Prefect's client raises.

    Args:
        client: Of the server.
        everything: False: only the deployments that synchronise, and those with which connections
            are made. The client's own reader would walk through all time zones of the machine
            for every schedule in the answer, so this asks for plain JSON.
    """
    only = (
        {} if everything else {"operator": "or_", "name": {"like_": SYNC}, "tags": {"any_": [_TAG]}}
    )
    wanted = {"deployments": only, "sort": "NAME_ASC", "limit": _PAGE}
    deployments = {
        row["name"]: row
        for row in client.request("POST", "/deployments/filter", json=wanted).json()
    }
    connections = _connected(client)
    for system, kind in BLOCKS.items():
        if not any(connection.system == system for connection in connections.values()):
            connections[block_name(system)] = _new_status(block_name(system), system, kind)
    for name, connection in connections.items():
        if (deployment := deployments.get(SYNC + name)) is not None:
            _scheduled(connection, deployment)
    by_deployment = {
        connection.deployment_id: connection
        for connection in connections.values()
        if connection.deployment_id
    }
    _runs(client, by_deployment)
    others = {name: row["id"] for name, row in deployments.items() if not name.startswith(SYNC)}
    return ConnectionOverview(
        connections,
        others,
        {name: (row["id"], row["description"] or "") for name, row in deployments.items()},
    )


def _connected(client: SyncPrefectClient) -> dict[str, ConnectionStatus]:
    connections: dict[str, ConnectionStatus] = {}
    # Whether a block is complete can only be judged with its secrets. They do not leave this
    # function.
    for name, documents in by_name(saved(client, include_secrets=True)).items():
        system, document = documents[-1]
        kind = BLOCKS[system]
        connection = _new_status(name, system, kind)
        connection.block_id = str(document.id)
        connection.account, connection.problem = _state(kind, document)
        connections[name] = connection
    return dict(sorted(connections.items()))


def _new_status(name: str, system: str, kind: type[BillingConnection]) -> ConnectionStatus:
    title = (kind._block_type_name or system).removesuffix(" Connection")
    return ConnectionStatus(
        name,
        system,
        title,
        f"/blocks/catalog/{kind.get_block_type_slug()}/create",
        pushed_only=kind.made_from.pushed_only,
    )


def _state(kind: type[BillingConnection], document: BlockDocument) -> tuple[str, str]:
    """The account, and what keeps the connection from being used."""
    try:
        block = kind._from_block_document(document)
    except ValidationError as error:
        return "", f"a setting is not valid: {problems(kind, error)}"
    return block.account(), why_not_ready(block)


def _scheduled(connection: ConnectionStatus, deployment: Mapping[str, Any]) -> None:
    connection.deployment_id, connection.paused = deployment["id"], deployment["paused"]
    active = [entry["schedule"] for entry in deployment["schedules"] if entry["active"]]
    connection.scheduled = bool(active) and not connection.paused
    intervals = [
        timedelta(seconds=schedule["interval"]) for schedule in active if schedule.get("interval")
    ]
    connection.every = min(intervals, default=None)


def _runs(client: SyncPrefectClient, connections: Mapping[str, ConnectionStatus]) -> None:
    """The next run of each, and the one that is under way."""
    wanted: dict[str, Any] = {
        "deployments": {"id": {"any_": list(connections)}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}},
        "sort": "EXPECTED_START_TIME_ASC",
        "limit": _PAGE,
    }
    if not connections:
        return
    for run in client.request("POST", "/flow_runs/filter", json=wanted).json():
        connection = connections[run["deployment_id"]]
        if run["state_type"] == "RUNNING":
            connection.running = connection.running or run["id"]
        elif connection.next_run_at is None and run["expected_start_time"]:
            connection.next_run_at = datetime.fromisoformat(run["expected_start_time"])
