"""Changing the rules: new versions of the program and of promotions, and the record of who did it.

The caller owns the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from loyalty.corrections import Decision
from loyalty.program import Program
from loyalty.program_diff import Plan
from loyalty.promotions import Promotion
from loyalty.types import BEGINNING
from sql import ledger
from sql.db import DbConnection
from sql.named_queries import query


class RulesChangedError(RuntimeError):
    """Somebody else changed the rules since this change was looked at.

    Nothing was applied; look again.
    """


@dataclass(frozen=True)
class Effect:
    """What was found beforehand: how many members' points change, by how many points.

    `recompute`: it is to be posted, and `marks` are to be computed again.
    """

    #: How many members' points change.
    members: int
    #: By how many points, all together.
    points: int
    #: Members to be marked for the award step.
    marks: Sequence[int]
    #: Whether past sales are computed again.
    recompute: bool


def concerned(connection: DbConnection, since: datetime | None) -> list[int]:
    """Members, by number, whose points may depend on sales from `since` on (None: on any)."""
    begin = None if since is None or since <= BEGINNING else since
    return [
        row[0]
        for row in connection.execute(query("program", "concerned"), {"since": begin}).fetchall()
    ]


def apply(
    connection: DbConnection,
    plan: Plan,
    before: tuple[Sequence[Program], Sequence[Promotion]],
    decision: Decision,
    *,
    text: str, effect: Effect, run_id: str,
) -> int:  # fmt: skip
    """Adds the new versions, the record, and the marks of the members to recompute.

    Returns the change's number.

    Raises RulesChangedError if the stored rules are not `before` any more.
    """
    connection.execute(query("program", "lock"))
    if (ledger.programs(connection), ledger.promotions(connection)) != (
        list(before[0]),
        list(before[1]),
    ):
        message = (
            "the rules were changed by somebody else in the meantime; look at the difference again"
        )
        raise RulesChangedError(message)
    if plan.new_program is not None:
        connection.execute(
            query("program", "add_program"), _program(plan.new_program, decision.author)
        )
    for promotion in plan.new_promotions:
        connection.execute(
            query("program", "add_promotion"), _promotion(promotion, decision.author)
        )
    versions = {c.name: c.version for c in plan.changes if c.status != "unchanged"}
    reaches = plan.reaches
    row = connection.execute(
        query("program", "record"),
        decision.model_dump()
        | {
            "run_id": run_id, "file_text": text, "versions": Jsonb(versions),
            "recomputed": effect.recompute,
            "reaches": None if reaches is None or reaches <= BEGINNING else reaches,
            "members": effect.members, "points": effect.points,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    # In the same transaction, so that the next award of these members reads the new rules.
    if effect.marks:
        connection.execute(query("store", "mark_dirty"), {"members": list(effect.marks)})
    return int(row[0])


def _program(program: Program, author: str) -> dict[str, Any]:
    values = program.model_dump(mode="json")
    documents = (
        "base_rate_bps", "per_full_minor", "tier_rate_bps", "categories", "tier_policy", "expiry",
        "pending", "promotion_limits", "events",
    )  # fmt: skip
    stored = {name: None if values[name] is None else Jsonb(values[name]) for name in documents}
    begin = None if program.valid_from <= BEGINNING else program.valid_from
    return values | stored | {"valid_from": begin, "created_by": author}


def _promotion(promotion: Promotion, author: str) -> dict[str, Any]:
    return {
        "promotion_id": promotion.promotion_id,
        "version": promotion.version,
        "kind": promotion.kind,
        "parameters": Jsonb(promotion.parameters()),
        "valid_from": promotion.valid_from,
        "valid_to": promotion.valid_to,
        "created_by": author,
    }
