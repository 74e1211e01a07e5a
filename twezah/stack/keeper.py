"""The process that owns the embedded PostgreSQL: `python -m twezah.stack.keeper HOME`.

Users of the database hold a shared lock on `pg.users`. The keeper stops the server and ends as soon
as it can take that lock alone. Locks die with their holders, so a user killed with -9 counts as
gone, and nothing needs counting. It holds `pg.keeper` itself, and the server gets SIGINT (fast
shutdown) from the kernel should the keeper be killed.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from twezah.stack import pginstall
from twezah.stack.errors import PERMANENT_ERRNOS, DatabaseFailed, explained
from twezah.stack.locks import FileLock
from twezah.stack.private_files import UMASK

#: How often the keeper looks whether users are left and the server lives.
POLL_SECONDS = 0.1
#: A server that recovers after a crash needs longest; then it is started again.
START_SECONDS_MAX = 60.0
#: How long each way to stop the server may take before a harder one is tried.
STOP_SECONDS_MAX = 60.0
#: The longest pause between two attempts to start a server that has died, and how long a server
#: must have run for the next pause to be the shortest again.
PAUSE_SECONDS_MAX = 10.0
STABLE_SECONDS = 60.0
#: A longer log is moved aside at the next start.
LOG_BYTES_MAX = 10_000_000
#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send `signal_number` to this process when its parent ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


class Keeper:
    """Starts the server, restarts it if it dies, stops it when its last user has gone."""

    def __init__(self, home: Path) -> None:
        """Prepare the data directory and the socket folder of `home`."""
        self.home = home
        self.user = pginstall.account()
        home.mkdir(parents=True, exist_ok=True)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        pginstall.open_to(self.user, home)
        self.data = pginstall.init_data(home, self.user)
        self.record = home / "postgres.json"
        self.sockets = pginstall.socket_folder(home, self.user, _recorded_sockets(self.record))
        self.log = home / "logs" / "postgres.log"
        self.stopping = False
        #: The TCP port for analysts that the server was started for.
        self.port: int | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it accepts connections.

        Raises:
            DatabaseFailed: with the telling lines of its log.

        """
        self._remove_stale_server()
        self.port = pginstall.tcp_port(self.home)
        open_port = self._open_port()
        pginstall.write_host_rules(self.data, self.user, open_port)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            begin = log.tell()
            server = subprocess.Popen(
                pginstall.server_command(self.data, self.sockets, open_port),
                **pginstall.identity(self.user), cwd="/", umask=0o077,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                # Safe here: the keeper has one thread.
                preexec_fn=lambda: die_with_parent(signal.SIGINT),  # noqa: PLW1509
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and server.poll() is None:
            if self._is_ready(server.pid):
                self._keep_socket_name(open_port)
                self._write_record(server.pid)
                return server
            time.sleep(0.02)
        stop(server)
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            text = log.read()
        raise DatabaseFailed(
            f"PostgreSQL did not start ({self.log}): {pginstall.explain(text)}",
            permanent=pginstall.is_permanent(text),
        )

    def keep(self, server: subprocess.Popen[bytes]) -> None:
        """Serve until nobody holds `pg.users` or a signal asks to stop.

        A server that dies is started again for as long as somebody uses the database.
        """
        users = FileLock(self.home / "pg.users")
        failures, started_at, restart_at = 0, time.monotonic(), None
        try:
            while not self.stopping:
                if users.acquire(timeout_seconds=0):
                    break
                if restart_at is None and self.port != pginstall.tcp_port(self.home):
                    self.note("The access of analysts was changed; starting PostgreSQL again")
                    stop(server)
                    restart_at = time.monotonic()
                elif restart_at is None and server.poll() is not None:
                    failures = 1 if time.monotonic() - started_at > STABLE_SECONDS else failures + 1
                    restart_at = time.monotonic() + min(0.2 * 2**failures, PAUSE_SECONDS_MAX)
                    self.note(f"PostgreSQL ended (status {server.returncode}); starting it again")
                if restart_at is not None and time.monotonic() >= restart_at:
                    started_at, restart_at = time.monotonic(), None
                    with contextlib.suppress(DatabaseFailed, OSError):  # its log has the reason
                        server = self.start()
                time.sleep(POLL_SECONDS)
        finally:
            self.record.unlink(missing_ok=True)
            stop(server)
            users.release()
            if self.sockets.parent != self.home:
                with contextlib.suppress(OSError):
                    self.sockets.rmdir()

    def note(self, text: str) -> None:
        """Write a line into the keeper's log; a full disk is no reason to let the database go."""
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n"
        with contextlib.suppress(OSError), (self.home / "logs" / "keeper.log").open("a") as log:
            log.write(line)

    def _open_port(self) -> int | None:
        """The port to listen on; without it where another program has it: the ledger comes first."""
        if self.port is None or pginstall.is_free(self.port):
            return self.port
        self.note(f"Port {self.port} belongs to another program: analysts cannot log in by it")
        return None

    def _keep_socket_name(self, port: int | None) -> None:
        """PostgreSQL names its socket by the TCP port; everybody else goes on under one name."""
        name = self.sockets / f".s.PGSQL.{pginstall.PORT}"
        if port is not None and port != pginstall.PORT:
            name.unlink(missing_ok=True)
            name.symlink_to(f".s.PGSQL.{port}")

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]

    def _write_record(self, pid: int) -> None:
        record = {
            "socket_dir": str(self.sockets),
            "port": pginstall.PORT,
            "user": pginstall.SUPERUSER,
            "pid": pid,
        }
        draft = self.record.with_suffix(".new")
        draft.write_text(json.dumps(record) + "\n")
        draft.chmod(0o600)
        draft.replace(self.record)

    def _remove_stale_server(self) -> None:
        """Stop a server that outlived its keeper.

        A pid file whose number belongs to another process by now is deleted.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            pid = 0
        for signal_number in (signal.SIGINT, signal.SIGQUIT):
            deadline = time.monotonic() + STOP_SECONDS_MAX
            if self._serves(pid):
                os.kill(pid, signal_number)
            while self._serves(pid) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        pid_file.unlink(missing_ok=True)

    def _serves(self, pid: int) -> bool:
        """True when this process is a server of our data directory."""
        return pid > 0 and str(self.data) in command_line(pid)


def command_line(pid: int) -> list[str]:
    """Arguments of a process; empty if it does not exist."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:
            return []
    result = subprocess.run(
        ["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False
    )
    return result.stdout.split()


def stop(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: sessions are cut, and everything committed is on disk.

    Immediate shutdown if that takes too long.
    """
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is None:
            server.send_signal(signal_number)
            try:
                server.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                continue


def _recorded_sockets(record: Path) -> str | None:
    try:
        return str(json.loads(record.read_text())["socket_dir"])
    except (OSError, ValueError, KeyError):
        return None


def _report(text: str) -> None:
    """Tell the starter over stdout, once, and let go of the pipe."""
    os.write(1, text.encode())
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)


def main() -> int:
    """Become a daemon, start the server, report "ready" or the reason why not, keep it."""
    if os.fork():
        os._exit(0)  # the starter reaps this one; the keeper itself belongs to init
    home = Path(sys.argv[1])
    os.umask(UMASK)
    lock = FileLock(home / "pg.keeper")
    if not lock.acquire(timeout_seconds=STOP_SECONDS_MAX):
        _report("error: another process keeps this database and does not end")
        return 4
    try:
        keeper = Keeper(home)
        signal.signal(signal.SIGTERM, lambda *_: setattr(keeper, "stopping", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server = keeper.start()
    except DatabaseFailed as error:
        _report(f"{'permanent' if error.permanent else 'error'}: {error}")
        return 4
    except OSError as error:
        is_permanent = error.errno in PERMANENT_ERRNOS
        _report(f"{'permanent' if is_permanent else 'error'}: {explained(error)}")
        return 4
    _report("ready")
    keeper.keep(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
