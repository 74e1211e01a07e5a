"""The whole stack: database, Prefect, its caretaker, worker, API, simulator; supervised for ever.

Starting and serving are one thing: every part is started, looked after and started again when it
ends, and the stack is ready once all of them answer. A failure that may pass is waited out; only
what cannot pass by itself (a port that is taken, a disk that cannot be written) ends a start.
"""

import json
import os
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from settings import Settings
from twezah.stack import commands, leftover_processes, postgres, roles, systemd_unit
from twezah.stack.errors import AlreadyUp, DatabaseFailed, StackError
from twezah.stack.exposure import require_prefect_safe
from twezah.stack.locks import FileLock
from twezah.stack.prefect_health import is_healthy
from twezah.stack.private_files import keep_private
from twezah.stack.processes import Child, Watchdog, pause_seconds, reason, require_free
from twezah.stack.retrying import insist

T = TypeVar("T")

#: A command that starts a stack for its own use waits this long for a part that is not well.
GIVE_UP_SECONDS = 600.0
#: Longer than another process takes the lock only to look whether it is free.
PROBE_SECONDS = 0.5
#: How often it looks whether a part answers, while starting.
POLL_SECONDS = 0.1
#: What is waited for first: the worker is started once it answers.
PREFECT = "Prefect"
#: How often a start that takes long says what it still waits for.
WAITING_SECONDS = 60.0


class Stack:
    """Everything `twezah up` runs; a context manager. `say` gets one line for each step."""

    def __init__(
        self,
        settings: Settings,
        *,
        simulator: bool = False,
        evolve_every_seconds: float | None = None,
        catch_up: bool = True,
        api: bool = False,
        give_up_seconds: float | None = GIVE_UP_SECONDS,
        say: Callable[[str], None] = print,
    ) -> None:
        """Name what shall run; nothing starts before `with`.

        Args:
            settings: This installation.
            simulator: With the simulated billing systems, connected where nothing else is.
            evolve_every_seconds: How often something happens there; None: never by itself.
            catch_up: Start one run per system whose scheduled runs were missed, and per connection
                that is new.
            api: With the HTTP API.
            give_up_seconds: How long a start may take, and a part may keep failing afterwards,
                before that is an error; None: it is tried for ever.
            say: Gets each step in one line.
        """
        self.settings = settings
        self.simulator = simulator
        self.evolve_every_seconds = evolve_every_seconds
        self.catch_up = catch_up
        self.api = api
        self.give_up_seconds = give_up_seconds
        self.say = say
        self.stack_id = secrets.token_hex(8)
        self.children: list[Child] = []
        self.connected: list[str] = []
        self.dsn = ""
        self._exit = ExitStack()
        self._watchdog: Watchdog | None = None
        self._caretaker: Child | None = None
        self._is_provisioned = False
        self._gate = settings.home / "tmp" / "worker.go"
        self._uses_embedded = False
        self._database_failures = 0
        self._database_down_since: float | None = None
        self._database_retry_at = 0.0
        self._database_reason = ""

    @property
    def simulator_url(self) -> str | None:
        """Base URL of the simulator, if it is part of this stack."""
        return self.settings.simulator_url if self.simulator else None

    @property
    def has_embedded_database(self) -> bool:
        """True when the stack keeps the embedded PostgreSQL running."""
        return self.settings.is_embedded or self.settings.starts_prefect

    def __enter__(self) -> Self:
        """Start everything.

        Raises:
            StackError: something cannot start; what did start has been stopped.

        """
        with ExitStack() as exit_stack:
            self._exit = exit_stack
            self._start()
            self._exit = exit_stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything, the database last."""
        systemd_unit.notify("STOPPING=1")
        self._exit.close()

    def _start(self) -> None:
        require_prefect_safe(self.settings)
        self._lock_state_folder()
        self._end_leftovers()
        self._require_ports()
        self._watchdog = Watchdog(self.settings.home, self.stack_id)
        self._exit.callback(self._watchdog.close)
        self._insist("Starting the database", self._start_database)
        self._exit.callback(self._stop_children)
        self._start_prefect()
        self._insist("Preparing the ledger database", self._migrate)
        self.say("Ledger database is ready.")
        self._start_others()
        self._await_ready()
        self._write_record(ready=True)
        systemd_unit.notify("READY=1\nSTATUS=Serving")

    def _lock_state_folder(self) -> None:
        home = self.settings.home
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"Cannot create the state folder {home}: {error.strerror}. Set TWEZAH_HOME."
            ) from None
        lock = FileLock(home / "up.lock")
        if not lock.acquire(timeout_seconds=PROBE_SECONDS):
            other = running_stack(self.settings) or {}
            raise AlreadyUp(
                f"Another `twezah up` (process {other.get('pid', 'unknown')}) already serves "
                f"{home}: {other.get('ui_url', 'starting')}. Stop it first, or set TWEZAH_HOME "
                "to another folder."
            )
        self._exit.callback(lock.release)
        keep_private(home)
        self._exit.callback((home / "up.json").unlink, missing_ok=True)
        self._write_record(ready=False)

    def _end_leftovers(self) -> None:
        """Ends what a killed `twezah up` of this folder left.

        Its watchdog does that, unless it was killed as well.
        """
        self._gate.unlink(missing_ok=True)
        ended = leftover_processes.end_marked(self.settings.home, but=self.stack_id)
        if ended:
            self.say(f"Ended what a killed `twezah up` had left running: {', '.join(ended)}.")

    def _write_record(self, *, ready: bool) -> None:
        installation = self.settings
        record = {
            "pid": os.getpid(),
            "api_url": installation.api_url,
            "ui_url": installation.ui_url,
            "own_prefect": installation.is_own_prefect,
            "ready": ready,
        }
        draft = installation.home / "up.json.new"
        draft.write_text(json.dumps(record))
        draft.replace(installation.home / "up.json")

    def wait_for_other_commands(self) -> None:
        """Let no other command begin to use this stack, and return when those that do have ended.

        Raises:
            StackError: a part keeps failing.

        """
        self._write_record(ready=False)
        other_commands = shared_use_lock(self.settings)
        if not other_commands.is_free():
            self.say(
                "Another command uses this stack, which stops when that one has ended. Ctrl-C "
                "stops it now."
            )
        while not other_commands.is_free():
            self.tend()
            time.sleep(PROBE_SECONDS)

    def _require_ports(self) -> None:
        installation = self.settings
        if installation.starts_prefect:
            require_free(
                installation.prefect_host, installation.prefect_port, "TWEZAH_PREFECT_PORT"
            )
        if self.api:
            require_free(installation.api_host, installation.api_port, "TWEZAH_API_PORT")
        if self.simulator:
            require_free("127.0.0.1", installation.simulator_port, "TWEZAH_SIMULATOR_PORT")

    def _start_database(self) -> None:
        if self.has_embedded_database:
            self._exit.enter_context(postgres.embedded(self.settings.home))
            self._uses_embedded = True
        if not self.settings.is_embedded:
            postgres.check_reachable(self.settings.dsn())
        self.dsn = self.settings.dsn()

    def _migrate(self) -> None:
        from sql.migrate import migrate

        migrate(self.dsn)
        roles.prepare(self.settings, self.dsn)

    def _start_prefect(self) -> None:
        installation = self.settings
        if installation.starts_prefect:
            self._add(
                "Prefect server",
                commands.server_command(installation),
                commands.server_environment(installation),
                answers=lambda: is_healthy(installation.api_url),
            )
        else:
            self._open_gate()

    def _caretaker_command(self) -> list[str]:
        return commands.caretaker_command(
            self.simulator_url,
            tidy=self.settings.starts_prefect and not self._gate.exists(),
            catch_up=self.catch_up,
            announce=self.simulator and self.api,
        )

    def _start_others(self) -> None:
        installation = self.settings
        # The caretaker makes addresses and secrets of webhooks and ends sessions of analysts: it has
        # the owner's rights, and takes few only to make pages (`provision.renew_pages`).
        self._caretaker = self._add(
            "caretaker", self._caretaker_command(), installation.child_environment(), reports=True
        )
        if self.simulator:
            command = commands.simulator_command(installation, self.evolve_every_seconds)
            self._add("simulator", command, installation.child_environment())
        if self.api:
            api = roles.role_environment(installation, roles.API)
            self._add("API", commands.api_command(), installation.child_environment() | api)

    def _start_worker(self) -> None:
        """The worker takes five seconds of CPU time to load what its runs need.

        It can do nothing before Prefect's server answers, which starts sooner without it.
        """
        installation = self.settings
        command = commands.worker_command(installation, start_after=self._gate)
        worker = roles.role_environment(installation, roles.WORKER)
        self._add("worker", command, commands.worker_environment(installation) | worker)

    def _add(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        *,
        reports: bool = False,
        answers: Callable[[], bool] | None = None,
    ) -> Child:
        log = self.settings.logs / f"{name.lower().replace(' ', '-')}.log"
        marked = {
            **environment,
            leftover_processes.MARK: leftover_processes.mark(self.settings.home, self.stack_id),
        }
        child = Child(name, command, marked, log, reports=reports, answers=answers)
        self.children.append(child)
        child.start()
        return child

    def _open_gate(self) -> None:
        """Let the worker take runs."""
        self._gate.parent.mkdir(parents=True, exist_ok=True)
        self._gate.touch()

    def _stop_children(self) -> None:
        last = ("Prefect server",)  # the worker reports to it until it ends
        for child in reversed(self.children):
            if child.name not in last:
                child.ask_to_stop()
        for child in reversed(self.children):
            child.stop()
        self._gate.unlink(missing_ok=True)

    def _await_ready(self) -> None:
        """Until every part answers; what ends meanwhile is started again."""
        waiting = self._conditions()
        begun = time.monotonic()
        next_word = begun + WAITING_SECONDS
        while waiting:
            self.tend()
            for name, (is_ready, text) in list(waiting.items()):
                if is_ready():
                    self.say(text())
                    del waiting[name]
                    if name == PREFECT:
                        self._start_worker()
            now = time.monotonic()
            if waiting and now > next_word:
                self.say(f"Still waiting for {', '.join(waiting)}: {now - begun:.0f} s.")
                next_word = now + WAITING_SECONDS
            if waiting and self.give_up_seconds is not None and now - begun > self.give_up_seconds:
                logs = self.settings.logs
                raise StackError(
                    f"Not ready after {now - begun:.0f} s: {', '.join(waiting)} did not answer. "
                    f"{self._last_reasons()}See {logs}."
                )
            time.sleep(POLL_SECONDS if waiting else 0)

    def _conditions(self) -> dict[str, tuple[Callable[[], bool], Callable[[], str]]]:
        installation = self.settings
        conditions: dict[str, tuple[Callable[[], bool], Callable[[], str]]] = {
            PREFECT: (
                lambda: is_healthy(installation.api_url),
                lambda: f"Prefect is ready: {installation.ui_url}",
            ),
        }
        if self.simulator:
            conditions["the simulator"] = (
                lambda: commands.accepts(installation.simulator_port),
                lambda: f"Simulated billing systems: {self.simulator_url}",
            )
        if self.api:
            conditions["the API"] = (
                lambda: commands.accepts(installation.api_port, installation.api_host),
                lambda: f"API: {installation.http_url}",
            )
        conditions["the deployments"] = (
            lambda: self._is_provisioned,
            lambda: (
                "Deployments are applied. Connected systems: "
                f"{', '.join(self.connected) or 'none yet'}."
            ),
        )
        return conditions

    def _insist(self, what: str, action: Callable[[], T]) -> T:
        """The result of `action`; a failure that may pass is said and tried again.

        Raises:
            StackError: it cannot pass by itself, or took longer than `give_up_seconds`.

        """
        return insist(
            what, action, say=self.say, pause=self._pause, give_up_seconds=self.give_up_seconds
        )

    def _pause(self, seconds: float) -> None:
        """Wait, and look after what runs already: what is waited for may be one of these."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._look_after()
            time.sleep(min(left, POLL_SECONDS))

    def tend(self) -> None:
        """One round of supervision; call it about once a second.

        Raises:
            StackError: a part has kept failing for longer than `give_up_seconds`.

        """
        self._look_after()
        systemd_unit.notify(f"WATCHDOG=1\nSTATUS={self._last_reasons() or 'Serving'}")
        self._give_up_if_down_too_long()

    def _look_after(self) -> None:
        """Start again what has ended of all that was started."""
        if self._watchdog is not None:
            self._watchdog.tend(self.say)
        self._tend_database()
        for child in self.children:
            child.tend(self.say)
        self._read_reports()

    def _tend_database(self) -> None:
        if not self._uses_embedded or time.monotonic() < self._database_retry_at:
            return
        try:
            postgres.ensure_started(self.settings.home)
        except (DatabaseFailed, OSError) as error:
            self._database_failures += 1
            self._database_down_since = self._database_down_since or time.monotonic()
            delay_seconds = pause_seconds(self._database_failures)
            self._database_retry_at = time.monotonic() + delay_seconds
            self._database_reason = f"The database is away: {reason(error)}"
            self.say(f"{self._database_reason} - trying again in {delay_seconds:.0f} s.")
            return
        if self._database_failures:
            self.say("The database is back.")
        self._database_failures, self._database_down_since = 0, None

    def _read_reports(self) -> None:
        for report in self._caretaker.read_reports() if self._caretaker else ():
            if "say" in report:
                self.say(str(report["say"]))
            if "tidied" in report:
                if report["tidied"]:
                    self.say(f"Runs settled that the last stop had left: {report['tidied']}.")
                self._open_gate()
            if "ready" in report:
                self.connected = list(report["ready"])
                self._is_provisioned = True
        if self._caretaker is not None:
            self._caretaker.command = self._caretaker_command()

    def _give_up_if_down_too_long(self) -> None:
        if self.give_up_seconds is None:
            return
        too_long_ago = time.monotonic() - self.give_up_seconds
        downs = [child.down_since for child in self.children] + [self._database_down_since]
        if any(down is not None and down < too_long_ago for down in downs):
            raise StackError(
                f"A part of the stack has kept failing for {self.give_up_seconds:.0f} s. "
                f"{self._last_reasons()}See {self.settings.logs}."
            )

    def _last_reasons(self) -> str:
        """Why the parts that are not well ended the last time; "" where all are well."""
        reasons = [child.last_reason for child in self.children if child.down_since is not None]
        if self._database_down_since is not None:
            reasons.append(self._database_reason)
        return "".join(f"{text.rstrip('.')}. " for text in reasons)

    def serve(self) -> None:
        """Supervise until interrupted."""
        while True:
            self.tend()
            time.sleep(1)


def shared_use_lock(settings: Settings) -> FileLock:
    """Held, shared, by commands that use a stack which another process started."""
    return FileLock(settings.home / "up.guests")


def running_stack(settings: Settings) -> dict[str, Any] | None:
    """What a running `twezah up` of this home says about itself; None if there is none.

    Keys: pid, api_url, ui_url and ready (false while it starts and before it stops); none of them
        in its first moment.
    """
    if not (settings.home / "up.lock").exists() or FileLock(settings.home / "up.lock").is_free():
        return None
    try:
        record: dict[str, Any] = json.loads((settings.home / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return record
