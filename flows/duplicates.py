"""Says which system's document counts where several tell one sale, from a form.

What that means is shown first, and declared only if asked to.
"""

from datetime import date
from typing import Annotated, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError

from loyalty.corrections import Decision
from panel.runs.changing_flow import changing_flow
from panel.runs.refused_state import REFUSED, refused_state
from settings import settings
from sql.db import connect
from tasks.award.recompute import post_waiting
from tasks.database_errors import without_row_data
from tasks.duplicates import (
    DeclarationRefusedError,
    DuplicatesPreview,
    declare,
    find,
    shown,
    wanted_precedence,
)


@changing_flow(name="duplicates", flow_run_name="one sale in several systems")
def declare_duplicates(
    order: list[str] = [],  # noqa: B006  Prefect shows it as an empty list in the form
    within_hours: Annotated[int, Field(ge=0, le=168)] = 0,
    since: date | None = None,
    withdraw: bool = False,
    apply: bool = False,
    author: str = "",
    reason: str = "",
    confirm_points: Annotated[int, Field(ge=0)] = 0,
) -> State[Any]:
    """Look at sales that several systems tell, and say which system counts.

    A shop's order, its payment and its invoice in the books are one sale, and earn once. The report
    is the run's artifact. Leave the order empty to see what is declared.

    Args:
        order: Systems (or system/account), the one that counts first: shopify, stripe, quickbooks.
            Those that are not named take no part.
        within_hours: Also take sales as one that no id connects: same customer, amount and currency
            within so many hours. 0: do not.
        since: Only for sales from this day on. Empty: for all sales.
        withdraw: Declare nothing any more: every document counts.
        apply: Declare it, and post what it means for stored sales. Otherwise nothing is kept.
        author: Who decided it; kept for good. Needed to apply.
        reason: Why; kept for good. Needed to apply.
        confirm_points: Agree to a change of so many points, where it is above the limit.
    """
    run_id = str(flow_run.id or uuid4())
    if bool(order) == withdraw and (withdraw or apply):
        return refused_state("name the order of the systems, or withdraw: one of both")
    asked = bool(order) or withdraw
    try:
        wanted = wanted_precedence(order, within_hours or None, since) if asked else None
        if not apply or wanted is None:
            with without_row_data(), connect(settings().dsn()) as connection:
                preview = find(connection, wanted)
            _publish(preview, "Looked at, not declared")
            return Completed(message=f"Not declared: {_headline(preview)}")
        decision = Decision(author=author, reason=reason)
        with without_row_data():
            declared = declare(settings().dsn(), wanted, decision, run_id, confirm=confirm_points)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        return Failed(name=REFUSED, message="; ".join(problems))
    except DeclarationRefusedError as error:
        if error.preview is not None:
            _publish(error.preview, f"Not declared: {error}")
        return Failed(name=REFUSED, message=f"Not declared: {error}")
    if declared.precedence_no is not None:
        post_waiting(run_id)
    number = declared.precedence_no
    what = "It was declared before" if number is None else f"Declared as number {number}"
    _publish(declared.preview, what)
    return Completed(message=f"{what}: {_headline(declared.preview)}")


def _headline(preview: DuplicatesPreview) -> str:
    documents = sum(preview.counts.values())
    if not documents:
        return "no document is left out"
    return (
        f"{documents} documents of sales that count elsewhere; "
        f"{len(preview.trial.members)} members, {preview.trial.points:+d} points"
    )


def _publish(preview: DuplicatesPreview, what: str) -> None:
    lines = "\n".join(shown(preview, ZoneInfo(settings().timezone)))
    create_markdown_artifact(
        key="duplicates", markdown=f"# {what}\n\n```\n{lines}\n```", description=what[:200]
    )
    get_run_logger().info("%s\n%s", what, lines)
