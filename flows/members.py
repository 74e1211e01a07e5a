"""Decisions about members, from a form: points by hand, two members who are one."""

from typing import Annotated, Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError

from loyalty.corrections import Adjustment, Decision
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.refused_state import refused_state, why_refused
from settings import DatabaseNotRunning, settings
from sql import corrections
from sql.corrections import CorrectionRefusedError
from sql.db import connect
from tasks.award.recompute import post_waiting
from tasks.award.tier_review import evaluate
from tasks.database_errors import without_row_data
from tasks.erase import erase_everywhere
from tasks.program.change_limit import check_confirmed


@changing_flow(name="adjust-points", flow_run_name="adjust points of member {member}")
def adjust_points(
    member: Annotated[int, Field(ge=1)],
    points: int,
    reason: str,
    author: str,
    key: str = "",
    void: int | None = None,
    confirm_points: Annotated[int, Field(ge=0)] = 0,
) -> State[Any]:
    """Give a member points, or take some, by hand. A run that is retried counts once.

    Args:
        member: The member's number.
        points: What to add; negative: to take. To take an adjustment back, leave it at 0 and name
            it in `void`.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        key: Safe to repeat: the same key never counts twice. Empty: this run's own.
        void: Number of an adjustment of this member to take back, whole.
        confirm_points: Agree to so many points, where they are above the limit for changes.
    """
    run_id = _run_id()
    own_key = key or run_id
    try:
        with without_row_data(), connect(settings().dsn()) as connection:
            if void is None:
                check_confirmed(points, confirm_points)
                wanted = Adjustment(
                    member_id=member, points=points, reason=reason, author=author, key=own_key
                )
                correction = corrections.adjust(connection, wanted, run_id)
            elif points:
                return refused_state("either points or an adjustment to void, not both")
            else:
                decision = Decision(reason=reason, author=author)
                correction = corrections.void_adjustment(
                    connection, void, decision, own_key, run_id, of_member=member
                )
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    get_run_logger().info(correction.to_text())
    return Completed(message=correction.to_text())


@changing_flow(name="merge-members", flow_run_name="merge member {member} into {into}")
def merge_members(
    member: Annotated[int, Field(ge=1)],
    into: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    undo: bool = False,
) -> State[Any]:
    """Say that two members are one customer.

    All that the first earned, and will earn, is the second's, at the second's tier.

    The sales stay as they are; the points move by entries of their own, at once.

    Args:
        member: The member who is somebody else, by number.
        into: The member who earns for both from now on.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        undo: Take such a merge back: everybody has the points they would have without it.
    """
    run_id = _run_id()
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data(), connect(settings().dsn()) as connection:
            if undo:
                correction = corrections.unmerge(
                    connection, member, decision, run_id, of_member=into
                )
            else:
                correction = corrections.merge(connection, member, into, decision, run_id)
            connection.commit()
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    posted = post_waiting(run_id)
    message = f"{correction.to_text()}. {posted.entries} entries, {posted.points:+d} points"
    get_run_logger().info(message)
    return Completed(message=message)


@changing_flow(name="erase-member", flow_run_name="erase member {member}")
def erase_member(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    dry_run: bool = True,
) -> State[Any]:
    """Remove a member's personal data. It cannot be undone.

    That is the phone, and what stored records, runs and logs say of the member.

    Sales and points stay under the number. A sale that comes later under that phone makes a new
    member: remove the customer at the billing system first.

    Args:
        member: The member's number.
        reason: Why, e.g. the number of the request; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        dry_run: Only say what would be removed. Switch it off to do it.
    """
    try:
        decision = Decision(reason=reason, author=author)
        with without_row_data():
            erased = erase_everywhere(settings(), member, decision, _run_id(), dry_run=dry_run)
    except (CorrectionRefusedError, ValidationError) as error:
        return refused_state(why_refused(error))
    get_run_logger().info(erased.to_text())
    return Completed(message=erased.to_text())


@changing_flow(name="evaluate-tiers", flow_run_name="evaluate tiers")
def evaluate_tiers(everyone: bool = False, dry_run: bool = False) -> State[Any]:
    """Bring the tiers up to date of members whose period or grace ended without a sale.

    That is their history, and the tier shown now.

    Points need none of this: the tier of a sale is computed for its own instant. Where the loyalty
    app sets tiers there is nothing to do.

    Args:
        everyone: Look at all members who ever bought, as after a tier policy was set for the past.
        dry_run: Only say what would change.
    """
    try:
        with without_row_data():
            review = evaluate(settings().dsn(), _run_id(), everyone=everyone, dry_run=dry_run)
    except (psycopg.OperationalError, DatabaseNotRunning) as error:
        return Failed(message=f"{describe_error(error)} Then press Retry.")
    message = f"{'Not kept: ' if dry_run else ''}{review.to_text()}"
    get_run_logger().info(message)
    return Completed(message=message)


def _run_id() -> str:
    return str(flow_run.id or uuid4())
