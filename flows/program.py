"""Changes the rules from a form: pasted as a file, or filled in.

The change is shown first, and applied only if asked to.
"""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from loyalty.authored import write_rules
from loyalty.authoring import BadRulesError
from loyalty.corrections import Decision
from loyalty.program import Program
from loyalty.promotions import Promotion
from panel.runs.changing_flow import changing_flow
from panel.runs.refused_state import REFUSED
from settings import settings
from sql.db import connect
from sql.program import RulesChangedError
from tasks.award.recompute import post_waiting
from tasks.database_errors import without_row_data
from tasks.program.change import (
    Applied,
    ChangePreview,
    ChangeRefusedError,
    apply_rules,
    preview_change,
    shown,
)


class ProgramForm(Program):
    """The program, whole.

    Rates are in basis points: 100000 is 10 points per currency unit, 12000 is 1.2 times.

    `valid_from` is when the change begins. `base_rate_bps` names every currency (in a file,
    `default` does); `tier_rate_bps` every tier.
    """

    #: Versions are numbered by themselves.
    version: SkipJsonSchema[int] = 1


class PromotionForm(Promotion):
    """One promotion, new or changed (by `promotion_id`).

    Factors are in basis points: 20000 is 2 times, 500 is 5 %.

    Amounts in `when.minimum_minor` are in the currency's smallest unit. Valid from `valid_from`
    until before `valid_to`.
    """

    #: Versions are numbered by themselves.
    version: SkipJsonSchema[int] = 1


@changing_flow(name="program", flow_run_name="rules of the points program")
def change_program(
    text: str = "",
    program: ProgramForm | None = None,
    promotion: PromotionForm | None = None,
    apply: bool = False,
    author: str = "",
    reason: str = "",
    recompute: bool = False,
    confirm_points: Annotated[int, Field(ge=0)] = 0,
    as_if: datetime | None = None,
) -> State[Any]:
    """Look at a change of the rules, and apply it if asked to.

    It shows what would change, for how many members, by how many points.

    Give the rules as a file (`text`) or fill in `program` or `promotion`; what is not named stays
    as it is. The report is the run's artifact.

    Args:
        text: The rules as a file, as `twezah program show` prints them.
        program: Instead of a file: the program, whole.
        promotion: Instead of a file: one promotion.
        apply: Apply the change: what changed becomes a new version, from its valid_from on.
            Otherwise nothing is kept.
        author: Who decided it; kept for good. Needed to apply.
        reason: Why; kept for good. Needed to apply.
        recompute: Also for past sales: a change that reaches into the past is posted for them.
        confirm_points: Agree to a change of so many points, where it is above the limit.
        as_if: Pretend that the changes began then: what a promotion to come would have meant. Not
            for applying.
    """
    run_id = str(flow_run.id or uuid4())
    try:
        written = _written(text, program, promotion)
        if not apply:
            since = None if as_if is None else as_if.replace(tzinfo=as_if.tzinfo or UTC)
            with without_row_data(), connect(settings().dsn()) as connection:
                preview = preview_change(connection, written, since=since)
            _publish(preview, "Looked at, not applied")
            return Completed(message=f"Not applied: {_headline(preview)}")
        decision = Decision(author=author, reason=reason)
        with without_row_data():
            applied = apply_rules(
                settings().dsn(),
                written,
                decision,
                run_id,
                recompute=recompute,
                confirm=confirm_points,
            )
    except (BadRulesError, ValidationError) as error:
        return Failed(name=REFUSED, message=_problems(error))
    except ChangeRefusedError as error:
        _publish(error.preview, f"Not applied: {error}")
        return Failed(name=REFUSED, message=f"Not applied: {error}")
    except RulesChangedError as error:
        return Failed(message=f"Not applied: {error}")
    return _completed(applied, run_id)


def _completed(applied: Applied, run_id: str) -> State[Any]:
    """Posts what the change means for past sales, if it is to, and reports the change."""
    if applied.recomputed:
        post_waiting(run_id)
    nothing = applied.change_id is None
    what = "Nothing to change" if nothing else f"Applied as change {applied.change_id}"
    _publish(applied.preview, what)
    return Completed(message=f"{what}: {_headline(applied.preview)}")


def _written(text: str, program: Program | None, promotion: Promotion | None) -> str:
    """The file; what was filled in is written as one, so that it is judged and kept like one."""
    filled = program is not None or promotion is not None
    if bool(text) == filled:
        raise BadRulesError(
            ["give the rules as text, or fill in program or promotion: one of both"]
        )
    return text or write_rules(program, [] if promotion is None else [promotion])


def _problems(error: BadRulesError | ValidationError) -> str:
    if isinstance(error, BadRulesError):
        problems = error.problems
    else:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        ]
    get_run_logger().error("\n".join(problems))
    return f"{len(problems)} problems: {'; '.join(problems)}"


def _headline(preview: ChangePreview) -> str:
    if preview.plan.is_empty:
        return "nothing would change"
    return (
        f"{len(preview.trial.members)} members, {preview.trial.points:+d} points for stored sales"
    )


def _publish(preview: ChangePreview, what: str) -> None:
    lines = "\n".join(shown(preview, ZoneInfo(settings().timezone)))
    create_markdown_artifact(
        key="program", markdown=f"# {what}\n\n```\n{lines}\n```", description=what[:200]
    )
    get_run_logger().info("%s\n%s", what, lines)
