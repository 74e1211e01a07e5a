"""The same command from two shells at once, and no stack running: one starts it, both use it, every sale counts once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_ports
from twezah.stack.locks import FileLock
from twezah.stack.pginstall import python_environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    base = {
        k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PREFECT_"))
    }
    ports = dict(
        zip(
            ("TWEZAH_PREFECT_PORT", "TWEZAH_SIMULATOR_PORT", "TWEZAH_API_PORT"),
            free_ports(3),
            strict=True,
        )
    )
    return {**base, **ports, "TWEZAH_HOME": str(tmp_path / "home")}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """A command in a session of its own, as from another shell."""
    command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rows(environment: dict[str, str], statement: str) -> list[list[Any]]:
    """What psql answers."""
    with start(
        environment, "psql", "-XAtc", f"SELECT json_agg(array_to_json(ARRAY[{statement}]))"
    ) as process:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return list(json.loads(out))


def test_two_syncs_of_a_system_post_its_points_once(environment: dict[str, str]) -> None:
    processes = [start(environment, "sync", "xero", "--simulator", "--json") for _ in range(2)]
    ended = [(process, *process.communicate(timeout=900)) for process in processes]
    for process, _, err in ended:
        assert process.returncode == 0, err[-2000:]
        assert "Traceback" not in err
    answers = [json.loads(out) for _, out, _ in ended]
    assert all(answer["ok"] for answer in answers)
    assert len({answer["flow_run_id"] for answer in answers}) == 2

    # One of them posted everything, the other found nothing left to post.
    first, second = sorted(
        answers, key=lambda answer: "; 0 entries, +0 points" in answer["message"]
    )
    assert "; 0 entries, +0 points" not in first["message"]
    assert "; 0 entries, +0 points" in second["message"]
    (system,) = second["systems"]
    assert f"; {system['entries']} entries, +" in first["message"]
    found = (
        "(SELECT count(*) FROM loyalty.award_entry), (SELECT sum(points) FROM loyalty.award_entry), "
        "(SELECT count(DISTINCT (external_id, member_id)) FROM loyalty.award_entry), "
        "(SELECT count(DISTINCT run_id) FROM loyalty.award_entry)"
    )
    ((entries, points, chains, runs),) = rows(environment, found)
    assert (entries, points) == (system["entries"], system["points"])
    assert chains == entries > 300
    assert runs == 1

    # Nothing was left running.
    home = Path(environment["TWEZAH_HOME"])
    assert all(FileLock(home / name).is_free() for name in ("up.lock", "up.guests", "pg.keeper"))
    assert not (home / "up.json").exists()
