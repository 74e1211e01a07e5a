"""Opening balances, tiers and referrals of an earlier program, and lists, from a form."""

from typing import Annotated, Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field, ValidationError

from loyalty.bulk import BadImportError, BulkKind
from loyalty.corrections import Decision
from panel.runs.changing_flow import changing_flow
from panel.runs.refused_state import refused_state
from settings import settings
from sql.corrections import CorrectionRefusedError
from tasks.award.recompute import post_waiting
from tasks.bulk_import import file_in_folder, import_text, without_phones
from tasks.database_errors import without_row_data


@changing_flow(name="import-members", flow_run_name="import {kind}")
def import_members(
    kind: BulkKind,
    reason: str,
    author: str,
    file: str = "",
    text: str = "",
    dry_run: bool = True,
    correct: bool = False,
    confirm_points: Annotated[int, Field(ge=0)] = 0,
) -> State[Any]:
    """Import opening balances, tiers or referrals of an earlier program, or lists, from CSV.

    A first line names the columns: `member_id` (or `phone`), `points`, `earned_at` for balances;
    `member_id` (or `phone`), `tier`, `valid_from` for tiers; `friend_id` (or `friend_phone`),
    `referrer_id` (or `referrer_phone`), `referred_at` for referrals; `member_id` (or `phone`),
    `list`, `valid_from`, and, if they end, `valid_to` for lists. Importing the same file again adds
    nothing.

    Args:
        kind: What the file holds.
        reason: Why; kept for good. No names, no phone numbers: analysts read it.
        author: Who decided it; kept for good.
        file: Name of a file in the folder `imports` of the state folder, on the worker's machine.
        text: Instead of a file: the lines themselves, with members by number only.
        dry_run: Only say what would be entered. Switch it off to do it.
        correct: Let balances and tiers that differ from what is entered replace it.
        confirm_points: Agree to so many points, where they are above the limit for changes.
    """
    run_id = str(flow_run.id or uuid4())
    if bool(file) == bool(text):
        return refused_state("give either the name of a file, or its lines as text")
    try:
        decision = Decision(reason=reason, author=author)
        lines = file_in_folder(file) if file else without_phones(text)
        with without_row_data():
            imported = import_text(
                settings().dsn(), kind, lines, decision, run_id,
                dry_run=dry_run, correct=correct, confirm=confirm_points,
            )  # fmt: skip
    except (BadImportError, CorrectionRefusedError) as error:
        return refused_state(f"nothing was imported: {str(error).rstrip('.')}")
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        return refused_state("; ".join(problems))
    message = imported.to_text()
    if not dry_run and not imported.is_empty:
        posted = post_waiting(run_id)
        message += f"; {posted.entries} entries of sales, {posted.points:+d} points"
        message += posted.beside_sales()
    get_run_logger().info(message)
    return Completed(message=message)
