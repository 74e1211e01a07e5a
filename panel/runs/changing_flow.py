"""The decorator for flows that change something outside of synchronisations.

A run that failed is in the audit log as well: who wanted what, and why it did not happen.
"""

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State

from settings import settings
from sql import audit
from sql.actor import acting_as
from sql.db import connect
from tasks.actor import of_run

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)
#: Characters of a message that are recorded; the column takes twice that. Messages hold nothing
#: secret, because they are written for readers of Prefect's UI.
_ERROR_MAX = 1_000


def changing_flow(*, name: str, flow_run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """`prefect.flow` for flows that change something outside of synchronisations.

    Such a run is tried once, and its failure is recorded in the audit log. When it succeeds, the
    entry in the audit log is written together with the change itself.
    """
    return flow(
        name=name, flow_run_name=flow_run_name, persist_result=False, retries=0,
        on_failure=[_record_failure], on_crashed=[_record_failure],
    )  # fmt: skip


def _record_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Writes the entry.

    Never raises: the run has failed already, and the database may be why.
    """
    try:
        with acting_as(of_run(flow_run)), connect(settings().dsn()) as connection:
            audit.record(
                connection,
                f"run.{flow.name}",
                flow_run.name,
                status="error",
                error=(state.message or state.name or "failed")[:_ERROR_MAX],
                run_id=str(flow_run.id),
                details={"state": state.name or state.type.value},
            )
            connection.commit()
    except Exception as error:  # noqa: BLE001
        log.warning("the failure is not in the audit log: %s", type(error).__name__)
