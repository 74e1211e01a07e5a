"""What is due to some members by the stored rules, with everything behind it: for explanations."""

from collections.abc import Sequence

from loyalty.award import evaluate
from loyalty.explain import Reckoning, reckonings
from loyalty.facts import Facts
from sql import fx, ledger
from sql.db import Connection


def reckon_members(connection: Connection, members: Sequence[int]) -> list[Reckoning]:
    """One per sale that the members earn for. Reads only."""
    programs, promotions = ledger.programs(connection), ledger.promotions(connection)
    tiers = ledger.tiers(connection, members)
    facts = Facts(fx=fx.rates(connection, programs))
    evaluation = evaluate(ledger.history(connection, members), tiers, programs, promotions, facts)
    return reckonings(evaluation, tiers, programs, promotions)
