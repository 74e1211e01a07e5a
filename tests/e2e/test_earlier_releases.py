"""Nobody loses anything by an upgrade: what an earlier release left comes up under this one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settings import PROJECT_ROOT, Settings
from tests.support.served import served
from twezah.stack.pginstall import python_environment
from twezah.stack.postgres import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000)]

RELEASES = sorted(
    path.parent for path in (Path(__file__).parents[1] / "releases").glob("*/expected.json")
)
#: Prints deployments and blocks as `expected.json` has them.
SHOW = """
import json, os
from settings import settings
os.environ.update(settings().child_environment())
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import DeploymentSort
from pydantic import SecretStr
from panel.blocks.connected import connections, load_block

def plain(value):
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)

with get_client(sync_client=True) as client:
    rows = client.read_deployments(limit=100, sort=DeploymentSort.NAME_ASC)
deployments = {
    row.name: {
        "paused": row.paused,
        "schedules": [
            {
                "active": one.active,
                "schedule": json.loads(one.schedule.model_dump_json(include={"interval", "cron"})),
            }
            for one in row.schedules
        ],
    }
    for row in rows
}
blocks = {name: load_block(name) for name in connections()}
fields = {
    name: {"type": type(block).__name__}
    | {field: plain(getattr(block, field)) for field in type(block).model_fields}
    for name, block in blocks.items()
}
print(json.dumps({"deployments": deployments, "blocks": fields}))
"""
POINTS = "SELECT system, external_id, count(*), sum(points)::bigint FROM loyalty.award_entry GROUP BY 1, 2"


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_comes_up_whole(release: Path, tmp_path: Path) -> None:
    """Ledger, blocks with their secrets, schedules as they were left; old pages give the same."""
    expected = json.loads((release / "expected.json").read_text())
    settings = Settings(home=tmp_path / "home")
    assert twezah(settings, "restore", str(release))[0] == 0
    with running(settings) as dsn:
        assert points(dsn) == expected["points"]
    with served(settings.home) as up:
        assert twezah(up, "go-live")[0] == 0
        wanted = expected["deployments"]
        assert_soon(lambda: among(wanted, shown(up)["deployments"]), wanted)
        blocks = shown(up)["blocks"]
        for name, fields in expected["blocks"].items():
            assert {field: blocks[name][field] for field in fields} == fields, name
        status, said = twezah(up, "replay", "xero")
        assert status == 0, said
        with running(up) as dsn:
            assert points(dsn) == expected["points"]


def twezah(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command for this installation."""
    return python(settings, "from twezah.cli import main; main()", *arguments)


def shown(settings: Settings) -> dict[str, Any]:
    """Deployments and blocks as Prefect has them now."""
    status, said = python(settings, SHOW)
    assert status == 0, said
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def among(names: Iterable[str], values: dict[str, Any]) -> dict[str, Any]:
    """Those of the values that have one of these names."""
    return {name: values.get(name) for name in names}


def python(settings: Settings, code: str, *arguments: str) -> tuple[int, str]:
    """Runs `code` with the environment of the installation."""
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    environment = base | {
        "TWEZAH_HOME": str(settings.home),
        "TWEZAH_PREFECT_PORT": str(settings.prefect_port),
        "TWEZAH_SIMULATOR_PORT": str(settings.simulator_port),
        "TWEZAH_API_PORT": str(settings.api_port),
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    return result.returncode, result.stdout + (result.stderr if result.returncode else "")


def points(dsn: str) -> dict[str, list[int]]:
    """For each document the number of its entries and the sum of their points."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(POINTS).fetchall()
    return {f"{system} {external_id}": [count, total] for system, external_id, count, total in rows}


def assert_soon(actual: Callable[[], Any], wanted: Any, seconds_max: float = 900) -> None:
    """`actual` returns what is wanted, at the latest after `seconds_max`."""
    deadline = time.monotonic() + seconds_max
    while (value := actual()) != wanted:
        assert time.monotonic() < deadline, value
        time.sleep(5)
