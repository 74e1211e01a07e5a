"""Baskets by the stored rules, or by others."""

from collections.abc import Sequence

from loyalty.authoring import read_rules
from loyalty.basket import Basket, explain_history
from loyalty.explain import ExplainedSale
from loyalty.program_diff import plan
from sql import fx
from sql import member_history as facts
from sql.db import DbConnection
from sql.member_history import Rules


def explain_baskets(
    connection: DbConnection, baskets: Sequence[Basket], text: str | None = None
) -> list[ExplainedSale]:
    """The points of each basket.

    Args:
        connection: Reads only.
        baskets: What nobody bought.
        text: Rules (points.toml) that count as applied; None: those that are stored.

    Raises:
        loyalty.authoring.BadRulesError: With all problems of `text`.
    """
    rules = facts.rules(connection)
    if text is not None:
        zone = max(rules.programs, key=lambda p: p.version).timezone
        planned = plan(rules.programs, rules.promotions, read_rules(text, zone=zone))
        rules = Rules(list(planned.programs), list(planned.promotions))
    rates = fx.rates(connection, rules.programs)
    return explain_history(baskets, rules.programs, rules.promotions, rates)
