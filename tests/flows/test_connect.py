"""Connecting and testing connections as an operator does it in Prefect's UI, with a browser."""

import contextvars
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import httpx
import pytest
import uvicorn
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import State
from pydantic import SecretStr

import simulator
from connectors import SYSTEMS
from connectors.kit.errors import block_name
from flows.check import test_connection as run_test
from flows.connect import connect
from flows.sync import sync_system
from panel.blocks import (
    BLOCKS,
    ConsentedConnection,
    FreshBooksConnection,
    XeroConnection,
    connect_simulator,
)
from panel.blocks.connected import connected, connections, find_block
from panel.blocks.simulated import simulated_values
from panel.connect.check import Check, CheckReport, check_connection
from panel.pages.deployment_descriptions import MARK
from settings import settings
from simulator.server import Application
from sql.actor import LABEL
from sql.db import connect as database
from tests.flows.office import find_deployment
from tests.flows.worker_fixtures import eventually
from tests.support.database import databases, dsn
from twezah.stack import provision
from twezah.stack.flow_descriptions import describe

__all__ = ["databases", "dsn"]
SECOND = "b0a5c0de-0000-4000-8000-000000000002"
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Vendors:
    """The simulated vendors over HTTP in this process, so that a test sees their side too."""

    def __init__(self) -> None:
        self.world = simulator.World(
            seed=11, customers=20, invoices=30, accounts={"xero": [SECOND]}
        )
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            Application(self.world), port=self.port, log_level="error", lifespan="off"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        eventually(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture
def vendors(
    prefect: None, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vendors]:
    """Vendors, an empty ledger, and no connection."""
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    settings.cache_clear()
    for name, system in connections().items():
        BLOCKS[system].delete(name)
    with Vendors() as serving:
        yield serving
    settings.cache_clear()


def new_block(vendors: Vendors, system: str, name: str, **values: Any) -> None:
    """What an operator enters: client id and secret."""
    page = {
        "xero": "/identity/connect/authorize",
        "freshbooks": "/oauth/authorize",
        "quickbooks": "/connect/oauth2",
    }
    token = {
        "xero": "/connect/token",
        "freshbooks": "/auth/oauth/token",
        "quickbooks": "/oauth2/v1/tokens/bearer",
    }
    base = f"{vendors.url}/{system}"
    given = {
        "client_id": simulator.CLIENT_ID, "client_secret": simulator.CLIENT_SECRET, "base_url": base,
        "token_url": base + token[system], "authorize_url": base + page[system],
    }  # fmt: skip
    BLOCKS[system](**{**given, **values}).save(name, overwrite=True)


def artifacts(key: str = "") -> list[str]:
    with get_client(sync_client=True) as client:
        found = client._client.post(
            "/artifacts/filter", json={"sort": "CREATED_DESC", "limit": 200}
        ).json()
    return [str(one["data"]) for one in found if not key or one["key"] == key]


def everything_prefect_knows(since: datetime) -> str:
    """What was written from then on: other tests use the same server."""
    sorts = {
        "artifacts": "CREATED_DESC",
        "logs": "TIMESTAMP_DESC",
        "flow_runs": "EXPECTED_START_TIME_DESC",
    }
    with get_client(sync_client=True) as client:
        kept = [
            row
            for what, sort in sorts.items()
            for row in client._client.post(f"/{what}/filter", json={"sort": sort}).json()
            if datetime.fromisoformat(row["created"]) >= since
        ]
    return json.dumps(kept)


def in_the_background(run: Callable[[], State[Any]]) -> tuple[threading.Thread, list[State[Any]]]:
    states: list[State[Any]] = []
    known = contextvars.copy_context()  # which Prefect server is used is part of it
    thread = threading.Thread(target=known.run, args=[lambda: states.append(run())])
    thread.start()
    return thread, states


def link_of(name: str, known: int) -> str:
    def found() -> str | None:
        texts = artifacts(f"connect-{name}")
        shown = re.search(r"\*\*\]\((http[^)]+)\)", texts[0]) if len(texts) > known else None
        return shown.group(1) if shown else None

    return eventually(found)


def consented(
    name: str, *, decision: str = "allow", paste: bool = False, **parameters: Any
) -> State[Any]:
    """Starts the flow, plays the browser, waits for the end."""
    known = len(artifacts(f"connect-{name}"))
    thread, states = in_the_background(lambda: connect(name, **parameters, return_state=True))
    with httpx.Client(timeout=30, trust_env=False) as browser:
        link = link_of(name, known)
        page = browser.get(link)
        assert f'id="{decision}"' in page.text
        answered = browser.get(httpx.URL(link).copy_merge_params({"decision": decision})).headers[
            "location"
        ]
        if paste:
            form = re.search(r"\[this form\]\(([^)]+)\)", artifacts(f"connect-{name}")[0])
            assert form is not None
            browser.post(form.group(1), data={"address": answered})
        else:
            browser.get(answered)
    thread.join(60)
    return states[0]


@pytest.fixture
def redirect_uri() -> str:
    return f"http://localhost:{free_port()}/callback"


def test_an_account_is_connected_from_the_ui(vendors: Vendors, dsn: str, redirect_uri: str) -> None:
    since = datetime.now(UTC)
    new_block(vendors, "xero", "xero", redirect_uri=redirect_uri)
    assert connections() == {"xero": "xero"}
    assert connected() == {}, "client id and secret are not a connection yet"
    assert "run `twezah connect xero`" in str(sync_system("xero", return_state=True).message)
    state = consented("xero", account=simulator.ACCOUNTS["xero"])
    assert state.is_completed(), state.message
    assert f"Connected to {simulator.ACCOUNTS['xero']} (Água Twezah, Lda). xero: all " in str(
        state.message
    )
    block = XeroConnection.load("xero")
    assert block.tenant_id == simulator.ACCOUNTS["xero"]
    assert connected() == {"xero": "xero"}
    (text,) = artifacts("test-xero")
    for part in (
        "reach the API",
        "clock",
        "credentials",
        "scopes",
        "read invoices",
        "map invoices",
        "look up phones",
    ):
        assert f"| {part} | ok |" in text, part
    known = everything_prefect_knows(since)
    assert block.refresh_token.get_secret_value() not in known
    for secret in (simulator.CLIENT_SECRET, "sim-code", "sim-access", "sim-refresh", "state="):
        assert secret not in known, secret
    with database(dsn) as connection:
        assert connection.execute(
            "SELECT system, account FROM billing.connector_token"
        ).fetchall() == [("xero", simulator.ACCOUNTS["xero"])]
    assert sync_system("xero", return_state=True).is_completed()


def test_an_https_redirect_is_pasted_into_the_page_on_this_machine(vendors: Vendors) -> None:
    new_block(vendors, "freshbooks", "freshbooks")
    state = consented("freshbooks", paste=True)
    assert state.is_completed(), state.message
    assert FreshBooksConnection.load("freshbooks").account_id == simulator.ACCOUNTS["freshbooks"]


def test_a_refusal_says_what_to_do(vendors: Vendors, redirect_uri: str) -> None:
    new_block(vendors, "xero", "xero", redirect_uri=redirect_uri)
    state = consented("xero", decision="deny")
    assert state.is_failed()
    assert "ConsentFailed" in str(state.message)
    assert "access was refused on the vendor's page" in str(state.message)
    assert "`twezah connect`" in str(state.message)
    assert connected() == {}
    assert "is used up" in artifacts("connect-xero")[0]


def test_several_accounts_without_a_choice_are_listed_and_no_second_consent_is_needed(
    vendors: Vendors, redirect_uri: str
) -> None:
    new_block(vendors, "xero", "xero", redirect_uri=redirect_uri)
    state = consented("xero")
    assert state.is_failed()
    assert SECOND in str(state.message) and simulator.ACCOUNTS["xero"] in str(state.message)
    block = XeroConnection.load("xero")
    block.tenant_id = SECOND
    block.save("xero", overwrite=True)
    assert run_test("xero", return_state=True).is_completed()


def test_a_second_account_of_the_same_consent_shares_its_token_and_both_sync(
    vendors: Vendors, dsn: str, redirect_uri: str
) -> None:
    new_block(vendors, "xero", "xero", redirect_uri=redirect_uri)
    assert consented("xero", account=simulator.ACCOUNTS["xero"]).is_completed()
    new_block(vendors, "xero", "xero-lisboa", redirect_uri=redirect_uri)
    state = consented("xero-lisboa")
    assert state.is_completed(), state.message
    assert SECOND in str(state.message), "the only account that is not connected yet"
    first, second = XeroConnection.load("xero"), XeroConnection.load("xero-lisboa")
    assert first.refresh_token == second.refresh_token
    assert (first.tenant_id, second.tenant_id) == (simulator.ACCOUNTS["xero"], SECOND)
    vendors.world.grants["xero"].expire_access()
    before = vendors.world.grants["xero"].refreshes
    assert sync_system("xero", return_state=True).is_completed()
    assert sync_system("xero-lisboa", return_state=True).is_completed()
    assert vendors.world.grants["xero"].refreshes == before + 1
    with database(dsn) as connection:
        counts = connection.execute(
            "SELECT account, count(*) FROM billing.invoice GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [account for account, _ in counts] == [simulator.ACCOUNTS["xero"], SECOND]
    assert counts[0][1] == counts[1][1] > 20
    assert artifacts("sync-xero") and artifacts("sync-xero-lisboa")


def test_an_account_is_not_connected_twice(vendors: Vendors, redirect_uri: str) -> None:
    new_block(vendors, "quickbooks", "quickbooks", redirect_uri=redirect_uri)
    assert consented("quickbooks").is_completed()
    new_block(vendors, "quickbooks", "quickbooks-2", redirect_uri=redirect_uri)
    state = consented("quickbooks-2")
    assert state.is_failed()
    assert "connected under another name already" in str(state.message)


def test_errors_name_the_connection_not_its_system(vendors: Vendors) -> None:
    connect_simulator(vendors.url, ["xero"])
    block = XeroConnection.load("xero")
    block.client_secret = SecretStr("wr0ng-s3cret")
    block.save("xero-lisboa", overwrite=True)
    state = sync_system("xero-lisboa", return_state=True)
    assert state.is_failed()
    assert 'block "xero-lisboa"' in str(state.message)


def result_of(name: str) -> CheckReport:
    own = settings()
    return check_connection(find_block(name), dsn=own.dsn(), key=own.fernet_key())


def failed(result: CheckReport) -> Check:
    found = [one for one in result.checks if not one.ok]
    assert found, result
    return found[0]


@pytest.mark.parametrize(
    "system",
    sorted(
        name
        for name, kind in BLOCKS.items()
        if issubclass(kind, ConsentedConnection) and kind.made_from.simulated is not None
    ),
)
def test_a_good_connection_passes_every_check(vendors: Vendors, dsn: str, system: str) -> None:
    connect_simulator(vendors.url, [system])
    result = result_of(system)
    assert result.ok, result
    spec, asked = SYSTEMS[system], {one.call for one in result.latency()}
    looked_up = {lookup.name for lookup in spec.lookups} - {"items"}
    assert len(result.checks) >= 8 + ("customers" in looked_up)
    assert asked >= {"token", *looked_up}
    assert asked & {stream.name for stream in spec.streams}
    with database(dsn) as connection:
        stored = [
            connection.execute(f"SELECT count(*) FROM billing.{name}".encode()).fetchone()
            for name in ("sync_run", "raw_page", "invoice", "customer", "sync_cursor")
        ]
        assert stored == [(0,)] * 5
        assert connection.execute("SELECT count(*) FROM billing.connector_token").fetchone() == (1,)
    written = json.dumps(result.to_json()).replace(" ", "")
    numbers = [row.phone_e164[4:] for row in vendors.world.truth() if row.phone_e164]
    assert numbers and not [number for number in numbers if number in written]


def test_a_shop_with_a_key_passes_every_check(vendors: Vendors, dsn: str) -> None:
    connect_simulator(vendors.url, ["woocommerce"])
    result = result_of("woocommerce")
    assert result.ok, result
    assert {one.call for one in result.latency()} >= {"orders", "deleted_orders", "customers"}


@pytest.mark.parametrize(
    ("changes", "check", "detail", "who"),
    [
        pytest.param(
            {"refresh_token": ""},
            "settings",
            "run `twezah connect xero`",
            "operator",
            id="no consent",
        ),
        pytest.param(
            {"base_url": "ftp://x"}, "settings", "not an http(s) URL", "operator", id="base URL"
        ),
        pytest.param(
            {"base_url": "http://no-such-host.invalid"},
            "reach the API",
            "(DNS)",
            "network",
            id="DNS",
        ),
        pytest.param(
            {"base_url": "http://127.0.0.1:9"}, "reach the API", "refused", "network", id="refused"
        ),
        pytest.param(
            {"base_url": "https://127.0.0.1:{port}"}, "reach the API", "(TLS)", "network", id="TLS"
        ),
        pytest.param(
            {"client_secret": "wr0ng"}, "credentials", "invalid_client", "operator", id="secret"
        ),
        pytest.param(
            {"refresh_token": "stale"},
            "credentials",
            "invalid_grant",
            "operator",
            id="refresh token",
        ),
        pytest.param(
            {"tenant_id": SECOND[:-1] + "9"},
            "read invoices",
            "Check the account",
            "administrator",
            id="account",
        ),
        pytest.param(
            {"field_mapping": {"total_minor": "/None"}},
            "map invoices",
            "total_minor, from /None",
            "mapping",
            id="mapping",
        ),
        pytest.param(
            {"field_mapping": {"total_minor": "None"}},
            "settings",
            "start with a slash",
            "operator",
            id="no path",
        ),
        pytest.param(
            {"timezone": "Luanda"}, "settings", 'no time zone "Luanda"', "operator", id="time zone"
        ),
    ],
)
def test_what_is_wrong_and_who_must_see_to_it(
    vendors: Vendors, changes: dict[str, Any], check: str, detail: str, who: str
) -> None:
    given = {
        name: text.format(port=vendors.port) if name == "base_url" else text
        for name, text in changes.items()
    }
    usual = {
        "tenant_id": simulator.ACCOUNTS["xero"],
        "refresh_token": simulator.seed_refresh_token("xero"),
    }
    new_block(vendors, "xero", "xero", **{**usual, **given})
    found = failed(result_of("xero"))
    assert found.check == check, found
    assert detail in found.detail
    assert who in found.who
    assert "wr0ng" not in found.detail


def test_missing_scopes_are_named(vendors: Vendors) -> None:
    connect_simulator(vendors.url, ["xero"])
    vendors.world.grants["xero"].scope = "offline_access accounting.transactions"
    found = failed(result_of("xero"))
    assert (found.check, found.who.split()[0]) == ("scopes", "administrator")
    assert "lacks accounting.contacts.read;" in found.detail


def test_a_proxys_page_is_told_from_the_api(vendors: Vendors) -> None:
    connect_simulator(vendors.url, ["xero"])
    block = XeroConnection.load("xero")
    with Pages(b"<html><title>Log in to the network</title></html>") as url:
        block.base_url = url
        block.save("xero", overwrite=True)
        found = failed(result_of("xero"))
    assert found.check == "read invoices"
    assert "a web page or XML instead of JSON" in found.detail
    assert "network" in found.who


def test_clocks_that_differ_are_said(vendors: Vendors) -> None:
    connect_simulator(vendors.url, ["xero"])
    block = XeroConnection.load("xero")
    with Pages(b"{}", date="Wed, 20 May 2026 12:00:00 GMT") as url:
        block.base_url = url
        block.save("xero", overwrite=True)
        found = failed(result_of("xero"))
    assert found.check == "clock"
    assert "ahead of the vendor's" in found.detail
    assert "NTP" in found.detail


class Pages:
    """A server that always answers the same."""

    def __init__(self, body: bytes, date: str = "") -> None:
        headers = [(b"content-type", b"text/html"), *([(b"date", date.encode())] if date else [])]

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        self.port = free_port()
        config = uvicorn.Config(
            answer, port=self.port, log_level="error", lifespan="off", date_header=not date
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        eventually(lambda: self.server.started)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


def test_the_flow_tells_it_in_the_ui(vendors: Vendors) -> None:
    connect_simulator(vendors.url, ["quickbooks"])
    state = run_test("quickbooks", return_state=True)
    assert state.is_completed(), state.message
    assert "| read invoices | ok |" in artifacts("test-quickbooks")[0]
    assert "Median ms" in artifacts("test-quickbooks")[0]
    state = run_test("nowhere", return_state=True)
    assert "there is no connection 'nowhere'" in str(state.message)
    assert "quickbooks" in str(state.message)


def test_two_blocks_of_one_name_are_refused(vendors: Vendors) -> None:
    new_block(vendors, "xero", "shop")
    new_block(vendors, "freshbooks", "shop")
    state = run_test("shop", return_state=True)
    assert "two blocks are named 'shop'" in str(state.message)


def test_a_further_account_gets_a_deployment_of_its_own(
    vendors: Vendors, provisioning: None
) -> None:
    connect_simulator(vendors.url)
    first = provision.provision(None, describe())
    simulated = {block_name(system) for system in BLOCKS if simulated_values(system, vendors.url)}
    assert "xero" in simulated
    assert set(first["activated"]) == simulated
    block: Any = XeroConnection.load("xero")
    block.tenant_id = SECOND
    assert isinstance(block, ConsentedConnection)
    block.save("xero-lisboa", overwrite=True)
    assert provision.activate_connected() == ["xero-lisboa"]
    assert provision.activate_connected() == []
    for _ in range(2):
        provision.start_first_runs(["xero-lisboa"])
    assert [run["auto_scheduled"] for run in runs_of("sync-xero-lisboa")] == [False]
    assert runs_of("sync-xero-lisboa")[0]["labels"][LABEL] == "twezah"
    with get_client(sync_client=True) as client:
        made, model = (
            find_deployment(client, "sync-xero-lisboa"),
            find_deployment(client, "sync-xero"),
        )
        assert made is not None and model is not None
        assert made.parameters == {"system": "xero-lisboa"}
        assert [schedule.active for schedule in made.schedules] == [True]
        assert made.schedules[0].schedule.interval == model.schedules[0].schedule.interval
        assert (made.entrypoint, made.path, made.work_pool_name) == (
            model.entrypoint,
            model.path,
            model.work_pool_name,
        )
        assert "`xero-lisboa`" in str(
            made.description
        ) and "/artifacts/key/sync-xero-lisboa" in str(made.description)
        client.update_deployment_schedule(made.id, made.schedules[0].id, active=False)
        switched_off = find_deployment(client, "sync-freshbooks")
        assert switched_off is not None
        client.update_deployment_schedule(
            switched_off.id, switched_off.schedules[0].id, active=False
        )
        client.pause_deployment(model.id)
        provision.start_first_runs(["xero", "freshbooks"])
        assert runs_of("sync-xero") == runs_of("sync-freshbooks") == [], "nobody wants them now"
        provision.provision(None, describe())
        again = find_deployment(client, "sync-xero-lisboa")
        assert again is not None and [schedule.active for schedule in again.schedules] == [False]
        for name in ("connect", "test-connection"):
            assert find_deployment(client, name) is not None, name


def runs_of(deployment: str) -> list[dict[str, Any]]:
    """The runs of a deployment that are due."""
    wanted = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}},
    }
    with get_client(sync_client=True) as client:
        rows: list[dict[str, Any]] = client.request("POST", "/flow_runs/filter", json=wanted).json()
    return rows


def test_a_start_writes_no_deployment_that_has_not_changed(
    vendors: Vendors, provisioning: None
) -> None:
    """Not the description either, to which the pages add their links; a changed one keeps them."""

    def written() -> dict[str, str]:
        with get_client(sync_client=True) as client:
            rows = provision.present_deployments(client)
        return {name: row["updated"] for name, row in rows.items()}

    connect_simulator(vendors.url)
    for _ in range(2):  # the second time all links are there
        provision.provision(None, describe())
        provision.renew_pages()
    before = written()
    provision.provision(None, describe())
    provision.renew_pages()
    assert written() == before

    name = "sync-xero"
    with get_client(sync_client=True) as client:
        there = provision.present_deployments(client)[name]
        assert there["description"].count(MARK) == 1
        text, _, links = there["description"].partition(MARK)
        old = DeploymentUpdate(description=f"As an older release had it.{MARK}{links}")
        client.update_deployment(UUID(there["id"]), old)
    provision.provision(None, describe())
    with get_client(sync_client=True) as client:
        there = provision.present_deployments(client)[name]
    assert there["description"] == f"{text}{MARK}{links}"


def test_no_connection_that_only_sends_is_run(provisioning: None) -> None:
    provision.provision(None, describe())
    provision.start_first_runs(["push", "nowhere"])
    assert runs_of("sync-push") == []


def test_the_flows_are_found_where_prefect_yaml_says() -> None:
    code = "from twezah.stack.flow_descriptions import describe; describe()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
