"""Starts runs of deployments at the Prefect server: a synchronisation that was asked for, and the run that awards stored events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sql.actor import LABEL, actor

#: A Prefect server that is slower than that is taken for absent.
PREFECT_SECONDS_MAX = 8.0
_DEPLOYMENTS_MAX = 200
SYNC = "sync-"


class PrefectAwayError(RuntimeError):
    """The Prefect server did not answer."""


class NoDeploymentError(LookupError):
    """There is no such deployment at the Prefect server."""


@dataclass(frozen=True)
class Run:
    """A flow run that was started (or, with a known idempotency key, found)."""

    run_id: str
    name: str
    state: str


@dataclass(frozen=True)
class Deployment:
    """A deployment that synchronises a connection: whether it was ever complete, and whether its schedule is on."""

    connection: str
    connected: bool
    scheduled: bool


class Runs:
    """Prefect's client is imported at its first use: that takes seconds, and webhooks need none of it."""

    async def start(self, deployment: str, parameters: dict[str, Any], *, idempotency_key: str | None = None) -> Run:
        """Starts a run. Raises NoDeploymentError, PrefectAwayError."""
        async with _client() as client:
            found = await _find(client, deployment)
            if found is None:
                raise NoDeploymentError(deployment)
            run = await client.create_flow_run_from_deployment(
                found.id, parameters=parameters, idempotency_key=idempotency_key, labels={LABEL: actor("api")}
            )
            return Run(str(run.id), run.name, "Scheduled" if run.state is None else run.state.name or "Scheduled")

    async def connections(self) -> list[Deployment]:
        """The deployments that synchronise. Raises PrefectAwayError."""
        async with _client() as client:
            return [
                Deployment(
                    one.name.removeprefix(SYNC),
                    "connected" in one.tags,
                    any(schedule.active for schedule in one.schedules) and not one.paused,
                )
                for one in await client.read_deployments(limit=_DEPLOYMENTS_MAX)
                if one.name.startswith(SYNC)
            ]


async def _find(client: Any, name: str) -> Any:
    for deployment in await client.read_deployments(limit=_DEPLOYMENTS_MAX):
        if deployment.name == name:
            return deployment
    return None


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
            raise PrefectAwayError(f"the Prefect server did not answer: {type(error).__name__}") from None
        raise


def _load() -> Any:
    from prefect.client.orchestration import get_client

    return get_client
