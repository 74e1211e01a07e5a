"""`twezah up` stands up again, whatever is killed: as the service runs it, with real processes."""

import os
import re
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from settings import Settings
from tests.support import waiting
from tests.support.ports import free_ports
from twezah.stack.leftover_processes import MARK, end_marked
from twezah.stack.prefect_health import is_healthy
from twezah.stack.systemd_unit import unit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
#: Enough for a machine that does much else.
WAIT_SECONDS = 400.0
#: What a stack consists of, and how its command line is known.
PARTS = {
    "server": "server .*--host",
    "caretaker": "twezah.stack.caretaker",
    "worker": "twezah.worker --pool",
    "API": "-m api",
    "watchdog": "twezah.stack.watchdog",
    "keeper": "twezah.stack.keeper",
}


wait_until = partial(waiting.wait_until, seconds=WAIT_SECONDS)


def kept(text: str) -> dict[str, list[str]]:
    """The settings of a unit file."""
    settings: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        settings.setdefault(key, []).append(value)
    return settings


class Service:
    """As systemd runs the unit: its command and environment, READY, its signals."""

    def __init__(self, home: Path) -> None:
        self.home = home
        names = ("TWEZAH_PREFECT_PORT", "TWEZAH_SIMULATOR_PORT", "TWEZAH_API_PORT")
        self.ports = dict(zip(names, free_ports(3), strict=True))
        self.unit = kept(unit(Settings(home=home), "root"))
        self.lines: list[str] = []
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(f"\0twezah-test-{os.getpid()}")
        self.channel.settimeout(0.1)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> psutil.Process:
        """What ExecStart names; returns at once."""
        (command,) = self.unit["ExecStart"]
        (setting,) = self.unit["Environment"]
        self.drain()
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("TWEZAH_", "PREFECT_"))
        }
        environment |= self.ports | dict([shlex.split(setting)[0].split("=", 1)])
        self.process = subprocess.Popen(
            shlex.split(command),
            cwd=self.unit["WorkingDirectory"][0],
            env={**environment, "NOTIFY_SOCKET": f"@twezah-test-{os.getpid()}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=[self.process], daemon=True).start()
        return psutil.Process(self.process.pid)

    def _read(self, process: subprocess.Popen[str]) -> None:
        self.lines.extend(line.rstrip() for line in process.stdout or ())

    def drain(self) -> set[str]:
        """What it has told since the last look."""
        told: set[str] = set()
        try:
            while True:
                told |= set(self.channel.recv(4096).decode().splitlines())
        except TimeoutError:
            return told

    def await_ready(self) -> None:
        assert self.process is not None
        running = self.process

        def is_ready() -> bool:
            assert running.poll() is None, self.lines[-10:]
            return "READY=1" in self.drain()

        wait_until(is_ready, f"READY: {self.lines[-5:]}")

    def pid(self, part: str) -> int | None:
        """The process number of a part that lives."""
        for process in psutil.process_iter():
            try:
                mine = (
                    str(self.home) in str(process.environ().get(MARK))
                    or str(self.home) in process.cmdline()
                )
                if (
                    mine
                    and re.search(PARTS[part], " ".join(process.cmdline()))
                    and process.status() != "zombie"
                ):
                    return int(process.pid)
            except psutil.Error:
                continue
        return None

    def replaced(self, part: str, old: int) -> bool:
        return self.pid(part) not in (None, old)

    def answers(self) -> bool:
        """Prefect and the API do."""
        api = f"http://127.0.0.1:{self.ports['TWEZAH_API_PORT']}"
        return is_healthy(
            f"http://127.0.0.1:{self.ports['TWEZAH_PREFECT_PORT']}/api"
        ) and is_healthy(api)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "state")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(180)
    end_marked(made.home)  # a failed test leaves nothing behind
    made.channel.close()


def test_whatever_is_killed_is_there_again(service: Service) -> None:
    up = service.start()
    for part in ("keeper", "watchdog", "server", "caretaker", "API", "worker"):
        os.kill(wait_until(lambda part=part: service.pid(part), part), signal.SIGKILL)
    service.await_ready()
    assert wait_until(service.answers, "Prefect and the API")
    for part in PARTS:
        old = wait_until(lambda part=part: service.pid(part), part)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda part=part, old=old: service.replaced(part, old), f"another {part}")
    wait_until(service.answers, "Prefect and the API")
    assert up.is_running(), "it never gave up"
    ends = [line for line in service.lines if "ended (killed by SIGKILL)" in line]
    assert {
        name
        for name in ("Prefect server", "caretaker", "API", "worker")
        for line in ends
        if name in line
    } == {
        "Prefect server",
        "caretaker",
        "API",
        "worker",
    }
    assert not [line for line in service.lines if re.search(r": *(-|$)", line)], (
        "a message has its reason"
    )
    service.drain()
    assert "WATCHDOG=1" in wait_until(service.drain, "a sign of life")
    the_leftovers_of_a_killed_one_are_no_obstacle(service, up)


def the_leftovers_of_a_killed_one_are_no_obstacle(service: Service, up: psutil.Process) -> None:
    """`up` and its watchdog die at once; the next start ends what they left, and is an ordinary one."""
    assert service.unit["Restart"] == ["always"] and service.unit["KillMode"] == ["mixed"]
    old = {part: service.pid(part) for part in ("server", "worker", "API")}
    assert all(old.values())
    up.suspend()
    os.kill(wait_until(lambda: service.pid("watchdog"), "the watchdog"), signal.SIGKILL)
    up.kill()
    assert service.process is not None
    service.process.wait()
    assert {part: service.pid(part) for part in old} == old, "nobody is left to end them"
    service.lines.clear()
    service.start()
    service.await_ready()
    assert any("had left running" in line and "twezah.worker" in line for line in service.lines)
    new = {part: service.pid(part) for part in old}
    assert all(new.values()) and not set(new.values()) & set(old.values())
    service.process.send_signal(signal.SIGTERM)  # what KillMode=mixed sends, to the main process
    assert service.process.wait(180) == 0
    wait_until(lambda: not any(map(service.pid, PARTS)), "the end of all parts")
