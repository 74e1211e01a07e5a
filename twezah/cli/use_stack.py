"""A Prefect API to run deployments on.

It is the one that is up, or that of a stack which this command starts for as long as it needs it.
"""

import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from settings import Settings
from sql.actor import actor
from twezah.cli.exit_codes import FAILED, NEEDS_OPERATOR, OK
from twezah.cli.output import say
from twezah.stack.acting import acting_for
from twezah.stack.errors import AlreadyUp, StackError
from twezah.stack.prefect_health import is_healthy
from twezah.stack.up import Stack, running_stack, shared_use_lock

# For an annotation only: it imports Prefect's client, and `use_api` must come before that.
if TYPE_CHECKING:
    from twezah.stack.follow_runs import FinishedRun

#: How long a command waits for another one to finish starting or stopping the stack: longer than a
#: first start takes.
BUSY_SECONDS_MAX = 600.0


@dataclass(frozen=True)
class UsableStack:
    """A stack that a command can use."""

    #: URL of the ledger's database.
    dsn: str
    #: Names of the connections that are ready for use.
    connected: list[str]
    #: Address of Prefect's user interface.
    ui_url: str
    #: Call it while waiting: it supervises the stack, if this command has started it.
    tend: Callable[[], None]
    #: Where the simulator would be; it need not be there.
    simulator_url: str


@contextmanager
def use_stack(settings: Settings, *, simulator: bool) -> Iterator[UsableStack]:
    """Use the stack that is up, or the configured Prefect server, or start everything.

    Several commands may do this at once: one starts the stack, the others use it, and it stops
    after the last of them.

    Raises:
        StackError: nothing can be used or started.
    """
    with ExitStack() as leaving:
        stack = _joined_or_started(settings, simulator=simulator, leaving=leaving)
        if stack is None:
            with _at_another(settings) as other:
                yield other
            return
        use_api(settings)
        try:
            yield UsableStack(
                stack.dsn, stack.connected, settings.ui_url, stack.tend, settings.simulator_url
            )
        finally:
            if not isinstance(sys.exc_info()[1], KeyboardInterrupt):
                stack.wait_for_other_commands()


def _joined_or_started(settings: Settings, *, simulator: bool, leaving: ExitStack) -> Stack | None:
    """A stack that this command has started, or None where there is another one to use.

    The command that started that one keeps it running until we leave.
    """
    deadline, waiting_said = time.monotonic() + BUSY_SECONDS_MAX, False
    while True:
        record = running_stack(settings)
        if record is None:
            if not settings.starts_prefect:
                return None
            with suppress(AlreadyUp):  # another command was quicker: use its stack
                return leaving.enter_context(
                    Stack(settings, simulator=simulator, catch_up=False, say=say)
                )
        elif record.get("ready"):
            other_commands = shared_use_lock(settings)
            if other_commands.acquire(shared=True, timeout_seconds=0):
                leaving.callback(other_commands.release)
                # Looked at again, because the stack may have begun to stop in between.
                if (running_stack(settings) or {}).get("ready"):
                    return None
                other_commands.release()
        elif not waiting_said:
            say("Another command is starting or stopping the stack; this one waits for it.")
            waiting_said = True
        if time.monotonic() > deadline:
            raise StackError(
                f"Another command (process {(record or {}).get('pid', 'unknown')}) has been "
                f"starting or stopping the stack of {settings.home} for {BUSY_SECONDS_MAX:.0f} s. "
                "Try again when it has ended."
            )
        time.sleep(0.2)


@contextmanager
def _at_another(settings: Settings) -> Iterator[UsableStack]:
    """The stack that is up, or the configured Prefect server."""
    at_stack = at_running_stack(settings)
    if not is_healthy(at_stack.api_url, timeout_seconds=10):
        raise StackError(
            f"The Prefect server at {at_stack.api_url} does not answer. Try again in a moment."
        )
    use_api(at_stack)
    from panel.blocks.connected import connected_systems
    from twezah.stack.postgres import running

    with running(settings) as dsn:
        yield UsableStack(
            dsn, sorted(connected_systems()), at_stack.ui_url, lambda: None, settings.simulator_url
        )


def at_running_stack(settings: Settings) -> Settings:
    """The settings, with the address and the password of the Prefect server that is up."""
    record = running_stack(settings) or {}
    if record.get("own_prefect") and not os.environ.get("PREFECT_API_AUTH_STRING"):
        starting_prefect = settings.model_copy(update={"prefect_api_url": None})
        os.environ["PREFECT_API_AUTH_STRING"] = starting_prefect.prefect_auth_string() or ""
    return settings.model_copy(
        update={"prefect_api_url": record.get("api_url") or settings.api_url}
    )


def use_api(settings: Settings) -> None:
    """Points Prefect's client in this process at the API; call it before Prefect is imported."""
    os.environ.update(settings.child_environment())
    os.environ.update(acting_for(actor()))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block like Ctrl-C does."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def follow(stack: UsableStack, parameters: Mapping[str, Mapping[str, Any]]) -> "list[FinishedRun]":
    """Run the systems' deployments at once, their log lines on stderr."""
    from twezah.stack.follow_runs import run_systems

    def on_log(system: str, line: Any) -> None:
        if line.name in ("prefect.flow_runs", "prefect.task_runs") or line.level >= logging.WARNING:
            # The whole traceback is in Prefect's UI; here its first line is enough.
            say(
                f"{line.timestamp:%H:%M:%S} {system:<10} "
                f"{line.message.splitlines()[0] if line.message else ''}"
            )

    return run_systems(parameters, on_log=on_log, tend=stack.tend, say=say)


def exit_code(finished: "Sequence[FinishedRun]") -> int:
    """The worst of the runs: 3 if an operator must act, 1 if one failed."""
    failed = [run for run in finished if not run.ok]
    if any(needs_operator(run.message) for run in failed):
        return NEEDS_OPERATOR
    return FAILED if failed else OK


def needs_operator(message: str) -> bool:
    """True when a failed run's message names an error that only an operator can resolve."""
    import connectors  # noqa: F401  systems have kinds of their own
    from connectors.kit.errors import NeedsOperator

    kinds = [NeedsOperator]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return not {kind.__name__ for kind in kinds}.isdisjoint(re.findall(r"\b[A-Z]\w+\b", message))
