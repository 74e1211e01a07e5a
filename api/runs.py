"""Starts runs of deployments at the Prefect server, and reads what they wrote.

It starts a synchronisation that a client asked for, or the run that awards stored events.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sql.actor import LABEL, actor

#: A Prefect server that is slower than that is taken for absent.
PREFECT_SECONDS_MAX = 8.0
_DEPLOYMENTS_MAX = 200
#: Characters of a run's message that are shown.
MESSAGE_MAX = 1_000
SYNC = "sync-"


class PrefectAwayError(RuntimeError):
    """The Prefect server did not answer, or refused."""


class NoDeploymentError(LookupError):
    """There is no such deployment at the Prefect server."""


@dataclass(frozen=True)
class Run:
    """A flow run that was started (or, with a known idempotency key, found)."""

    run_id: str
    name: str
    #: Prefect's name of the run's state.
    state: str


@dataclass(frozen=True)
class RunState:
    """How a run of a connection is doing."""

    run_id: str
    name: str
    #: The connection that it synchronises.
    connection: str
    #: Prefect's name of the state, e.g. Running, Completed, Refused.
    state: str
    #: Whether it ended, and whether what it was for is done; None: it goes on.
    succeeded: bool | None
    #: What the run says about itself; without personal data.
    message: str | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class PublishedPage:
    """A page of the panel, as the runs wrote it last."""

    markdown: str
    renewed_at: datetime


@dataclass(frozen=True)
class Deployment:
    """A deployment that synchronises a connection.

    Whether it was ever complete, and whether its schedule is on.
    """

    connection: str
    #: Whether the connection ever synchronised completely.
    connected: bool
    #: Whether its schedule is on.
    scheduled: bool


class Runs:
    """Starts runs, and reads runs and pages, through Prefect's client.

    The client is imported at its first use: that takes seconds, and webhooks need none of it.
    """

    async def start(
        self, deployment: str, parameters: dict[str, Any], *, idempotency_key: str | None = None
    ) -> Run:
        """Starts a run. Raises NoDeploymentError, PrefectAwayError."""
        async with _client() as client:
            target = await _find(client, deployment)
            if target is None:
                raise NoDeploymentError(deployment)
            run = await client.create_flow_run_from_deployment(
                target.id,
                parameters=parameters,
                idempotency_key=idempotency_key,
                labels={LABEL: actor("api")},
            )
            return Run(
                str(run.id),
                run.name,
                "Scheduled" if run.state is None else run.state.name or "Scheduled",
            )

    async def ensure(self, deployment: str) -> Run:
        """The run that waits for its start, or else a new one.

        Where no worker takes runs up, they do not pile up.

        Raises NoDeploymentError, PrefectAwayError.
        """
        async with _client() as client:
            target = await _find(client, deployment)
            if target is None:
                raise NoDeploymentError(deployment)
            run = await _waiting(client, target.id)
            if run is None:
                run = await client.create_flow_run_from_deployment(target.id)
            return Run(
                str(run.id),
                run.name,
                "Scheduled" if run.state is None else run.state.name or "Scheduled",
            )

    async def find(self, run_id: str) -> RunState | None:
        """A run that synchronises a connection, None if there is none. Raises PrefectAwayError."""
        from prefect.exceptions import ObjectNotFound

        async with _client() as client:
            try:
                run = await client.read_flow_run(UUID(run_id))
                deployment = await client.read_deployment(run.deployment_id)
            except ObjectNotFound:
                return None
        if run.deployment_id is None or not deployment.name.startswith(SYNC):
            return None
        state = run.state
        return RunState(
            run_id=str(run.id),
            name=run.name,
            connection=deployment.name.removeprefix(SYNC),
            state="Scheduled" if state is None else state.name or state.type.value.title(),
            succeeded=None if state is None or not state.is_final() else state.is_completed(),
            message=None if state is None else (state.message or "")[:MESSAGE_MAX] or None,
            started_at=run.start_time,
            ended_at=run.end_time,
        )

    async def page(self, key: str) -> PublishedPage | None:
        """The page that is published under a key, None if there is none. Raises PrefectAwayError."""
        wanted = {"artifacts": {"key": {"any_": [key]}}, "limit": 1}
        async with _client() as client:
            answer = await client.request("POST", "/artifacts/latest/filter", json=wanted)
            rows = answer.json()
        if not rows:
            return None
        return PublishedPage(str(rows[0]["data"]), datetime.fromisoformat(rows[0]["updated"]))

    async def connections(self) -> list[Deployment]:
        """The deployments that synchronise. Raises PrefectAwayError."""
        async with _client() as client:
            return [
                Deployment(
                    deployment.name.removeprefix(SYNC),
                    "connected" in deployment.tags,
                    any(schedule.active for schedule in deployment.schedules)
                    and not deployment.paused,
                )
                for deployment in await _deployments(client)
                if deployment.name.startswith(SYNC)
            ]


async def _find(client: Any, name: str) -> Any:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
    return next(iter(await _deployments(client, deployment_filter=wanted)), None)


async def _waiting(client: Any, deployment_id: Any) -> Any:
    """A run of the deployment that should have begun; None if there is none."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    of = filters.DeploymentFilter(id=filters.DeploymentFilterId(any_=[deployment_id]))
    due = filters.FlowRunFilter(
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])
        ),
        expected_start_time=filters.FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
    )
    order = FlowRunSort.EXPECTED_START_TIME_ASC
    flow_runs = await client.read_flow_runs(
        deployment_filter=of, flow_run_filter=due, sort=order, limit=1
    )
    return next(iter(flow_runs), None)


async def _deployments(client: Any, **wanted: Any) -> Any:
    from prefect.client.schemas.sorting import DeploymentSort

    # Without an order the client sends none, which the server refuses.
    return await client.read_deployments(
        limit=_DEPLOYMENTS_MAX, sort=DeploymentSort.NAME_ASC, **wanted
    )


@asynccontextmanager
async def _client() -> AsyncIterator[Any]:
    """Prefect's client for some seconds; whatever is wrong with the server is PrefectAwayError."""
    get_client = await asyncio.to_thread(_load)
    try:
        async with asyncio.timeout(PREFECT_SECONDS_MAX), get_client() as client:
            yield client
    except TimeoutError:
        raise PrefectAwayError("the Prefect server took too long") from None
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("httpx", "httpcore", "prefect"):
            status = getattr(getattr(error, "response", None), "status_code", "no answer")
            raise PrefectAwayError(
                f"the Prefect server could not do it: {type(error).__name__}, {status}"
            ) from None
        raise


def _load() -> Any:
    from prefect.client.orchestration import get_client

    return get_client
