"""Child processes with a log file, a restart policy and an end: each leads its own process group."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twezah.settings import PROJECT_ROOT
from twezah.stack.errors import PortTaken, StackError
from twezah.stack.pginstall import python_environment

LOG_BYTES_MAX = 20_000_000
#: A child that died this often in a row, each time sooner than `STABLE_SECONDS`, is given up.
FAILURES_MAX = 4
STABLE_SECONDS = 60.0
PORT_MAX = 65535


class Watchdog:
    """The process that ends our children should we be killed before we can."""

    def __init__(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "twezah.stack.watchdog"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/", env=python_environment(), text=True,
        )  # fmt: skip

    def watch(self, pid: int) -> None:
        """End this group when we die."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """This group has ended."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """End the watchdog; groups it still lists are ended first."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line)
                self._process.stdin.flush()


@dataclass
class Child:
    """One supervised program. Its output goes to `log`; `stop` ends it and whatever it started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    watchdog: Watchdog
    stop_seconds_max: float = 15.0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)
    started_at: float = field(default=0.0, init=False)
    restart_at: float | None = field(default=None, init=False)
    asked: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start the program in the project's folder."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command), env=dict(self.environment), cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.watchdog.watch(self.process.pid)
        self.started_at = time.monotonic()
        self.asked = False
        self.restart_at = None

    def tend(self, say: Callable[[str], None]) -> None:
        """Restart the program if it has ended, each time a little later.

        Raises:
            StackError: it keeps ending.

        """
        if self.restart_at is not None:
            if time.monotonic() >= self.restart_at:
                self.start()
            return
        if self.process is None or (status := self.process.poll()) is None:
            return
        self.reap()
        self.failures = 1 if time.monotonic() - self.started_at > STABLE_SECONDS else self.failures + 1
        if self.failures > FAILURES_MAX:
            raise StackError(
                f"The {self.name} ends again and again (status {status}): {self.log_end()} See {self.log}."
            )
        delay_seconds = min(2**self.failures, 30)
        say(f"The {self.name} ended (status {status}); restarting it in {delay_seconds} s. See {self.log}.")
        self.restart_at = time.monotonic() + delay_seconds

    def require_alive(self) -> None:
        """Raise StackError if the program has ended while it should be starting."""
        if self.process is not None and (status := self.process.poll()) is not None:
            raise StackError(f"The {self.name} did not start (status {status}): {self.log_end()} See {self.log}.")

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        if self.process is not None and not self.asked and self.process.poll() is None:
            self.asked = True  # once: a second signal means "at once" to Prefect's programs
            self.process.terminate()

    def stop(self) -> None:
        """End it: SIGTERM to the program.

        SIGKILL to its group if it takes too long or left something behind.
        """
        if self.process is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.stop_seconds_max)
        self.reap()

    def reap(self) -> None:
        """Kill what is left of the group and forget it."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.watchdog.forget(self.process.pid)
        self.process = None

    def log_end(self) -> str:
        """Its last line of output, the telling one of a traceback."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip()[:300] if lines else ""


def require_free(host: str, port: int, setting: str) -> None:
    """Raise PortTaken, naming `setting`, unless we can listen on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop the program that uses it, "
                f"or choose another port, for example {setting}={port - 1 if port == PORT_MAX else port + 1}."
            ) from None
