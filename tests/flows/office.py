"""What a flow meets: simulated vendors over HTTP, blocks, an empty ledger; and what an operator reads afterwards."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

import simulator
from flows.sync import sync_system
from panel.blocks import BLOCKS, BillingConnection, connect_simulator
from panel.blocks.connected import connections
from simulator.server import Application, Message, Receive, Send
from sql.db import connect

#: Every constant that must never be shown.
SECRETS = (
    simulator.CLIENT_SECRET,
    *(simulator.seed_refresh_token(name) for name in simulator.SYSTEMS),
    "wr0ng-s3cret",
)

#: The systems with a past; the others are connected as well, and their books are empty.
LIVELY = ("custom", "freshbooks", "netsuite", "quickbooks", "sage_intacct", "stripe", "xero")

#: Name of the deployment whose runs an operator starts and retries.
DEPLOYMENT = "sync"
#: How often a request is tried; the simulator fails none more often than twice in a row.
ATTEMPTS = 6

#: By address of the vendors, the values of each block as it was made: to make one anew takes
#: Prefect half a second.
_fresh_blocks: dict[str, dict[UUID, dict[str, Any]]] = {}


@dataclass
class Vendors:
    """The vendors' servers: one port, a world that tests replace, and the requests that arrived."""

    url: str = ""
    world: simulator.World = field(default_factory=lambda: simulator.World(customers=0, invoices=0))
    application: Application | None = None
    #: Requests whose target holds this text are answered 503.
    broken: str | None = None
    targets: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """A new world with sixty sales in some systems, thirty days long and over by now."""
        self.world = simulator.World(
            seed=24,
            customers=40,
            invoices=60,
            start=datetime.now(UTC) - timedelta(days=30),
            systems=LIVELY,
        )
        self.application, self.broken = Application(self.world), None
        self.targets.clear()

    def pages_asked(self, path: str) -> list[str]:
        """Page numbers of the requests to paths that end so, in the order of arrival."""
        urls = [httpx.URL(f"http://vendor{target}") for target in self.targets]
        return [url.params["page"] for url in urls if url.path.endswith(path)]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        assert self.application is not None
        target = (scope["raw_path"] + b"?" + scope["query_string"]).decode()
        self.targets.append(target)
        if self.broken is None or self.broken not in target:
            await self.application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def serving() -> Iterator[Vendors]:
    """The vendors, over HTTP on a free port."""
    vendors = Vendors()
    server = uvicorn.Server(
        uvicorn.Config(vendors, port=0, log_level="warning", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    vendors.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield vendors
    server.should_exit = True
    thread.join(timeout=10)


@dataclass
class Office:
    """An operator's desk: blocks in Prefect, runs, their reports and logs, and the ledger's rows."""

    dsn: str
    vendors: Vendors

    def connect_all(self) -> None:
        """Fresh blocks for all systems, pointing at the simulator."""
        with get_client(sync_client=True) as client:
            fresh = _fresh_blocks.get(self.vendors.url, {})
            found = {
                document.id: document
                for document in client.read_block_documents(offset=0, limit=200)
            }
            if not fresh or not fresh.keys() <= found.keys():
                for name, system in connections().items():
                    BLOCKS[system].delete(name)
                connect_simulator(self.vendors.url)
                documents = client.read_block_documents(offset=0, limit=200)
                _fresh_blocks[self.vendors.url] = {
                    document.id: document.data for document in documents
                }
                return
            for number, document in found.items():
                if number not in fresh:
                    client.delete_block_document(number)
                elif document.data != fresh[number]:
                    client.update_block_document(
                        number, BlockDocumentUpdate(data=fresh[number], merge_existing_data=False)
                    )

    def edit(self, system: str, **values: Any) -> BillingConnection:
        """Changes values of a block, as its form does; returns the block as it was."""
        before: Any = BLOCKS[system].load(system)
        assert isinstance(before, BillingConnection)
        before.model_copy(update=values).save(system, overwrite=True)
        return before

    def run(self, system: str, **parameters: Any) -> State[Any]:
        """What the UI's Run button does, and then the worker: a run of the deployment, to its end."""
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"sync-system/{DEPLOYMENT}")
            values = {"system": system, **parameters}
            return worked(client.create_flow_run_from_deployment(deployment.id, parameters=values))

    def retry(self, state: State[Any]) -> State[Any]:
        """What the UI's Retry button does, and then the worker: the same flow run once more."""
        with get_client(sync_client=True) as client:
            asked: State[Any] = Scheduled(name="AwaitingRetry", message="Retry from the UI")
            accepted = client.set_flow_run_state(run_id(state), asked, force=False)
        assert accepted.status.value == "ACCEPT", accepted.details
        return worked(self.flow_run(state))

    def flow_run(self, state: State[Any]) -> FlowRun:
        """The flow run of a state, as it is now."""
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run_id(state))

    def report(self, system: str) -> str:
        """The newest report's text."""
        wanted = {
            "artifacts": {"key": {"any_": [f"sync-{system}"]}},
            "sort": "CREATED_DESC",
            "limit": 1,
            "offset": 0,
        }
        with get_client(sync_client=True) as client:
            found = client._client.post("/artifacts/filter", json=wanted).json()
        return f"{found[0]['description']}\n{found[0]['data']}"

    def logs(self, state: State[Any], awaited: str) -> str:
        """The run's log; lines are shipped a moment later, `awaited` is in one of the last."""
        only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id(state)]))
        deadline = time.monotonic() + 15
        with get_client(sync_client=True) as client:
            while True:
                text = "\n".join(
                    line.message for line in client.read_logs(only, limit=200, offset=0)
                )
                if awaited in text:
                    return text
                assert time.monotonic() < deadline, text
                time.sleep(0.2)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        with connect(self.dsn) as connection:
            return connection.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        """Executes and commits."""
        with connect(self.dsn) as connection:
            connection.execute(statement.encode())
            connection.commit()

    def points(self) -> dict[tuple[str, str], int]:
        """Points posted per (system, external_id), the zeros left out."""
        statement = "SELECT system, external_id, sum(points)::bigint FROM loyalty.award_entry GROUP BY 1, 2 HAVING sum(points) <> 0"
        return {
            (system, external_id): points for system, external_id, points in self.rows(statement)
        }

    def counts(self) -> dict[str, int]:
        """Rows of every table of the ledger, but for the tokens and the calls made."""
        names = self.rows(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('billing', 'loyalty') "
            "AND tablename NOT IN ('connector_token', 'api_call', 'api_rest')"
        )
        return {name: self.rows(f"SELECT count(*) FROM {name}")[0][0] for (name,) in names}

    def personal(self) -> list[str]:
        """Local parts of all phone numbers of all worlds' customers, and all secrets: what no text may hold."""
        national = [row.phone_e164[4:] for row in self.vendors.world.truth() if row.phone_e164]
        assert national
        return [*national, *SECRETS]

    def shown_of(self, text: str) -> list[str]:
        """What of it is in `text` all the same."""
        return [
            value for value in self.personal() if value in text or value in text.replace(" ", "")
        ]


def deploy() -> None:
    """A deployment, as `twezah up` applies it: only runs of one can be retried in the UI."""
    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(sync_system), DEPLOYMENT)


def find_deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """The deployment of this name (names are unique in this project), or None."""
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    rows = client.read_deployments(deployment_filter=wanted, limit=1, sort=DeploymentSort.NAME_ASC)
    return next(iter(rows), None)


def worked(flow_run: FlowRun) -> State[Any]:
    """What a worker does with a flow run."""
    state: Any = run_flow(
        sync_system, flow_run=flow_run, parameters=flow_run.parameters, return_type="state"
    )
    assert isinstance(state, State)
    return state


def run_id(state: State[Any]) -> UUID:
    """The flow run that ended so."""
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id
