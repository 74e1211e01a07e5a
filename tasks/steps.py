"""The steps as Prefect tasks: a handful per run. Frames and jobs pass in process and are never stored or hashed."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from connectors.kit.errors import ConnectorError
from tasks.again import load_all
from tasks.award import Awarded, award_members
from tasks.extract import Extracted, extract_pages
from tasks.job import Job
from tasks.load import Loaded


def database_busy(task: object, run: TaskRun, state: State) -> bool:  # noqa: ARG001  Prefect's signature
    """The only thing tried again here: HTTP has its own, single layer of retries."""
    try:
        state.result()
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.LockNotAvailable):
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
        primary = error.diag.message_primary or "the connection to the database was lost or could not be made"
        raise type(error)(f"{primary} (SQLSTATE {error.sqlstate or 'none'})") from None


BUSY = {"retries": 3, "retry_delay_seconds": [1, 3, 10], "retry_condition_fn": database_busy}


@task(name="extract", cache_policy=NO_CACHE, persist_result=False)
def extract(job: Job) -> Extracted:
    """Fetch every page and store it as received."""
    with without_row_data():
        try:
            return extract_pages(job)
        except ConnectorError as error:
            raise error.of_block(job.vendor.name or job.vendor.system) from error.__cause__


@task(name="load", cache_policy=NO_CACHE, persist_result=False, **BUSY)  # type: ignore[call-overload, untyped-decorator]
def load(job: Job, extracted: Extracted) -> Loaded:
    """Map, validate and store the invoices; move the cursor; try open rejects again."""
    with without_row_data():
        return load_all(job, extracted)


@task(name="award", cache_policy=NO_CACHE, persist_result=False, **BUSY)  # type: ignore[call-overload, untyped-decorator]
def award(job: Job, sync_id: int) -> Awarded:
    """Post the points of every member whose history changed."""
    with without_row_data():
        return award_members(job, sync_id)
