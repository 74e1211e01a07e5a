"""What occurs in the stored sales, of what rules can name."""

from loyalty.findings import StoredNames
from sql.db import DbConnection
from sql.named_queries import query


def stored_names(connection: DbConnection, *, products: bool, names: bool) -> StoredNames:
    """What occurs.

    Args:
        connection: Reads only.
        products: Also which products, which means reading all lines.
        names: Also what lines say, which means the same.
    """
    accounts = connection.execute(query("rule_names", "accounts")).fetchall()
    return StoredNames(
        systems=frozenset(system for system, _ in accounts),
        accounts=frozenset(f"{system}/{account}" for system, account in accounts),
        skus=_column(connection, "skus") if products else frozenset(),
        names=_column(connection, "names") if names else frozenset(),
        currencies=dict(connection.execute(query("rule_names", "currencies")).fetchall()),
        tiers=dict(connection.execute(query("rule_names", "tiers")).fetchall()),
        lists=_column(connection, "lists"),
        events=_column(connection, "events"),
    )


def _column(connection: DbConnection, name: str) -> frozenset[str]:
    return frozenset(row[0] for row in connection.execute(query("rule_names", name)).fetchall())
