"""What is due to some members by the stored rules, with everything behind it: for explanations."""

from collections.abc import Sequence

from loyalty.award import evaluate
from loyalty.explain import ExplainedSale, explained_sales
from sql import member_history as facts
from sql.db import DbConnection


def reckon_members(connection: DbConnection, members: Sequence[int]) -> list[ExplainedSale]:
    """One per sale that the members earn for. Reads only."""
    rules = facts.rules(connection)
    stored = facts.read(connection, members, rules)
    evaluation = evaluate(
        stored.history, stored.tiers, rules.programs, rules.promotions, stored.facts
    )
    return explained_sales(evaluation, stored.tiers, rules.programs, rules.promotions)
