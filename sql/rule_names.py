"""What occurs in the stored sales, of what rules can name."""

from loyalty.findings import StoredNames
from loyalty.places import PLACES, Place, folded_names
from sql.db import DbConnection
from sql.named_queries import query


def stored_names(
    connection: DbConnection, *, products: bool, names: bool, places: bool = False
) -> StoredNames:
    """What occurs.

    Args:
        connection: Reads only.
        products: Also which products, which means reading all lines.
        names: Also what lines say, which means the same.
        places: Also where sales were made, which means reading all sales.
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
        places=_places(connection) if places else None,
    )


def _column(connection: DbConnection, name: str) -> frozenset[str]:
    return frozenset(row[0] for row in connection.execute(query("rule_names", name)).fetchall())


def _places(connection: DbConnection) -> dict[Place, frozenset[str]]:
    rows = connection.execute(query("rule_names", "places")).fetchall()
    return {place: folded_names(name for kind, name in rows if kind == place) for place in PLACES}
