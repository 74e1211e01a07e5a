"""Child processes with a log file, a restart policy and an orderly end.

Each leads its own process group.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from settings import PROJECT_ROOT
from twezah.stack.errors import PortTaken
from twezah.stack.pginstall import python_environment

#: A longer log is moved aside at the next start of its program.
LOG_BYTES_MAX = 20_000_000
#: After this many ends in a row, each sooner than `STABLE_SECONDS` after its start, the operator is
#: told that something is wrong with the program itself.
FAILURES_LOUD = 4
#: A program that has run this long is well again.
STABLE_SECONDS = 60.0
#: The longest pause between two attempts.
PAUSE_SECONDS_MAX = 30.0
PORT_MAX = 65535
#: Characters of an error that a line for the operator shows.
REASON_CHARACTERS_MAX = 300
#: How often a running program is asked whether it answers, and how long it may stay silent.
LOOK_SECONDS = 15.0
HUNG_SECONDS = 300.0


def pause_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row: 2, 4, 8, 16, then 30 s."""
    return min(2.0 ** min(failures, 10), PAUSE_SECONDS_MAX)


def reason(error: BaseException) -> str:
    """An exception's message in one line, or its type where it has no message."""
    text = " ".join(str(error).split())[:REASON_CHARACTERS_MAX]
    return text or type(error).__name__


class Watchdog:
    """The process that ends our children if we are killed before we can do it."""

    def __init__(self, home: Path, stack_id: str) -> None:
        """Start it for the processes that carry the mark of this stack."""
        self._command = [sys.executable, "-m", "twezah.stack.watchdog", str(home), stack_id]
        self._process = self._start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/", env=python_environment(),
        )  # fmt: skip

    def tend(self, say: Callable[[str], None]) -> None:
        """Replace it if it has ended."""
        if (status := self._process.poll()) is None:
            return
        try:
            self._close_pipe()
            self._process = self._start()
        except OSError as error:
            say(f"The watchdog ended ({status_words(status)}) and does not start: {reason(error)}")
            return
        say(f"The watchdog ended ({status_words(status)}); another one watches now.")

    def close(self) -> None:
        """End the watchdog; what is left of the stack is ended first."""
        self._close_pipe()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:  # it is stopped, or the machine is
            self._process.kill()
            self._process.wait()

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def status_words(status: int) -> str:
    """How a process ended, e.g. `status 1` or `killed by SIGKILL`."""
    if status >= 0:
        return f"status {status}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"


@dataclass
class Child:
    """One supervised program. `stop` ends it and whatever it started.

    It is restarted for ever, at most every PAUSE_SECONDS_MAX: what it needs may come back.
    """

    #: What it is called in lines for the operator, e.g. "Prefect server".
    name: str
    #: Program and arguments.
    command: Sequence[str]
    #: All environment variables.
    environment: Mapping[str, str]
    #: File that its output is appended to; None: it goes where our own goes.
    log: Path | None
    #: It gets `--report-fd N` as last arguments, and writes JSON lines there.
    reports: bool = False
    #: Whether it answers; one that runs and does not for HUNG_SECONDS is ended and started again.
    answers: Callable[[], bool] | None = None
    #: Seconds between SIGTERM and SIGKILL.
    stop_seconds_max: float = 15.0
    #: None before the start, and after it was ended.
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    #: Ends in a row, each sooner than STABLE_SECONDS after the start.
    failures: int = field(default=0, init=False)
    #: Since when (monotonic) it has not been well; None while it is.
    down_since: float | None = field(default=None, init=False)
    #: Why it ended the last time.
    last_reason: str = field(default="", init=False)
    #: When it was started the last time (monotonic).
    started_at: float = field(default=0.0, init=False)
    #: When it is started again (monotonic); None while it runs or is stopped for good.
    restart_at: float | None = field(default=None, init=False)
    #: Whether it was asked to stop.
    asked: bool = field(default=False, init=False)
    _answered_at: float = field(default=0.0, init=False)
    _look_at: float = field(default=0.0, init=False)
    _log_begin: int = field(default=0, init=False)
    _pipe: int | None = field(default=None, init=False)
    _unread: bytes = field(default=b"", init=False)

    def start(self) -> None:
        """Start the program in the project's folder.

        Raises:
            OSError: the log cannot be written, or the machine has no room for another process.

        """
        command, passed = list(self.command), []
        if self.reports:
            self._close_pipe()
            self._pipe, theirs = os.pipe()
            os.set_blocking(self._pipe, False)
            command += ["--report-fd", str(theirs)]
            passed = [theirs]
        try:
            with self._open_log() as log:
                self.process = subprocess.Popen(
                    command, env=dict(self.environment), cwd=PROJECT_ROOT, pass_fds=passed,
                    stdin=subprocess.DEVNULL, stdout=log,
                    stderr=None if log is None else subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        finally:
            for descriptor in passed:
                os.close(descriptor)
        self.started_at = time.monotonic()
        self.asked = False
        self.restart_at = None

    @contextlib.contextmanager
    def _open_log(self) -> Iterator[IO[bytes] | None]:
        """The log, to be appended to; an overlong one is moved aside."""
        if self.log is None:
            yield None
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._log_begin = log.tell()
            yield log

    def tend(self, say: Callable[[str], None]) -> None:
        """Start the program again if it has ended, each time a little later; never gives up."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self._try_start(say)
            return
        if self.process is None:
            return
        status = self.process.poll()
        if status is None:
            if self.down_since is not None and now - self.started_at > STABLE_SECONDS:
                self.failures, self.down_since = 0, None
            self._look_whether_hung(say)
            return
        self.reap()
        if now - self.started_at > STABLE_SECONDS:
            self.failures = 0
        self._failed(say, f"ended ({status_words(status)})", self._last_words())

    def _look_whether_hung(self, say: Callable[[str], None]) -> None:
        now = time.monotonic()
        if self.answers is None or now < self._look_at:
            return
        if self.answers():
            self._answered_at = now
        since = max(self._answered_at, self.started_at)
        if now - since > HUNG_SECONDS:
            say(f"The {self.name} has not answered for {now - since:.0f} s: it is ended.")
            self.reap()
            self._failed(say, "did not answer", self._last_words())
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _try_start(self, say: Callable[[str], None]) -> None:
        try:
            self.start()
        except OSError as error:
            self._failed(say, "cannot be started", reason(error))

    def _failed(self, say: Callable[[str], None], what: str, why: str) -> None:
        self.failures += 1
        self.last_reason = f"The {self.name} {what}: {why}"
        if self.down_since is None:
            self.down_since = time.monotonic()
        delay_seconds = pause_seconds(self.failures)
        self.restart_at = time.monotonic() + delay_seconds
        again = f"restarting it in {delay_seconds:.0f} s."
        if self.failures >= FAILURES_LOUD:
            again = (
                f"{self.failures} times in a row: SOMETHING IS WRONG WITH IT. "
                f"The other parts stay up, and it is tried again every {delay_seconds:.0f} s."
            )
        say(f"{self.last_reason} - {again}{'' if self.log is None else f' See {self.log}.'}")

    def read_reports(self) -> list[dict[str, Any]]:
        """What the program has reported since the last look; broken lines are left out."""
        if self._pipe is None:
            return []
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._pipe, 65536):
                self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        reports = []
        for line in lines:
            with contextlib.suppress(ValueError):
                reports.append(json.loads(line))
        return reports

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        if self.process is not None and not self.asked and self.process.poll() is None:
            self.asked = True  # once: a second signal means "at once" to Prefect's programs
            self.process.terminate()

    def stop(self) -> None:
        """Ends the program: SIGTERM first.

        SIGKILL to its group follows if that takes too long or leaves something behind.
        """
        self.restart_at = None
        if self.process is not None:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.stop_seconds_max)
            self.reap()
        self._close_pipe()

    def reap(self) -> None:
        """Kill what is left of the group and forget it."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe, self._unread = None, b""

    def _last_words(self) -> str:
        if self.log is None:
            return "what it wrote stands above"
        return self.log_end() or "it wrote nothing"

    def log_end(self) -> str:
        """The last line that the program wrote since this start: of a traceback, the error."""
        if self.log is None:
            return ""
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(min(self._log_begin, size), size - 65536))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip()[:REASON_CHARACTERS_MAX] if lines else ""


def require_free(host: str, port: int, setting: str) -> None:
    """Raise PortTaken unless we can listen on the port.

    Args:
        host: Address to listen on.
        port: The port.
        setting: Name of the setting to change, for the message.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"Cannot listen on {host}:{port} ({error.strerror}). Stop the program that uses "
                "it, or choose another port, for example "
                f"{setting}={port - 1 if port == PORT_MAX else port + 1}."
            ) from None
