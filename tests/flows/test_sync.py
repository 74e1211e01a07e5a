"""The flow as an operator meets it: blocks, states, messages and the report."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.testing.utilities import prefect_test_harness
from pydantic import SecretStr

import twezah.settings
from connectors.kit.errors import block_name
from flows.sync import sync_system
from sql.db import connect
from tasks.blocks import (
    BLOCKS,
    SageIntacctConnection,
    XeroConnection,
    connect_simulator,
    connected_systems,
    register_blocks,
)
from tests.support.database import databases, dsn

__all__ = ["databases", "dsn"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def simulator_url() -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "simulator",
        "--port",
        "0",
        "--customers",
        "40",
        "--invoices",
        "60",
        "--limits",
        "10",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=90):
        register_blocks()
        yield


@pytest.fixture
def ledger(
    prefect_server: None, dsn: str, simulator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An empty ledger, and all systems connected to the simulator."""
    monkeypatch.setenv("TWEZAH_DATABASE_URL", dsn)
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path))
    twezah.settings.settings.cache_clear()
    for name, block in BLOCKS.items():
        if name in connected_systems():
            block.delete(block_name(name))
    connect_simulator(simulator_url)
    yield dsn
    twezah.settings.settings.cache_clear()


def report(system: str) -> str:
    """The newest report's text."""
    with get_client(sync_client=True) as client:
        wanted = {"artifacts": {"key": {"any_": [f"sync-{system}"]}}, "sort": "CREATED_DESC", "limit": 1, "offset": 0}
        found = client._client.post("/artifacts/filter", json=wanted).json()
    return str(found[0]["data"])


def run(system: str, **parameters: Any) -> State:
    return sync_system(system, **parameters, return_state=True)


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_a_good_run_tells_everything_and_nothing_personal(ledger: str) -> None:
    state = run("xero")
    assert state.is_completed(), state.message
    entries, points = rows(ledger, "SELECT count(*), sum(points)::bigint FROM loyalty.award_entry")[0]
    grouped = f"{points:+,}".replace(",", " ")
    assert f"{entries} entries, {grouped} points" in str(state.message)
    text = report("xero")
    for part in (
        "What came of it",
        "Rejected, by reason",
        "Cursor",
        "API response times",
        "Great Expectations",
        "Fetched",
    ):
        assert part in text, part
    phones = [phone for (phone,) in rows(ledger, "SELECT phone FROM loyalty.member")]
    assert phones
    assert not [phone for phone in phones if phone[4:] in text]
    assert "sim-secret" not in text
    summary = rows(ledger, "SELECT state, entries, points FROM analytics.sync")
    assert summary == [("stored", entries, points)]
    assert "0 entries, +0 points" in str(run("xero").message)


def test_a_system_with_an_underscore_has_its_block_and_reports_under_a_dash(ledger: str) -> None:
    """Prefect takes no underscore in the names of either."""
    assert run("sage_intacct").is_completed()
    assert "Sage Intacct" in report("sage-intacct")
    block = SageIntacctConnection.load("sage-intacct")
    block.client_secret = "wr0ng-s3cret"
    block.save("sage-intacct", overwrite=True)
    state = run("sage_intacct")
    assert 'block "sage-intacct"' in str(state.message)
    SageIntacctConnection.delete("sage-intacct")
    assert "block named 'sage-intacct'" in str(run("sage_intacct").message)


def test_refused_credentials_say_which_block_to_correct_and_a_new_run_goes_on(ledger: str) -> None:
    block = XeroConnection.load("xero")
    good = block.client_secret
    block.client_secret = SecretStr("wr0ng-s3cret")
    block.save("xero", overwrite=True)
    state = run("xero")
    assert state.is_failed()
    assert 'block "xero"' in str(state.message)
    assert "someone must correct the connection" in report("xero")
    assert "wr0ng-s3cret" not in report("xero") + str(state.message)
    assert rows(ledger, "SELECT state FROM billing.sync_run") == [("failed",)]
    block.client_secret = good
    block.save("xero", overwrite=True)
    assert run("xero").is_completed()


def test_too_many_rejects_fail_the_run_with_the_reasons(ledger: str) -> None:
    block = XeroConnection.load("xero")
    block.field_mapping = {"total_minor": "/NoSuchField"}
    block.save("xero", overwrite=True)
    state = run("xero")
    assert state.is_failed()
    assert "could not be used" in str(state.message)
    assert "Total, looked for at /NoSuchField: missing" in report("xero")
    assert rows(ledger, "SELECT count(*) FROM billing.invoice") == [(0,)]
    assert rows(ledger, "SELECT count(*) FROM billing.sync_cursor") == [(0,)]
    block.field_mapping = {}
    block.save("xero", overwrite=True)
    assert run("xero").is_completed()
    assert rows(ledger, "SELECT count(*) > 50 FROM billing.invoice") == [(True,)]


def test_a_system_without_block_says_which_to_create(ledger: str) -> None:
    XeroConnection.delete("xero")
    state = run("xero")
    assert state.is_failed()
    assert "xero is not connected: create a 'Xero Connection' block named 'xero'" in str(state.message)


def test_a_dry_run_says_so(ledger: str) -> None:
    state = run("freshbooks", dry_run=True)
    assert str(state.message).startswith("Dry run, nothing kept")
    assert rows(ledger, "SELECT count(*) FROM billing.sync_run") == [(0,)]
