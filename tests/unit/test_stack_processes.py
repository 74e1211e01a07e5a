"""Supervision: children restart for ever, end with us, and leave nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import waiting
from twezah.stack import processes
from twezah.stack.errors import PortTaken
from twezah.stack.leftover_processes import MARK, end_marked, mark, marked
from twezah.stack.pginstall import python_environment
from twezah.stack.processes import FAILURES_LOUD, Child, require_free

wait_until = partial(waiting.wait_until, seconds=20)

GRANDCHILD = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
SUPERVISOR = """
import sys, time
from pathlib import Path
from twezah.stack.leftover_processes import MARK, mark
from twezah.stack.processes import Child, Watchdog
home = Path(sys.argv[1])
environment = {"PATH": "/bin:/usr/bin", MARK: mark(home, "one")}
child = Child("sleeper", ["sleep", "60"], environment, home / "log")
child.start()
watchdog = Watchdog(home, "one")
print(child.process.pid, watchdog.pid, flush=True)
while True:
    watchdog.tend(lambda text: print(watchdog.pid, text, flush=True))
    time.sleep(0.05)
"""


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a child and a watchdog."""
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=python_environment()
    ) as process:
        yield process
        process.kill()


def numbers(supervisor: subprocess.Popen[str]) -> tuple[int, int]:
    """The process numbers of the child and of the watchdog."""
    assert supervisor.stdout is not None
    child, watchdog = map(int, supervisor.stdout.readline().split()[:2])
    assert is_alive(child) and is_alive(watchdog)
    return child, watchdog


def test_stop_ends_what_the_child_started(tmp_path: Path) -> None:
    """The whole group, not only its leader."""
    log = tmp_path / "log"
    child = Child("parent", [sys.executable, "-c", GRANDCHILD], dict(os.environ), log)
    child.start()
    wait_until(lambda: log.read_text().strip())
    child.stop()
    wait_until(lambda: not is_alive(int(log.read_text())))


def test_children_end_after_kill_9_of_the_supervisor(supervisor: subprocess.Popen[str]) -> None:
    """The watchdog outlives it just long enough."""
    child, watchdog = numbers(supervisor)
    supervisor.kill()
    wait_until(lambda: not is_alive(child))
    wait_until(lambda: not is_alive(watchdog))


def test_a_killed_watchdog_is_replaced_and_knows_the_children(
    supervisor: subprocess.Popen[str],
) -> None:
    child, watchdog = numbers(supervisor)
    os.kill(watchdog, signal.SIGKILL)
    assert supervisor.stdout is not None
    line = supervisor.stdout.readline()
    assert "watchdog ended (killed by SIGKILL)" in line
    assert is_alive(int(line.split()[0]))
    supervisor.kill()
    wait_until(lambda: not is_alive(child))


def test_what_a_killed_stack_left_is_ended_and_nothing_else(
    supervisor: subprocess.Popen[str], tmp_path: Path
) -> None:
    """Watchdog and supervisor are killed at once; the next start finds the child by its mark."""
    child, watchdog = numbers(supervisor)
    os.kill(supervisor.pid, signal.SIGSTOP)  # or it would replace the watchdog
    os.kill(watchdog, signal.SIGKILL)
    supervisor.kill()
    supervisor.wait()
    assert is_alive(child)
    others = [
        {MARK: mark(tmp_path / "elsewhere", "one")},
        {MARK: mark(tmp_path, "two")},
        {"TWEZAH_HOME": str(tmp_path)},
    ]
    strangers = [subprocess.Popen(["sleep", "60"], env=other) for other in others]
    assert [process.pid for process in marked(tmp_path, but="two")] == [child]
    assert end_marked(tmp_path, but="two") == ["sleep"]
    assert not is_alive(child)
    assert end_marked(tmp_path, but="two") == []
    for stranger in strangers:
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


def test_leftovers_that_ignore_sigterm_or_are_stopped_end_as_well(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: mark(tmp_path, "one")}
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", stubborn]
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdout.readline()
    second = subprocess.Popen(["sleep", "60"], env=environment)
    second.send_signal(signal.SIGSTOP)
    end_marked(tmp_path, seconds=0.3)
    assert not is_alive(first.pid) and not is_alive(second.pid)
    first.communicate()
    second.wait()


def tend_without_pauses(child: Child, said: list[str], times: int) -> None:
    for _ in range(2000):
        child.tend(said.append)
        if child.restart_at is not None:
            child.restart_at = 0.0
        if len(said) >= times:
            return
        time.sleep(0.005)


def test_a_child_that_keeps_ending_is_started_again_for_ever(tmp_path: Path) -> None:
    """With its last words each time, ever later up to a bound, and loudly in the end."""
    command = ["sh", "-c", "echo out of luck; exit 3"]
    child = Child("crasher", command, dict(os.environ), tmp_path / "log")
    child.start()
    said: list[str] = []
    tend_without_pauses(child, said, 3 * FAILURES_LOUD)
    assert len(said) == 3 * FAILURES_LOUD
    assert all("crasher ended (status 3): out of luck" in line for line in said)
    assert "restarting it in 2 s" in said[0] and "restarting it in 4 s" in said[1]
    assert "SOMETHING IS WRONG" in said[-1] and "again every 30 s" in said[-1]
    assert child.down_since is not None and "out of luck" in child.last_reason
    child.stop()


def test_a_child_that_says_nothing_has_a_reason_too(tmp_path: Path) -> None:
    """Not the last line of the start before, either."""
    (tmp_path / "log").write_text("an old line\n")
    child = Child("mute", ["sh", "-c", "kill -9 $$"], dict(os.environ), tmp_path / "log")
    child.start()
    said: list[str] = []
    tend_without_pauses(child, said, 1)
    assert "mute ended (killed by SIGKILL): it wrote nothing" in said[0]
    child.stop()


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    child = Child("late", ["true"], dict(os.environ), tmp_path / "log")
    child.start()
    child.command = [str(tmp_path / "not there yet")]
    said: list[str] = []
    tend_without_pauses(child, said, 2)
    assert "cannot be started" in said[1] and "No such file" in said[1]
    child.command = ["sleep", "60"]
    wait_until(lambda: child.tend(said.append) or child.process is not None)
    child.stop()


def test_a_child_that_runs_and_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HUNG_SECONDS", 0.1)
    monkeypatch.setattr(processes, "LOOK_SECONDS", 0.0)
    log = tmp_path / "log"
    child = Child("deaf", ["sleep", "60"], dict(os.environ), log, answers=lambda: False)
    child.start()
    said: list[str] = []
    tend_without_pauses(child, said, 2)
    assert "has not answered" in said[0] and "did not answer" in said[1]
    child.stop()


def test_a_child_reports_lines(tmp_path: Path) -> None:
    """Whole ones; what is broken is left out."""
    code = (
        "import os, sys, time; d = int(sys.argv[2]); "
        'os.write(d, b\'{"a": 1}\\nbroken\\n{"a": \'); time.sleep(0.3); '
        "os.write(d, b'2}\\n'); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    child = Child("teller", command, dict(os.environ), tmp_path / "log", reports=True)
    child.start()
    got: list[Any] = []
    wait_until(lambda: got.extend(child.read_reports()) or len(got) == 2)
    assert json.dumps(got) == '[{"a": 1}, {"a": 2}]'
    child.stop()


def test_a_taken_port_is_named_with_its_setting() -> None:
    """The message says which setting moves us elsewhere."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*TWEZAH_PREFECT_PORT="):
            require_free("127.0.0.1", port, "TWEZAH_PREFECT_PORT")
    require_free("127.0.0.1", port, "TWEZAH_PREFECT_PORT")
