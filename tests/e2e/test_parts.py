"""The parts of the product alone, as on several machines, against one PostgreSQL outside of them.

Each has a state folder and a process of its own; nothing starts them but their command.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from settings import Settings
from tests.support import waiting
from tests.support.database import Databases, databases
from tests.support.ports import free_ports
from twezah.stack.leftover_processes import end_marked, marked
from twezah.stack.prefect_health import is_healthy

__all__ = ["databases"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
wait_until = partial(waiting.wait_until, seconds=600)


class Running:
    """One part, or another program, and what it has written."""

    def __init__(self, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self.home = home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            env={**environment, "TWEZAH_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self.lines.extend(line.rstrip() for line in self.process.stdout or ())

    def has_said(self, words: str) -> bool:
        assert self.process.poll() is None, self.lines[-20:]
        return any(words in line for line in self.lines)

    def end(self) -> int:
        """As a service manager does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(180)


class Machines:
    """Starts parts; all get the same environment."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.running: list[Running] = []

    def start(self, part: str, machine: str, *arguments: str, **more: str) -> Running:
        command = [sys.executable, "-c", "from twezah.cli import main; main()", "part", part]
        home = self.folder / machine / part
        made = Running(home, [*command, *arguments], self.environment | more)
        self.running.append(made)
        return made

    def simulator(self, port: str) -> None:
        command = [sys.executable, "-m", "simulator", "--port", port]
        command += [
            "--state",
            str(self.folder / "simulator.json"),
            "--parent-pid",
            str(os.getpid()),
        ]
        self.running.append(Running(self.folder, command, self.environment))

    def twezah(self, *arguments: str) -> tuple[int, str]:
        """An operator's command on one of the machines: its exit code, and all that it printed."""
        command = [sys.executable, "-c", "from twezah.cli import main; main()", *arguments]
        result = subprocess.run(
            command,
            env={**self.environment, "TWEZAH_HOME": str(self.folder / "operator")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        return result.returncode, result.stdout + result.stderr

    def end(self) -> None:
        """Whatever a failed test has left."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
            end_marked(one.home)


@pytest.fixture
def machines(databases: Databases, tmp_path: Path) -> Iterator[Machines]:
    """An empty ledger database, an empty database of Prefect, and what all parts are told."""
    ledger, prefect = databases.create(), databases.create()
    names = ("TWEZAH_PREFECT_PORT", "TWEZAH_SIMULATOR_PORT", "TWEZAH_API_PORT")
    ports = dict(zip(names, free_ports(3), strict=True))
    base = {k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))}
    made = Machines(
        tmp_path,
        {
            **base,
            **ports,
            "TWEZAH_DATABASE_URL": ledger,
            "TWEZAH_DATABASE_ROLES": "true",
            "TWEZAH_SECRET_KEY": Settings(home=tmp_path / "key").fernet_key().decode(),
            "TWEZAH_DATA_KEY": os.environ["TWEZAH_DATA_KEY"],
            "PREFECT_API_DATABASE_CONNECTION_URL": prefect.replace("://", "+asyncpg://", 1),
            "PREFECT_API_AUTH_STRING": "admin:of-this-test",
            "PREFECT_API_URL": f"http://127.0.0.1:{ports['TWEZAH_PREFECT_PORT']}/api",
            "COLUMNS": "200",
        },
    )
    yield made
    made.end()
    databases.drop()


def points_of(machines: Machines, system: str) -> int:
    """How many entries the ledger has of a system's sales."""
    with psycopg.connect(machines.environment["TWEZAH_DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT count(*) FROM loyalty.award_entry WHERE system = %s", [system]
        ).fetchone()
    assert row is not None
    return int(row[0])


def sales_become_points(machines: Machines, system: str) -> None:
    """An operator runs a system's deployment; the worker takes it."""
    assert points_of(machines, system) == 0
    code, text = machines.twezah("sync", system)
    assert code == 0, text
    assert points_of(machines, system) > 0


def test_parts_alone_make_points_and_a_second_caretaker_takes_over(machines: Machines) -> None:
    port = machines.environment["TWEZAH_SIMULATOR_PORT"]
    machines.simulator(port)
    api = machines.start("api", "one")
    worker = machines.start("worker", "one")
    wait_until(lambda: worker.has_said("Waiting for the caretaker"))
    simulated = ("--simulator-url", f"http://127.0.0.1:{port}")
    first = machines.start("caretaker", "one", *simulated)
    wait_until(lambda: first.has_said("this machine's turn"))
    second = machines.start("caretaker", "two", *simulated)
    prefect = machines.start("prefect", "one")
    wait_until(lambda: second.has_said("Standing by"))
    wait_until(lambda: first.has_said("caretaker: ready"))
    wait_until(lambda: api.has_said("api: ready") and worker.has_said("worker: ready"))
    assert is_healthy(f"http://127.0.0.1:{machines.environment['TWEZAH_API_PORT']}")
    sales_become_points(machines, "xero")

    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    wait_until(lambda: second.has_said("caretaker: ready"))
    wait_until(lambda: not marked(first.home))  # nothing of it goes on
    sales_become_points(machines, "square")

    for part in (worker, api, second, prefect):
        assert part.end() == 0, part.lines[-20:]
        assert marked(part.home) == []
    secrets = [machines.environment["TWEZAH_SECRET_KEY"], "of-this-test"]
    written = "\n".join(line for one in machines.running for line in one.lines)
    assert not [secret for secret in secrets if secret in written]
