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
from connectors.kit.errors import ConnectorError, block_name
from panel.blocks import BLOCKS, BillingConnection
from panel.blocks.settings_check import check_settings

#: What Prefect gives at a time.
_PAGE = 200
SYNC = "sync-"
#: Of the deployments with which a connection is made.
_TAG = "connection"


@dataclass
class Desk:
    """One connection, or a system that has none yet (`block_id` "").

    `problem`: why it cannot be used, "" where it can.
    """

    name: str
    system: str
    title: str
    form: str
    account: str = ""
    problem: str = ""
    block_id: str = ""
    deployment_id: str = ""
    scheduled: bool = False
    paused: bool = False
    every: timedelta | None = None
    next_run_at: datetime | None = None
    running: str = ""


@dataclass(frozen=True)
class Desks:
    """All connections by name, and the systems that have none yet."""

    connections: dict[str, Desk]
    others: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, tuple[str, str]] = field(default_factory=dict)

    def names(self) -> dict[tuple[str, str], str]:
        """The first connection, by name, of each system and account."""
        names: dict[tuple[str, str], str] = {}
        for name, desk in sorted(self.connections.items()):
            if desk.account:
                names.setdefault((desk.system, desk.account), name)
        return names


def read(client: SyncPrefectClient, *, everything: bool = True) -> Desks:
    """Reads them. Raises what Prefect's client raises.

    Without `everything` other deployments are left out, but for those with which connections are
    made: for every schedule in an answer the server walks through all time zones of the machine, as
        would the client's own reader.
    """
    only = (
        {} if everything else {"operator": "or_", "name": {"like_": SYNC}, "tags": {"any_": [_TAG]}}
    )
    wanted = {"deployments": only, "sort": "NAME_ASC", "limit": _PAGE}
    deployments = {
        row["name"]: row
        for row in client.request("POST", "/deployments/filter", json=wanted).json()
    }
    desks = _connected(client)
    for system, kind in BLOCKS.items():
        if not any(desk.system == system for desk in desks.values()):
            desks[block_name(system)] = _desk(block_name(system), system, kind)
    for name, desk in desks.items():
        if (deployment := deployments.get(SYNC + name)) is not None:
            _scheduled(desk, deployment)
    by_deployment = {desk.deployment_id: desk for desk in desks.values() if desk.deployment_id}
    _runs(client, by_deployment)
    others = {name: row["id"] for name, row in deployments.items() if not name.startswith(SYNC)}
    return Desks(
        desks,
        others,
        {name: (row["id"], row["description"] or "") for name, row in deployments.items()},
    )


def _connected(client: SyncPrefectClient) -> dict[str, Desk]:
    kinds = {kind.get_block_type_slug(): (system, kind) for system, kind in BLOCKS.items()}
    wanted = {
        "block_types": {"slug": {"any_": list(kinds)}},
        "block_documents": {"is_anonymous": {"eq_": False}},
        # (Without its secrets nobody knows whether a block is complete. They stay in this
        # function.)
        "include_secrets": True, "limit": _PAGE,
    }  # fmt: skip
    desks: dict[str, Desk] = {}
    firsts = {block_name(system): system for system in BLOCKS}
    for row in client.request("POST", "/block_documents/filter", json=wanted).json():
        document = BlockDocument.model_validate(row)
        system, kind = kinds[row["block_type"]["slug"]]
        name = document.name or ""
        if not name or firsts.get(name, system) != system:
            continue
        desk = _desk(name, system, kind)
        desk.block_id = str(document.id)
        desk.account, desk.problem = _state(kind, document)
        desks[name] = desk
    return dict(sorted(desks.items()))


def _desk(name: str, system: str, kind: type[BillingConnection]) -> Desk:
    title = (kind._block_type_name or system).removesuffix(" Connection")
    return Desk(name, system, title, f"/blocks/catalog/{kind.get_block_type_slug()}/create")


def _state(kind: type[BillingConnection], document: BlockDocument) -> tuple[str, str]:
    """The account, and what keeps the connection from being used."""
    try:
        block = kind._from_block_document(document)
    except ValidationError as error:
        return "", f"a setting cannot be as it is: {problems(kind, error)}"
    try:
        if missing := block.missing():
            return block.account(), missing
        check_settings(block)
    except ConnectorError as error:
        return "", f"a setting cannot be as it is: {error.detail}"
    return block.account(), ""


def _scheduled(desk: Desk, deployment: Mapping[str, Any]) -> None:
    desk.deployment_id, desk.paused = deployment["id"], deployment["paused"]
    active = [entry["schedule"] for entry in deployment["schedules"] if entry["active"]]
    desk.scheduled = bool(active) and not desk.paused
    intervals = [
        timedelta(seconds=schedule["interval"]) for schedule in active if schedule.get("interval")
    ]
    desk.every = min(intervals, default=None)


def _runs(client: SyncPrefectClient, desks: Mapping[str, Desk]) -> None:
    """The next run of each, and the one that is under way."""
    wanted: dict[str, Any] = {
        "deployments": {"id": {"any_": list(desks)}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}},
        "sort": "EXPECTED_START_TIME_ASC", "limit": _PAGE,
    }  # fmt: skip
    if not desks:
        return
    for run in client.request("POST", "/flow_runs/filter", json=wanted).json():
        desk = desks[run["deployment_id"]]
        if run["state_type"] == "RUNNING":
            desk.running = desk.running or run["id"]
        elif desk.next_run_at is None and run["expected_start_time"]:
            desk.next_run_at = datetime.fromisoformat(run["expected_start_time"])
