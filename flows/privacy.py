"""Decisions about what is kept of people, from a form: consent, legal holds."""

from typing import Annotated, Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field, ValidationError

from loyalty.corrections import Decision
from panel.runs.changing_flow import changing_flow
from panel.runs.refused_state import refused_state, why_refused
from settings import settings
from sql import consent as consents
from sql import holds
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from tasks.award.recompute import post_waiting
from tasks.database_errors import without_row_data


@changing_flow(name="consent", flow_run_name="consent of member {member}")
def consent(
    member: Annotated[int, Field(ge=1)], reason: str, author: str, given: bool = False
) -> State[Any]:
    """Enter that a member withdrew consent, or gave it again. It counts from now on.

    Without consent, sales that happen later earn no points, and credits of them take none. Points
    that the member has stay, and sales stay in the books.

    Args:
        member: The member's number.
        reason: Why, e.g. the number of the request; kept for good. No names, no phone numbers.
        author: Who entered it; kept for good.
        given: Off: consent is withdrawn. On: it is given again.
    """
    run_id = _run_id()
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data(), connect(settings().dsn()) as connection:
            decided = consents.decide(connection, member, decision, run_id, given=given)
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    post_waiting(run_id)
    get_run_logger().info(decided.to_text())
    return Completed(message=decided.to_text())


@changing_flow(name="legal-hold", flow_run_name="legal hold")
def legal_hold(
    reason: str,
    author: str,
    member: Annotated[int, Field(ge=1)] | None = None,
    lift: Annotated[int, Field(ge=1)] | None = None,
) -> State[Any]:
    """Place a legal hold, or lift one.

    While one is in force, retention deletes no stored pages, webhooks and customer numbers.

    Args:
        reason: Why, e.g. the case's number; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        member: Member who must not be erased. Empty: nobody may be.
        lift: Number of a hold to lift; nothing is placed then.
    """
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data(), connect(settings().dsn()) as connection:
            if lift is None:
                text = holds.place(connection, member, decision, _run_id()).to_text()
            else:
                text = f"Lifted. {holds.lift(connection, lift, decision, _run_id()).to_text()}"
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    get_run_logger().info(text)
    return Completed(message=text)


def _run_id() -> str:
    return str(flow_run.id or uuid4())
