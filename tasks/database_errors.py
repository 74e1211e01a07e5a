"""Errors of the database: which of them pass by themselves, and how to report them without rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


def passes_by_itself(error: BaseException) -> bool:
    """Whether the same work may succeed when it is done again.

    So it is where another transaction was in the way, and where the connection was lost: nothing
    was committed then. Any other error comes back however often the work is repeated.
    """
    return isinstance(
        error,
        psycopg.errors.DeadlockDetected
        | psycopg.errors.SerializationFailure
        | psycopg.errors.LockNotAvailable
        | psycopg.OperationalError,
    )


@contextmanager
def without_row_data() -> Iterator[None]:
    """Lets errors of the database pass without the row that failed.

    Their text quotes it, and rows hold personal data, so only the message and the code go on.
    """
    try:
        yield
    except psycopg.Error as error:
        primary = (
            error.diag.message_primary
            or "the connection to the database was lost or could not be made"
        )
        raise type(error)(f"{primary} (SQLSTATE {error.sqlstate or 'none'})") from None
