"""The first minutes of a newcomer: the demo on a fresh folder, and the questions one asks after it."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twezah.stack.pginstall import python_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = {k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))}
    home: Path = tmp_path_factory.mktemp("demo home")
    return {**base, "TWEZAH_HOME": str(home), "TWEZAH_PREFECT_PORT": free_port(), "TWEZAH_SIMULATOR_PORT": free_port()}


def twezah(environment: dict[str, str], *arguments: str) -> str:
    """Output of a command that must succeed."""
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def counted(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What psql counts, in the shape of the demo's summary."""
    statement = (
        "SELECT json_agg(s ORDER BY s.system) FROM (SELECT i.system, count(*) AS sales, (SELECT count(*) FROM loyalty.award_entry e"
        " WHERE e.system = i.system) AS entries, (SELECT sum(points) FROM loyalty.award_entry e WHERE e.system = i.system) AS points"
        " FROM billing.invoice i GROUP BY i.system) s"
    )
    return json.loads(twezah(environment, "psql", "-XAtc", statement))


def test_the_demo_says_what_the_database_holds_twice_in_a_row(environment: dict[str, str]) -> None:
    first = json.loads(twezah(environment, "demo", "--json"))
    assert {row["system"] for row in first["systems"]} == {
        "quickbooks",
        "xero",
        "freshbooks",
        "netsuite",
        "sage_intacct",
    }
    assert all(run["ok"] for run in first["runs"])
    shown = [{name: row[name] for name in ("system", "sales", "entries", "points")} for row in first["systems"]]
    assert shown == counted(environment)
    assert min(row["points"] for row in shown) > 0

    second = json.loads(twezah(environment, "demo", "--json"))
    assert [row["points"] for row in second["systems"]] == [row["points"] for row in first["systems"]]

    why = json.loads(twezah(environment, "explain", "quickbooks", "INV-001", "--json"))
    assert (why["points"], why["entries"][0]["breakdown"]) == (1500, {"base": 1500})
