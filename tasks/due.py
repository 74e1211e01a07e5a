"""Points due to some members by some rules, stored or not: the one place where facts are gathered and computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from loyalty.award import award
from loyalty.program import Program
from loyalty.promotions import Promotion
from sql import ledger
from sql.db import Connection


@dataclass(frozen=True)
class Rules:
    """What points are computed with."""

    programs: Sequence[Program]
    promotions: Sequence[Promotion]


def stored_rules(connection: Connection) -> Rules:
    """The rules as they are stored, as this transaction sees them."""
    return Rules(ledger.programs(connection), ledger.promotions(connection))


def due_of(connection: Connection, members: Sequence[int], rules: Rules) -> pl.DataFrame:
    """HISTORY plus DUE of the members' sales."""
    history = ledger.history(connection, members)
    return award(history, ledger.tiers(connection, members), rules.programs, rules.promotions)
