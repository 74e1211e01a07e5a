"""Tries again what fails and may succeed later: a database that is away, a network that is down."""

import time
from collections.abc import Callable
from typing import TypeVar

from settings import DatabaseNotRunning
from twezah.stack.errors import PERMANENT_ERRNOS, DatabaseFailed, StackError
from twezah.stack.processes import pause_seconds, reason

T = TypeVar("T")


def insist(
    what: str,
    action: Callable[[], T],
    *,
    say: Callable[[str], None],
    pause: Callable[[float], None],
    give_up_seconds: float | None = None,
) -> T:
    """The result of `action`; a failure that may pass is said and tried again.

    Args:
        what: What it does, e.g. "Starting the database", for the operator.
        action: Called again after each failure.
        say: Gets a line with the reason of each failure.
        pause: Waits for so many seconds, each time longer, and may do something meanwhile.
        give_up_seconds: How long it is tried; None: for ever.

    Raises:
        StackError: it cannot pass by itself, or took longer than `give_up_seconds`.
    """
    from psycopg import OperationalError

    begun, failures = time.monotonic(), 0
    while True:
        try:
            return action()
        except (DatabaseFailed, DatabaseNotRunning, OperationalError, OSError) as error:
            if _is_permanent(error):
                raise
            failures += 1
            elapsed = time.monotonic() - begun
            if give_up_seconds is not None and elapsed > give_up_seconds:
                raise StackError(f"{what} failed for {elapsed:.0f} s: {reason(error)}") from error
            delay_seconds = pause_seconds(failures)
            again = f"trying again in {delay_seconds:.0f} s."
            say(f"{what} failed: {reason(error)} - {again}")
            pause(delay_seconds)


def _is_permanent(error: BaseException) -> bool:
    """True when somebody must act before another attempt can succeed."""
    if isinstance(error, DatabaseFailed):
        return error.permanent
    return isinstance(error, OSError) and error.errno in PERMANENT_ERRNOS
