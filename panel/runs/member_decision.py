"""The end of a form's run that enters a decision about a member: posted, refused, or in the way."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import ValidationError

from loyalty.corrections import Decision
from panel.runs.refused_state import refused_state, why_refused
from settings import settings
from sql.corrections import CorrectionRefusedError
from sql.db import DbConnection, connect
from tasks.award.recompute import post_waiting
from tasks.database_errors import without_row_data


class Result(Protocol):
    """What a decision came to."""

    def to_text(self) -> str:
        """One line, without personal data."""


def decided(
    reason: str,
    author: str,
    act: Callable[[DbConnection, Decision, str], Result],
    *,
    post: bool = True,
) -> State[Any]:
    """Enters a decision about a member, and posts the points that are due then.

    Args:
        reason: Why.
        author: Who decided it.
        act: Enters it; the third value is the run's id.
        post: False: what is due is left to the next award step, and the run does not tell it.
    """
    run_id = str(flow_run.id or uuid4())
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data(), connect(settings().dsn()) as connection:
            result = act(connection, decision, run_id)
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    except psycopg.errors.LockNotAvailable:
        return Failed(message="Others change the same at this moment. Press Retry.")
    message = result.to_text()
    if post:
        message += f". {post_waiting(run_id).posted_in_words()}"
    get_run_logger().info(message)
    return Completed(message=message)


def utc(moment: datetime | None) -> datetime | None:
    """A form's time without an offset is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
