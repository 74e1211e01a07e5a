"""What holds for every step: when it is tried again, and that its errors quote no rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from prefect.client.schemas.objects import State, TaskRun


def database_busy(task: object, run: TaskRun, state: State) -> bool:  # noqa: ARG001  Prefect's signature
    """The only thing tried again here: HTTP has its own, single layer of retries."""
    try:
        state.result()
    except (
        psycopg.errors.DeadlockDetected,
        psycopg.errors.SerializationFailure,
        psycopg.errors.LockNotAvailable,
    ):
        return True
    except psycopg.OperationalError:
        return True  # the connection was lost; nothing was committed
    except BaseException:  # noqa: BLE001  anything else is not ours to repeat
        return False
    return False


@contextmanager
def without_row_data() -> Iterator[None]:
    """The database's errors quote the row that failed; rows hold personal data, so only the message and code go on."""
    try:
        yield
    except psycopg.Error as error:
        primary = (
            error.diag.message_primary
            or "the connection to the database was lost or could not be made"
        )
        raise type(error)(f"{primary} (SQLSTATE {error.sqlstate or 'none'})") from None


BUSY = {"retries": 3, "retry_delay_seconds": [1, 3, 10], "retry_condition_fn": database_busy}
