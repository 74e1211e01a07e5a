"""Looks after Prefect's server: `python -m twezah.stack.caretaker`, a part of the stack.

First it waits for the server, then it tidies up what the last stop left, then it brings the
deployments to what prefect.yaml says, and from then on it looks every half minute: for systems
connected in the UI, alerts, the queue, runs that died. Whatever fails is tried again, for ever.
What it has to say goes as JSON lines into the pipe `--report-fd`:

    {"say": text}                      for the operator
    {"tidied": count}                  the worker may take runs now
    {"ready": [system, ...]}           the deployments are applied; these systems are connected
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg

from settings import DatabaseNotRunning, Settings, settings
from sql import analyst_role, standby
from sql.db import connect
from sql.standby import Standby
from tasks.actor import OPERATOR
from twezah.stack.acting import acting_for
from twezah.stack.flow_descriptions import descriptions, source_digest
from twezah.stack.prefect_health import is_healthy
from twezah.stack.processes import pause_seconds, reason
from twezah.stack.settings_watch import Notices
from twezah.stack.simulator_webhooks import keep_webhooks_connected

T = TypeVar("T")

#: Who changed what it changes, for the audit log.
ACTOR = "twezah"
#: How often it looks for systems that were connected in Prefect's UI meanwhile.
ROUND_SECONDS = 30.0
#: How often it looks whether the server answers, at the start.
POLL_SECONDS = 0.2


class Report:
    """Writes into the pipe, or to stdout without one. Ends the process when nobody reads."""

    def __init__(self, descriptor: int | None) -> None:
        """Name the pipe."""
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor

    def __call__(self, **values: Any) -> None:
        """One line."""
        try:
            os.write(self._descriptor, json.dumps(values).encode() + b"\n")
        except BrokenPipeError:
            sys.exit(0)

    def say(self, text: str) -> None:
        """A line for the operator."""
        self(say=text)


def insist(what: str, action: Callable[[], T], say: Callable[[str], None]) -> T:
    """The result of `action`, tried until it succeeds.

    Args:
        what: What it does, e.g. "Tidying up", for the operator.
        action: Called again after each failure, each time a little later.
        say: Gets a line with the reason of each failure.
    """
    failures = 0
    while True:
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - a server that restarts fails in many ways
            failures += 1
            delay_seconds = pause_seconds(failures)
            sys.stderr.write(f"{what}: {type(error).__name__}: {reason(error)}\n")
            say(f"{what} failed: {reason(error)} - trying again in {delay_seconds:.0f} s.")
            time.sleep(delay_seconds)


class Caretaker:
    """Everything it does, in order."""

    def __init__(self, installation: Settings, options: argparse.Namespace, report: Report) -> None:
        """`options` are those of the command."""
        self._own = installation
        self._options = options
        self._report = report
        self._announced: list[str] = []
        self._notices = Notices(installation)
        self._listening_since = time.monotonic()
        self._is_standby = False
        #: Switched on, and not run yet because Prefect's server was away.
        self._awaiting_first_run: set[str] = set()

    def serve(self) -> None:
        """Until the process is ended."""
        started_at = datetime.now(UTC)
        self._preload()
        say = self._report.say
        state = insist("Reading the ledger database", self._standby, say)
        self._await_server()
        settled = 0
        if self._options.tidy:
            catch_up = self._options.catch_up and state is None
            settled = insist("Tidying up", lambda: self._tidy(started_at, catch_up=catch_up), say)
            if state is None:
                self._report(tidied=settled)
        self._record_changes(OPERATOR, begin=False)  # made while nobody looked
        provisioned = insist("Applying the deployments", self._provision, say)
        with suppress(psycopg.Error, DatabaseNotRunning):  # `wait` tries again
            self._notices.listen()
        if provisioned["changed"]:
            self._record_changes(ACTOR)
        if state is not None:  # no worker may start before all is paused
            insist("Pausing the deployments", lambda: self._follow_standby(state), say)
            self._report(tidied=settled)
            say(state.to_text())
        self._renew_pages()  # whoever is told that all is ready opens one of them
        self._report(ready=provisioned["connected"])
        if state is None:
            insist("Continuing the deployments", lambda: self._follow_standby(None), say)
            activated = provisioned["activated"]
            insist("Starting first runs", lambda: self._start_first_runs(activated), say)
        while True:
            self._round()
            self._follow_changes(time.monotonic() + ROUND_SECONDS)

    def _follow_changes(self, until: float) -> None:
        """Looks at settings as they are changed, until the next round is due."""
        while (left_seconds := until - time.monotonic()) > 0:
            actors = self._notices.wait(left_seconds)
            if actors and self._record_changes(", ".join(actors)) and not self._is_standby:
                self._switch_on()
                self._renew_pages()

    def _record_changes(self, actor: str, *, begin: bool = True) -> int:
        """Records changed settings in the audit log; returns how many there were.

        What fails is said: a later look finds the same changes.
        """
        from panel.operator_changes import record_operator_changes

        try:
            key = self._own.fernet_key()
            return record_operator_changes(self._own.dsn(), key, actor, begin=begin)
        except Exception as error:  # noqa: BLE001 - the server may be restarting
            self._report.say(f"Changed settings were not recorded: {reason(error)}.")
            return 0

    def _switch_on(self) -> list[str]:
        """Switches on the schedules of connections that have become ready for use."""
        from twezah.stack.provision import activate_connected

        activated = activate_connected()
        for name in activated:
            self._report.say(f"{name} is connected: its schedule is active now.")
        self._start_first_runs(activated)
        return activated

    def _preload(self) -> None:
        """Does what takes long and needs no server, while the server is still starting."""
        say = self._report.say
        insist(
            "Describing the flows",
            lambda: descriptions(self._own.home, source_digest()),
            say,
        )
        for name in (
            "panel.pages.publish",
            "panel.pages.refresh",
            "twezah.stack.provision",
            "twezah.stack.run_cleanup",
        ):
            importlib.import_module(name)

    def _await_server(self) -> None:
        while not is_healthy(self._own.api_url):
            time.sleep(POLL_SECONDS)
        self._listening_since = time.monotonic()

    def _standby(self) -> Standby | None:
        with connect(self._own.dsn()) as connection:
            return standby.read(connection)

    def _follow_standby(self, state: Standby | None) -> None:
        """Pauses all deployments of a restored copy; continues them once it is live."""
        from prefect.client.orchestration import get_client

        from twezah.stack import run_cleanup
        from twezah.stack.provision import present_deployments

        self._is_standby = state is not None
        if not self._is_own_server():  # it may be the original's
            return
        with get_client(sync_client=True) as client:
            present = list(present_deployments(client).values())
            if state is not None:
                run_cleanup.pause_deployments(client, present)
            elif run_cleanup.resume_deployments(client, present):
                self._report.say("This installation is live: its schedules are on.")

    def _is_own_server(self) -> bool:
        """True when the stack started the server that PREFECT_API_URL names."""
        starting_prefect = self._own.model_copy(update={"prefect_api_url": None})
        return self._own.api_url == starting_prefect.api_url

    def _tidy(self, started_at: datetime, *, catch_up: bool) -> int:
        from prefect.client.orchestration import get_client

        from twezah.stack import run_cleanup
        from twezah.stack.provision import present_deployments

        with get_client(sync_client=True) as client:
            present = present_deployments(client)
            return run_cleanup.clear_leftovers(
                client, present.values(), started_at, catch_up=catch_up
            )

    def _provision(self) -> dict[str, list[str]]:
        from twezah.stack.provision import provision

        return provision(self._options.simulator_url)

    def _start_first_runs(self, names: Sequence[str]) -> None:
        """Not in a stack that a command starts for its own use: it would end before they do."""
        from twezah.stack.provision import start_first_runs

        if self._options.catch_up:
            self._awaiting_first_run.update(names)
            start_first_runs(self._awaiting_first_run)
        self._awaiting_first_run.clear()

    def _renew_pages(self) -> None:
        from twezah.stack.provision import renew_pages

        renew_pages()

    def _round(self) -> None:
        from twezah.stack import run_cleanup

        try:
            if self._is_standby and self._standby() is None:
                self._follow_standby(None)
            if not self._is_standby and self._switch_on():
                self._renew_pages()
            listening_for = timedelta(seconds=time.monotonic() - self._listening_since)
            is_here = not self._options.workers_elsewhere
            tended = run_cleanup.tend_runs(listening_for, on_this_machine=is_here)
            for name in tended.died:
                self._report.say(f"The run {name} had died unnoticed; it goes on by itself.")
            if tended.recalled:
                self._report.say(
                    f"This machine's clock ran ahead: {tended.recalled} runs that it had put off "
                    "are due now."
                )
        except Exception as error:  # noqa: BLE001 - the server may be restarting
            self._listening_since = time.monotonic()
            again = f"it is tried again in {ROUND_SECONDS:.0f} s"
            self._report.say(f"Looking after Prefect failed: {reason(error)} - {again}.")
            return
        self._end_overlong_analysts()
        if self._options.announce:
            self._announced = keep_webhooks_connected(self._own, self._announced, self._report.say)

    def _end_overlong_analysts(self) -> None:
        if not self._own.is_embedded:
            return
        minutes = self._own.analyst_transaction_minutes_max
        try:
            with connect(self._own.dsn()) as connection:
                count = analyst_role.end_overlong(connection, minutes)
        except Exception as error:  # noqa: BLE001 - the database may be restarting
            sys.stderr.write(f"Sessions of analysts: {reason(error)}\n")
            return
        if count:
            self._report.say(f"{count} queries of analysts ran over {minutes} minutes: ended.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="python -m twezah.stack.caretaker", description=__doc__)
    parser.add_argument("--simulator-url", help="connect what is not connected to this simulator")
    parser.add_argument("--tidy", action="store_true", help="after a start of our own server")
    parser.add_argument(
        "--drop-missed",
        dest="catch_up",
        action="store_false",
        help="do not make up for missed scheduled runs, and leave first runs to the schedules",
    )
    parser.add_argument(
        "--announce", action="store_true", help="tell the simulator where webhooks go"
    )
    parser.add_argument(
        "--workers-elsewhere",
        action="store_true",
        help="the processes of runs are on other machines",
    )
    parser.add_argument("--report-fd", type=int, help="pipe for what it has to say")
    options = parser.parse_args(arguments)
    os.environ.update(acting_for(ACTOR))
    Caretaker(settings(), options, Report(options.report_fd)).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
