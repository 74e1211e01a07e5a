"""What the HTTP API asks of a real Prefect server: a run, the same run again, and what is connected."""

import asyncio

import pytest
from prefect.client.orchestration import get_client

from api.runs import NoDeploymentError, PrefectAwayError, Runs
from tests.flows.office import DEPLOYMENT, Office


def test_a_run_is_started_once_for_each_name(office: Office) -> None:
    async def asked() -> tuple[str, str, str]:
        runs = Runs()
        first, again = [
            await runs.start(DEPLOYMENT, {"system": "xero"}, idempotency_key="api/k/1")
            for _ in range(2)
        ]
        other = await runs.start(DEPLOYMENT, {"system": "xero", "dry_run": True})
        with pytest.raises(NoDeploymentError):
            await runs.start("nobody", {})
        assert (first.state, first.name) == ("Scheduled", again.name)
        return first.run_id, again.run_id, other.run_id

    first, again, other = asyncio.run(asked())
    assert first == again != other
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(first)  # type: ignore[arg-type]
        assert run.parameters["system"] == "xero"
        for each in (first, other):
            client.delete_flow_run(each)  # type: ignore[arg-type]


def test_runs_that_nobody_takes_up_do_not_pile_up(office: Office) -> None:
    async def asked() -> list[str]:
        return [(await Runs().ensure(DEPLOYMENT)).run_id for _ in range(3)]

    started = asyncio.run(asked())
    assert len(set(started)) == 1
    with get_client(sync_client=True) as client:
        client.delete_flow_run(started[0])  # type: ignore[arg-type]


def test_connections_are_those_of_deployments(office: Office) -> None:
    found = asyncio.run(Runs().connections())
    assert DEPLOYMENT not in {one.connection for one in found}, "it belongs to no connection"


def test_a_server_that_is_not_there_is_away(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(PrefectAwayError),
    ):
        asyncio.run(Runs().start(DEPLOYMENT, {}))
