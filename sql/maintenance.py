"""What grows over the years, and what PostgreSQL's files keep of rows that are gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

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


def forget_old_rows(dsn: str, tables: Sequence[str]) -> list[str]:
    """Writes tables ("schema.name") anew, without the old versions of their rows.

    The statistics, which hold samples of the values, are renewed as well.

    Needs the rights of the server's administrator. Returns the tables that were in use.
    """
    left = []
    with psycopg.connect(dsn, autocommit=True, application_name="twezah") as connection:
        connection.execute(query("maintenance", "wait_shortly"))
        for table in (*tables, "pg_catalog.pg_statistic"):
            place = sql.Identifier(*table.split("."))
            try:
                connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(place))
            except psycopg.errors.LockNotAvailable:
                left.append(table)
    return left


def forget_write_ahead_log(dsn: str) -> None:
    """Removes the write-ahead log of what is on disk by now, segments kept for reuse included.

    Needs the rights of the server's administrator, and a server of which nothing else reads the
    log.
    """
    with psycopg.connect(dsn, autocommit=True, application_name="twezah") as connection:
        connection.execute(query("maintenance", "recycle_no_log"))
        try:
            connection.execute(query("maintenance", "reload_settings"))
            row = connection.execute(query("maintenance", "segments_ahead")).fetchone()
            for _ in range(1 + (row[0] if row else 0)):
                connection.execute(query("maintenance", "next_segment"))
            connection.execute(query("maintenance", "checkpoint"))
        finally:
            connection.execute(query("maintenance", "recycle_log_again"))
            connection.execute(query("maintenance", "reload_settings"))
