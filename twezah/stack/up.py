"""The whole stack, started in order and stopped in reverse: database, Prefect, deployments, worker.

Simulator.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from twezah.settings import PROJECT_ROOT, Settings
from twezah.stack import postgres, services
from twezah.stack.api import is_healthy
from twezah.stack.errors import AlreadyUp, StackError
from twezah.stack.exposure import require_prefect_safe
from twezah.stack.locks import FileLock
from twezah.stack.private import keep_private
from twezah.stack.processes import Child, Watchdog, require_free

SERVER_SECONDS_MAX = 180.0
PROVISION_SECONDS_MAX = 180.0
SIMULATOR_SECONDS_MAX = 60.0
API_SECONDS_MAX = 60.0
#: How often a serving stack looks for systems that were connected in Prefect's UI meanwhile.
CONNECT_SECONDS = 30.0
#: Longer than someone else's look whether a lock is free.
PROBE_SECONDS = 0.5


class Stack:
    """Everything `twezah up` runs; a context manager. `say` is told each step in one line."""

    def __init__(
        self,
        settings: Settings,
        *,
        simulator: bool = False,
        evolve_every_seconds: float | None = None,
        catch_up: bool = True,
        api: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """Name what shall run; nothing starts before `with`.

        Args:
            settings: This installation.
            simulator: With the simulated billing systems, connected where nothing else is.
            evolve_every_seconds: How often something happens there; None: never by itself.
            catch_up: Start one run per system whose scheduled runs were missed.
            api: With the HTTP API.
            say: Gets each step in one line.
        """
        self.settings = settings
        self.simulator = simulator
        self.evolve_every_seconds = evolve_every_seconds
        self.catch_up = catch_up
        self.api = api
        self.say = say
        self.children: list[Child] = []
        self.connected: list[str] = []
        self.announced: list[str] = []
        self.dsn = ""
        self._exit = ExitStack()

    @property
    def simulator_url(self) -> str | None:
        """Base URL of the simulator, if it is part of this stack."""
        return self.settings.simulator_url if self.simulator else None

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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, the database last."""
        self._exit.close()

    def _start(self) -> None:
        settings = self.settings
        require_prefect_safe(settings)
        self._take_home()
        self._require_ports()
        self.watchdog = Watchdog()
        self._exit.callback(self.watchdog.close)
        self._start_database()
        self._exit.callback(self._stop_children)
        if settings.starts_prefect:
            server = self._add(
                "Prefect server", services.server_command(settings), services.server_environment(settings)
            )
        provision = self._start_provision()
        if self.simulator:
            command = services.simulator_command(settings, self.evolve_every_seconds)
            simulator = self._add("simulator", command, settings.child_environment())
        from sql.migrate import migrate

        migrate(self.dsn)
        self.say("Ledger database is ready.")
        if settings.starts_prefect:
            self._await(lambda: is_healthy(settings.api_url), server, SERVER_SECONDS_MAX, settings.api_url)
            self.say(f"Prefect is ready: {settings.ui_url}")
        elif not is_healthy(settings.api_url, timeout_seconds=10):
            raise StackError(f"The Prefect server at {settings.api_url} (PREFECT_API_URL) does not answer.")
        if self.simulator:
            self._await(
                lambda: services.accepts(settings.simulator_port),
                simulator,
                SIMULATOR_SECONDS_MAX,
                "the simulator",
            )
            self.say(f"Simulated billing systems: {self.simulator_url}")
        self._add("worker", services.worker_command(settings), services.worker_environment(settings))
        if self.api:
            self._start_api()
        self._finish_provision(provision)
        self._write_record(ready=True)

    def _start_api(self) -> None:
        settings = self.settings
        child = self._add("API", services.api_command(), settings.child_environment())
        self._await(
            lambda: services.accepts(settings.api_port, settings.api_host), child, API_SECONDS_MAX, settings.http_url
        )
        self.say(f"API: {settings.http_url}")

    def _take_home(self) -> None:
        home = self.settings.home
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"Cannot create the state folder {home}: {error.strerror}. Set TWEZAH_HOME.") from None
        lock = FileLock(home / "up.lock")
        if not lock.acquire(timeout_seconds=PROBE_SECONDS):
            other = running_stack(self.settings) or {}
            raise AlreadyUp(
                f"Another `twezah up` (process {other.get('pid', 'unknown')}) already serves {home}: "
                f"{other.get('ui_url', 'starting')}. Stop it first, or set TWEZAH_HOME to another folder."
            )
        self._exit.callback(lock.release)
        keep_private(home)
        self._exit.callback((home / "up.json").unlink, missing_ok=True)
        self._write_record(ready=False)

    def _write_record(self, *, ready: bool) -> None:
        own = self.settings
        record = {
            "pid": os.getpid(),
            "api_url": own.api_url,
            "ui_url": own.ui_url,
            "own_prefect": own.is_own_prefect,
            "ready": ready,
        }
        draft = own.home / "up.json.new"
        draft.write_text(json.dumps(record))
        draft.replace(own.home / "up.json")

    def see_guests_off(self) -> None:
        """Let no other command begin to use this stack, and return when those that do have ended.

        Raises:
            StackError: a part keeps failing.

        """
        self._write_record(ready=False)
        guests = guest_lock(self.settings)
        if not guests.is_free():
            self.say("Another command uses this stack, which stops when that one has ended. Ctrl-C stops it now.")
        while not guests.is_free():
            self.tend()
            time.sleep(PROBE_SECONDS)

    def _require_ports(self) -> None:
        if self.settings.starts_prefect:
            require_free(self.settings.prefect_host, self.settings.prefect_port, "TWEZAH_PREFECT_PORT")
        if self.api:
            require_free(self.settings.api_host, self.settings.api_port, "TWEZAH_API_PORT")
        if self.simulator:
            require_free("127.0.0.1", self.settings.simulator_port, "TWEZAH_SIMULATOR_PORT")

    def _start_database(self) -> None:
        settings = self.settings
        if settings.is_embedded or settings.starts_prefect:
            self._exit.enter_context(postgres.embedded(settings.home))
        if not settings.is_embedded:
            postgres.check_reachable(settings.dsn())
        self.dsn = settings.dsn()

    def _add(self, name: str, command: list[str], environment: dict[str, str]) -> Child:
        log = self.settings.logs / f"{name.lower().replace(' ', '-')}.log"
        child = Child(name, command, environment, log, self.watchdog)
        self.children.append(child)
        child.start()
        return child

    def _stop_children(self) -> None:
        for child in reversed(self.children):
            child.ask_to_stop() if child.name != "Prefect server" else None
        for child in reversed(self.children):  # the server last: the worker reports to it until it ends
            child.stop()

    def _await(self, ready: Callable[[], bool], child: Child, seconds_max: float, what: str) -> None:
        deadline = time.monotonic() + seconds_max
        while not ready():
            child.require_alive()
            if time.monotonic() > deadline:
                raise StackError(f"{what} did not answer within {seconds_max:.0f} s. See {child.log}.")
            time.sleep(0.1)

    def _start_provision(self) -> subprocess.Popen[str]:
        command = services.provision_command(
            self.simulator_url, await_seconds=int(SERVER_SECONDS_MAX), catch_up=self.catch_up
        )
        with (self.settings.logs / "provision.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.settings.child_environment(), cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
        self.watchdog.watch(process.pid)
        self._exit.callback(_end, process, self.watchdog)
        return process

    def _finish_provision(self, process: subprocess.Popen[str]) -> None:
        try:
            said, _ = process.communicate(timeout=PROVISION_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            said = ""
        log = self.settings.logs / "provision.log"
        if process.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or [""]
            raise StackError(f"The deployments could not be applied: {lines[-1][:300]} See {log}.")
        self.connected = json.loads(said.splitlines()[-1])["connected"]
        self.say(f"Deployments are applied. Connected systems: {', '.join(self.connected) or 'none yet'}.")

    def tend(self) -> None:
        """One round of supervision; call it about once a second.

        Raises:
            StackError: a part keeps failing.

        """
        if self.settings.is_embedded or self.settings.starts_prefect:
            postgres.ensure_started(self.settings.home)
        for child in self.children:
            child.tend(self.say)

    def serve(self) -> None:
        """Supervise until interrupted."""
        self._announce()
        next_look = time.monotonic() + CONNECT_SECONDS
        while True:
            self.tend()
            if time.monotonic() >= next_look:
                self._activate_connected()
                self._announce()
                next_look = time.monotonic() + CONNECT_SECONDS
            time.sleep(1)

    def _announce(self) -> None:
        if self.simulator and self.api:
            from twezah.stack.announce import keep_announced

            self.announced = keep_announced(self.settings, self.dsn, self.announced, self.say)

    def _activate_connected(self) -> None:
        os.environ.update(self.settings.child_environment())
        from twezah.stack import provision, tidy

        try:
            activated = provision.activate_connected()
            for system in activated:
                self.say(f"{system} is connected: its schedule is active now.")
            if activated:
                provision.renew_pages()
            tidy.keep()
        except Exception as error:  # noqa: BLE001 - the server may be restarting; the next look is soon
            self.say(f"Could not look for newly connected systems: {type(error).__name__}.")


def _end(process: subprocess.Popen[str], watchdog: Watchdog) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    watchdog.forget(process.pid)


def guest_lock(settings: Settings) -> FileLock:
    """Held, shared, by commands that use a stack which another process started."""
    return FileLock(settings.home / "up.guests")


def running_stack(settings: Settings) -> dict[str, Any] | None:
    """What a running `twezah up` of this home says about itself; None if there is none.

    Keys: pid, api_url, ui_url and ready (false while it starts and before it stops); none of them in its first moment.
    """
    if not (settings.home / "up.lock").exists() or FileLock(settings.home / "up.lock").is_free():
        return None
    try:
        record: dict[str, Any] = json.loads((settings.home / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return record
