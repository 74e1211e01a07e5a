"""What grows over the years: sizes, and the months of attempts that are dropped."""

from dataclasses import dataclass

from sql.db import DbConnection
from sql.named_queries import query


@dataclass(frozen=True)
class Size:
    """A table of the product, with its indexes; rows as the planner estimates them."""

    table: str
    #: Rows, as PostgreSQL estimates them.
    rows: int
    #: With indexes.
    size_bytes: int


def sizes(connection: DbConnection) -> list[Size]:
    """The tables of the product, the largest first."""
    return [Size(*row) for row in connection.execute(query("maintenance", "sizes")).fetchall()]


def analyze(connection: DbConnection) -> None:
    """Tells the planner how the tables are filled now."""
    connection.execute(query("maintenance", "analyze"))
