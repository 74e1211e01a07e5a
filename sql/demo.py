"""What the loyalty app does in the demo."""

from collections.abc import Sequence

from sql.db import connect
from sql.named_queries import query


def give_tiers(dsn: str, accounts: Sequence[tuple[str, str]]) -> int:
    """Enters tiers for those who bought most in these (system, account) pairs only.

    Returns how many members got a tier.

    Does nothing in a ledger that knows any tier: those were entered by someone who means them.
    """
    parameters = {
        "systems": [system for system, _ in accounts],
        "accounts": [account for _, account in accounts],
    }
    with connect(dsn) as connection:
        count = connection.execute(query("demo", "give_tiers"), parameters).rowcount
        connection.commit()
        return count
