"""What every step of a run has in common as a Prefect task."""

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from tasks.database_errors import passes_by_itself

#: What a step takes.
P = ParamSpec("P")
#: What a step returns.
R = TypeVar("R")

#: Seconds before each further attempt at a step whose database was busy.
RETRY_DELAYS_SECONDS: Final = (1, 3, 10)


def step(name: str, *, retry_when_busy: bool = False) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Makes a function a Prefect task that is seen in the UI under `name`.

    Its arguments (jobs, frames) are neither hashed nor stored, and its result is not either.

    Args:
        name: The name in the UI.
        retry_when_busy: Try the step again where the database was busy or the connection to it was
            lost. Nothing else is tried again here: HTTP has its own, single layer of retries.
    """
    if not retry_when_busy:
        return task(name=name, cache_policy=NO_CACHE, persist_result=False)
    return task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_DELAYS_SECONDS),
        retry_delay_seconds=list(RETRY_DELAYS_SECONDS),
        retry_condition_fn=_database_was_busy,
    )


def _database_was_busy(task: object, run: TaskRun, state: State) -> bool:  # noqa: ARG001
    """Prefect's question whether to try again; the state of a failed run raises its error."""
    try:
        state.result()
    except BaseException as error:  # noqa: BLE001  whatever it is, the answer is yes or no
        return passes_by_itself(error)
    return False
