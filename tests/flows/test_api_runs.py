"""What the HTTP API asks of a real Prefect server: a run, the same run again, and what is connected."""

import asyncio
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Failed

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


def test_a_run_is_asked_for_its_end(office: Office) -> None:
    started = asyncio.run(Runs().start(DEPLOYMENT, {"system": "xero"}))
    assert asyncio.run(Runs().find(str(uuid4()))) is None
    assert asyncio.run(Runs().find(started.run_id)) is None, "it synchronises no connection"
    with get_client(sync_client=True) as client:
        run_id = UUID(started.run_id)
        flow_id = client.read_flow_run(run_id).flow_id
        deployment_id = client.create_deployment(flow_id, name="sync-shop")
        run = client.create_flow_run_from_deployment(deployment_id)
        waiting = asyncio.run(Runs().find(str(run.id)))
        assert waiting is not None
        assert (waiting.connection, waiting.state, waiting.succeeded) == (
            "shop", "Scheduled", None,
        )  # fmt: skip
        client.set_flow_run_state(run.id, Failed(name="Refused", message="no"), force=True)
        ended = asyncio.run(Runs().find(str(run.id)))
        assert ended is not None
        assert (ended.state, ended.succeeded, ended.message) == ("Refused", False, "no")
        assert ended.ended_at is not None
        for each in (run_id, run.id):
            client.delete_flow_run(each)
        client.delete_deployment(deployment_id)


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
