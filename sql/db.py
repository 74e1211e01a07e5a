"""Connections to the ledger database, and frames out of it.

SQLAlchemy is used as a pool only. Why it is not `psycopg_pool`: docs/decisions.md, "Less of our
own". Statements are psycopg's.
"""

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
    """The rows of a SELECT as a frame of `schema`: two or more columns of texts, integers, times.

    The query selects times as UTC microseconds, and its columns in the order of the schema.

    The rows come by COPY as CSV, which Polars reads: that takes half the processor time of
    rows of Python objects. Texts are quoted, so an empty one is not null.
    """
    as_read = {
        name: pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
        for name, dtype in schema.items()
    }
    texts = [sql.Identifier(name) for name, dtype in schema.items() if dtype == pl.String]
    quoted = sql.SQL(", FORCE_QUOTE ({})").format(sql.SQL(", ").join(texts))
    copy_out = sql.SQL(
        "COPY (SELECT * FROM ({}) AS selected ({})) TO STDOUT (FORMAT csv{})"
    ).format(
        sql.SQL(statement.decode()),
        sql.SQL(", ").join(map(sql.Identifier, schema)),
        quoted if texts else sql.SQL(""),
    )
    with connection.cursor().copy(copy_out, parameters) as copy:
        csv = b"".join(copy)
    if not csv:
        return schema.to_frame()
    return pl.read_csv(csv, has_header=False, schema=pl.Schema(as_read)).cast(schema)
