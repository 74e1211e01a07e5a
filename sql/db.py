"""Connections, and frames out of the database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import polars as pl
import psycopg
import sqlalchemy
import sqlalchemy.exc
from psycopg import sql

from sql.actor import actor
from sql.named_queries import query

DbConnection = psycopg.Connection[tuple[Any, ...]]
#: Between the values of a column on their way out: the unit separator, which no document's texts
#: hold.
_BETWEEN = "\x1f"


@cache
def engine(dsn: str) -> sqlalchemy.Engine:
    """The pool of connections to `dsn` (libpq form) of this process."""
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, application_name="twezah"),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=27,
    )


@contextmanager
def connect(dsn: str) -> Iterator[DbConnection]:
    """A pooled connection; whatever was not committed is rolled back. Raises psycopg.Error."""
    try:
        pooled = engine(dsn).raw_connection()
    except sqlalchemy.exc.DBAPIError as error:
        # SQLAlchemy asks the first connection of a pool about the server, and wraps what fails
        # then: nobody here would know the wrapper for a lost connection, and try again.
        raise (error.orig if isinstance(error.orig, psycopg.Error) else error) from error
    try:
        driver: Any = pooled.driver_connection
        _introduce(driver, pooled.info)
        yield driver
    finally:
        pooled.close()


def _introduce(driver: DbConnection, remembered: dict[Any, Any]) -> None:
    """Tells the database who acts, for the audit log, once per connection."""
    who = actor()
    if remembered.get("actor") != who:
        driver.autocommit = True  # a rollback must not take it back
        driver.execute(query("audit", "act_as"), {"actor": who})
        driver.autocommit = False
        remembered["actor"] = who


def read_frame(
    connection: DbConnection, statement: bytes, parameters: Mapping[str, Any], schema: pl.Schema
) -> pl.DataFrame:
    """The rows of a SELECT as a frame of `schema`, columns in order.

    The query selects times as UTC microseconds.

    The database puts each column into one text, which Polars takes apart: half the cost of rows of
    Python objects. An empty text comes back as null.
    """
    as_read = {
        name: pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
        for name, dtype in schema.items()
    }
    joined = [
        sql.SQL("string_agg(coalesce({}::text, ''), {})").format(
            sql.Identifier(name), sql.Literal(_BETWEEN)
        )
        for name in schema
    ]
    rows = sql.SQL("({}) AS found ({})").format(
        sql.SQL(statement.decode()), sql.SQL(", ").join(map(sql.Identifier, schema))
    )
    row = connection.execute(
        sql.SQL("SELECT count(*), {} FROM {}").format(sql.SQL(", ").join(joined), rows), parameters
    ).fetchone()
    if row is None or row[0] == 0:
        return schema.to_frame()
    columns = [
        pl.Series(name, [value], dtype=pl.String).str.split(_BETWEEN).explode()
        for name, value in zip(schema, row[1:], strict=True)
    ]
    if any(column.len() != row[0] for column in columns):  # a text holds the separator itself
        rows_of_values = connection.execute(statement, parameters).fetchall()
        return pl.DataFrame(rows_of_values, schema=as_read, orient="row").cast(schema)
    texts = pl.DataFrame(columns).with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
    return texts.cast(pl.Schema(as_read)).cast(schema)
