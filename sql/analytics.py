"""What analysts read and what is too much to compute at each question. The caller commits."""

from sql.db import DbConnection
from sql.named_queries import query


def refresh(connection: DbConnection) -> str:
    """Makes all of it anew, as of one instant; says what it did in one line."""
    connection.rollback()
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    refresh_common_texts(connection)
    connection.execute(query("analytics", "clear_months"))
    connection.execute(query("analytics", "months"))
    return "Sums per month and texts that analysts may read were made anew"


def refresh_common_texts(connection: DbConnection) -> None:
    """Finds anew which typed texts concern so many members that analysts may read them."""
    connection.execute(query("analytics", "common_texts"))
