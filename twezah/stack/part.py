"""One part of the product alone, for installations on several machines: `twezah part NAME`.

What `twezah up` does for all parts on one machine, this does for one: it waits for what the part
needs, starts it, starts it again when it ends, and ends it in order. Parts that may run once only
hold a lock in the ledger database; a second one waits and takes over.
"""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import psycopg

from api.exposure_check import require_safe
from settings import PROJECT_ROOT, Settings
from sql import standby
from sql.migrate import is_current, migrate
from sql.part_lock import PartLock
from twezah.stack import commands, leftover_processes, roles, systemd_unit
from twezah.stack.errors import AlreadyUp
from twezah.stack.exposure import require_prefect_safe
from twezah.stack.locks import FileLock
from twezah.stack.part_settings import Name, require_shared
from twezah.stack.prefect_health import is_healthy
from twezah.stack.private_files import keep_private
from twezah.stack.processes import FAILURES_LOUD, Child, Watchdog, require_free
from twezah.stack.retrying import insist

#: How often it looks whether the part lives, and whether it still holds its lock.
LOOK_SECONDS: Final = 0.5
#: How often it says again what it waits for.
WAITING_SECONDS: Final = 300.0
#: How long a part may take to end: a run under way is asked to end first.
STOP_SECONDS_MAX: Final = 30.0
#: A part that runs once only gives its lock up when its program ended `FAILURES_LOUD` times within
#: so long, or did not become ready for so long (a busy machine is slow, not sick).
SICK_SECONDS: Final = 1800.0
READY_SECONDS_MAX: Final = 1800.0
#: Then it asks for the lock no sooner than this: a part that stands by asks more often.
GIVEN_UP_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10
#: How often a worker of a restored copy asks whether its deployments are paused, and for how long.
_PAUSED_SECONDS: Final = 10.0
_PAUSED_SECONDS_MAX: Final = 120.0
_STANDS_BY: Final = (
    "Waiting: this installation is a copy on standby, and its deployments are not paused. The "
    "worker begins when the caretaker has paused them, or after `twezah go-live`"
)


@dataclass(frozen=True)
class Program:
    """How a part is started."""

    #: Program and arguments.
    command: list[str]
    #: All environment variables.
    environment: dict[str, str]
    #: Whether it does its work; None: as soon as it runs.
    answers: Callable[[], bool] | None = None
    #: It writes JSON lines into a pipe: the caretaker.
    reports: bool = False


def runs_once(settings: Settings, part: Name) -> bool:
    """Whether of all machines only one may run this part at a time."""
    alone = settings.prefect_redis_url is None  # then Prefect's server does everything itself
    return part in ("services", "caretaker") or (part == "prefect" and alone)


class Health:
    """What became of a part's program since it was first started here."""

    def __init__(self) -> None:
        """Begins now."""
        self._began = time.monotonic()
        self._ends: list[float] = []
        self._is_down = False

    def is_sick(self, child: Child, *, is_ready: bool) -> bool:
        """Whether it ends again and again, or does not become ready; asked all the time."""
        now = time.monotonic()
        if child.restart_at is not None and not self._is_down:
            self._ends.append(now)
        self._is_down = child.restart_at is not None
        self._ends = [end for end in self._ends if now - end < SICK_SECONDS]
        is_late = not is_ready and now - self._began > READY_SECONDS_MAX
        return is_late or len(self._ends) >= FAILURES_LOUD


class Part:
    """One part; `say` gets one line for each step."""

    def __init__(
        self,
        settings: Settings,
        name: Name,
        *,
        simulator_url: str | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        """Name what shall run; nothing starts before `serve`.

        Args:
            settings: This machine's.
            name: Which part.
            simulator_url: The caretaker connects what is not connected to the simulator there.
            say: Gets each step in one line.

        """
        self._settings = settings
        self._name: Name = name
        self._simulator_url = simulator_url
        self._say = say
        self._stack_id = secrets.token_hex(8)
        self._watchdog: Watchdog | None = None
        self._status = "Starting"
        self._lock = (
            PartLock(settings.dsn(), name)
            if runs_once(settings, name) and not settings.is_embedded
            else None
        )

    def serve(self) -> None:
        """Runs the part until interrupted.

        Raises:
            StackError: it cannot start, and waiting does not help.
            UnsafeError: others could listen to what it says.

        """
        self._require_settings()
        with ExitStack() as exits:
            self._take_folder(exits)
            self._watchdog = Watchdog(self._settings.home, self._stack_id)
            exits.callback(self._watchdog.close)
            exits.callback(systemd_unit.notify, "STOPPING=1")
            if self._lock is not None:
                exits.callback(self._lock.release)
            while True:
                self._take_lock()
                self._work()
                if self._may_work():
                    self._give_up()
                else:
                    self._say(f"{self._name}: the lock is lost, so the part was ended.")

    def _require_settings(self) -> None:
        settings = self._settings
        require_shared(settings, self._name)
        if self._name == "prefect":
            require_prefect_safe(settings.model_copy(update={"prefect_api_url": None}))
        if self._name == "api":
            require_safe(settings)

    def _take_folder(self, exits: ExitStack) -> None:
        home = self._settings.home
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / "part.lock")
        is_taken = not lock.acquire(timeout_seconds=LOOK_SECONDS)
        if is_taken or not FileLock(home / "up.lock").is_free():
            lock.release()
            raise AlreadyUp(
                f"Another part, or `twezah up`, uses the state folder {home}. Stop it first, "
                "or set TWEZAH_HOME to another folder."
            )
        exits.callback(lock.release)
        keep_private(home)
        ended = leftover_processes.end_marked(home, but=self._stack_id)
        if ended:
            self._say(f"Ended what a killed part had left running: {', '.join(ended)}.")

    def _take_lock(self) -> None:
        """Waits until nobody else runs the part."""
        lock = self._lock
        if lock is None:
            return
        while True:  # who cannot work must not keep the other from it
            lock.release()
            self._await_prefect()
            self._await(
                lock.acquire,
                "Asking for the lock",
                f"Standing by: the {self._name} runs on another machine",
                stands_by=True,
            )
            if self._reaches_prefect():  # still, after it stood by for long
                break
        self._say(f"{self._name}: this machine's turn.")

    def _give_up(self) -> None:
        """Lets another machine run the part, which does not get well here."""
        if self._lock is None:
            return
        self._lock.release()
        self._status = f"The {self._name} does not get well here: another machine may run it"
        self._say(
            f"{self._status}. This one asks again in {GIVEN_UP_SECONDS:.0f} s at the soonest."
        )
        self._rest(GIVEN_UP_SECONDS)

    def _work(self) -> None:
        """Runs the part until it may no longer, or gives it up."""
        if not self._prepare():
            return
        child = self._new_child()
        child.start()
        self._status = "Serving"
        try:
            is_ready, health = False, Health()
            while self._may_work():
                child.tend(self._say)
                is_ready = self._tell(child, is_ready=is_ready)
                if self._lock is not None and health.is_sick(child, is_ready=is_ready):
                    break
                self._rest(LOOK_SECONDS)
            child.reap()  # at once: another machine may begin
        finally:
            child.stop()

    def _may_work(self) -> bool:
        return self._lock is None or self._lock.is_held()

    def _tell(self, child: Child, *, is_ready: bool) -> bool:
        """Says what the part reports and, once, that it is ready; whether it is."""
        reported = False
        for report in child.read_reports():
            if "say" in report:
                self._say(str(report["say"]))
            reported |= "ready" in report
        self._status = child.last_reason if child.down_since is not None else "Serving"
        if is_ready:
            return True
        answers = reported if child.reports else child.answers is None or child.answers()
        if answers and child.process is not None:
            self._say(f"{self._name}: ready.")
            systemd_unit.notify("READY=1")
            return True
        return False

    def _prepare(self) -> bool:
        """Waits for what the part needs; false where its lock was lost meanwhile."""
        settings = self._settings
        if self._name == "prefect":
            require_free(settings.prefect_host, settings.prefect_port, "TWEZAH_PREFECT_PORT")
        if self._name == "api":
            require_free(settings.api_host, settings.api_port, "TWEZAH_API_PORT")
        if self._name == "caretaker":
            self._await(self._migrate, "Preparing the ledger database", "")
        if self._name in ("api", "worker"):
            waiting = "Waiting for the caretaker, which brings the ledger database up to date"
            self._await(self._has_schema, "Looking at the ledger database", waiting)
        if self._name == "worker":
            self._await_prefect()
            self._await(self._may_take_runs, "Looking at the ledger database", _STANDS_BY)
        return self._may_work()

    def _await_prefect(self) -> None:
        waiting = "Waiting for Prefect's server, which does not answer at PREFECT_API_URL"
        self._await(self._reaches_prefect, "Asking Prefect", waiting)

    def _reaches_prefect(self) -> bool:
        """Also true for parts that begin without its server."""
        needs_it = self._name in ("services", "worker")
        return not needs_it or is_healthy(self._settings.api_url)

    def _migrate(self) -> bool:
        with systemd_unit.kept_alive("Preparing the ledger database"):
            migrate(self._settings.dsn())
            roles.prepare(self._settings, self._settings.dsn())
        return True

    def _may_take_runs(self) -> bool:
        """A worker of a restored copy takes no run that is due by itself."""
        with psycopg.connect(self._settings.dsn(), connect_timeout=_CONNECT_SECONDS) as connection:
            if standby.read(connection) is None:
                return True
        if self._has_paused():
            return True
        self._rest(_PAUSED_SECONDS)
        return False

    def _has_paused(self) -> bool:
        try:
            result = subprocess.run(
                [sys.executable, "-m", "twezah.stack.standby_pause"], check=False,
                env=self._settings.child_environment(), timeout=_PAUSED_SECONDS_MAX, cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL, capture_output=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return result.returncode == 0

    def _has_schema(self) -> bool:
        # Not with the part's role: the migrations make it.
        dsn = self._settings.dsn()
        with psycopg.connect(dsn, connect_timeout=_CONNECT_SECONDS) as connection:
            return is_current(connection)

    def _await(
        self, attempt: Callable[[], bool], what: str, waiting: str, *, stands_by: bool = False
    ) -> None:
        """Until the attempt is true; one that fails is tried again, for ever.

        Args:
            attempt: What it waits for.
            what: What is being tried, for the line about a failure.
            waiting: What it says while it waits.
            stands_by: It waits as it should, so systemd is told that all is well.
        """
        next_word = time.monotonic()
        while not insist(what, attempt, say=self._say, pause=self._rest):
            self._status = waiting
            if stands_by:
                systemd_unit.notify("READY=1")
            if time.monotonic() >= next_word:
                self._say(f"{waiting}.")
                next_word = time.monotonic() + WAITING_SECONDS
            self._rest(LOOK_SECONDS)

    def _rest(self, seconds: float) -> None:
        """Waits, and lets systemd know that this process lives."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._watchdog is not None:
                self._watchdog.tend(self._say)
            systemd_unit.notify(f"WATCHDOG=1\nSTATUS={self._status}")
            time.sleep(min(left, LOOK_SECONDS))

    def _new_child(self) -> Child:
        program = self._program()
        mark = leftover_processes.mark(self._settings.home, self._stack_id)
        return Child(
            self._name, program.command, {**program.environment, leftover_processes.MARK: mark},
            None, reports=program.reports, answers=program.answers,
            stop_seconds_max=STOP_SECONDS_MAX,
        )  # fmt: skip

    def _program(self) -> Program:
        makers: dict[Name, Callable[[], Program]] = {
            "prefect": self._server,
            "services": self._services,
            "caretaker": self._caretaker,
            "worker": self._worker,
            "api": self._api,
        }
        return makers[self._name]()

    def _server(self) -> Program:
        own = self._settings.model_copy(update={"prefect_api_url": None})
        web_only = own.prefect_redis_url is not None
        has_tls = own.prefect_tls_certificate is not None

        def answers() -> bool:
            if has_tls:  # the certificate is for another name than this machine's
                return commands.accepts(own.prefect_port, own.prefect_host)
            return is_healthy(own.own_api_url)

        return Program(
            commands.server_command(own, web_only=web_only),
            commands.server_environment(own),
            answers,
        )

    def _services(self) -> Program:
        environment = commands.server_environment(self._settings)
        return Program(commands.services_command(), environment)

    def _caretaker(self) -> Program:
        command = commands.caretaker_command(
            self._simulator_url, tidy=False, catch_up=True, announce=False, workers_elsewhere=True
        )
        return Program(command, self._settings.child_environment(), reports=True)

    def _worker(self) -> Program:
        role = roles.role_environment(self._settings, roles.WORKER)
        environment = commands.worker_environment(self._settings) | role
        return Program(commands.worker_command(self._settings), environment)

    def _api(self) -> Program:
        settings = self._settings
        environment = settings.child_environment() | roles.role_environment(settings, roles.API)
        return Program(
            commands.api_command(),
            environment,
            lambda: commands.accepts(settings.api_port, settings.api_host),
        )
