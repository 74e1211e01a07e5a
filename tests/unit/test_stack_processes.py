"""Supervision: children restart, give up, end with us, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from twezah.stack.errors import PortTaken, StackError
from twezah.stack.pginstall import python_environment
from twezah.stack.processes import FAILURES_MAX, Child, Watchdog, require_free
from twezah.stack.watchdog import is_alive

GRANDCHILD = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
SUPERVISOR = """
import sys, time
from pathlib import Path
from twezah.stack.processes import Child, Watchdog
child = Child("sleeper", ["sleep", "60"], {"PATH": "/bin:/usr/bin"}, Path(sys.argv[1]), Watchdog())
child.start()
print(child.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    """A watchdog for one test."""
    found = Watchdog()
    yield found
    found.close()


def wait_until_ended(pid: int) -> None:
    """Until the process is gone."""
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.05)


def test_stop_ends_what_the_child_started(tmp_path: Path, watchdog: Watchdog) -> None:
    """The whole group, not only its leader."""
    child = Child("parent", [sys.executable, "-c", GRANDCHILD], dict(os.environ), tmp_path / "log", watchdog)
    child.start()
    while not (pid := (tmp_path / "log").read_text().strip()):
        time.sleep(0.05)
    child.stop()
    wait_until_ended(int(pid))


def test_children_end_after_kill_9_of_the_supervisor(tmp_path: Path) -> None:
    """The watchdog outlives it just long enough."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env=python_environment(),
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert is_alive(pid)
        supervisor.send_signal(signal.SIGKILL)
    wait_until_ended(pid)


def tend_until_given_up(child: Child, said: list[str]) -> None:
    """Supervise without the delays between restarts."""
    for _ in range(2000):
        child.tend(said.append)
        if child.restart_at is not None:
            child.restart_at = 0.0
        time.sleep(0.005)


def test_a_child_that_ends_is_started_again_and_given_up_in_the_end(tmp_path: Path, watchdog: Watchdog) -> None:
    """With its last words in the message."""
    child = Child("crasher", ["sh", "-c", "echo out of luck; exit 3"], dict(os.environ), tmp_path / "log", watchdog)
    child.start()
    said: list[str] = []
    with pytest.raises(StackError, match=r"crasher.*status 3.*out of luck"):
        tend_until_given_up(child, said)
    assert len(said) == FAILURES_MAX


def test_a_taken_port_is_named_with_its_setting() -> None:
    """The message says which setting moves us elsewhere."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*TWEZAH_PREFECT_PORT="):
            require_free("127.0.0.1", port, "TWEZAH_PREFECT_PORT")
    require_free("127.0.0.1", port, "TWEZAH_PREFECT_PORT")
