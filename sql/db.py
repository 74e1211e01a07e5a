"""Connections to the ledger database, and frames out of it.

SQLAlchemy is used as a pool only. Why it is not `psycopg_pool`: docs/decisions.md, "Less of our
own". Statements are psycopg's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from sql.actor import actor
from sql.named_queries import query

# Imported where they are used: commands that only look at something begin without them.
if TYPE_CHECKING:
    import polars as pl
    import sqlalchemy

#: Between the values of a column on their way out: the unit separator, which no document's texts
#: hold.
_BETWEEN = "\x1f"
#: Null on its way out: the record separator.
_NULL = "\x1e"
DbConnection = psycopg.Connection[tuple[Any, ...]]


@cache
def engine(dsn: str) -> "sqlalchemy.Engine":
    """The pool of connections to `dsn` (libpq form) of this process."""
    import sqlalchemy

    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, application_name="twezah"),
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=27,
    )


@contextmanager
def connect(dsn: str) -> Iterator[DbConnection]:
    """A pooled connection; whatever was not committed is rolled back, and its isolation is its own.

    Raises psycopg.Error.
    """
    try:
        pooled = engine(dsn).raw_connection()
    except Exception as error:
        # SQLAlchemy asks the first connection of a pool about the server, and wraps what fails
        # then: nobody here would know the wrapper for a lost connection, and try again.
        original = getattr(error, "orig", None)
        if isinstance(original, psycopg.Error):
            raise original from error
        raise
    driver: Any = pooled.driver_connection
    try:
        _introduce(driver, pooled.info)
        yield driver
    finally:
        _forget_isolation(driver)
        pooled.close()


def _forget_isolation(driver: DbConnection) -> None:
    """The next one to use the connection sees what others commit meanwhile, as everybody expects."""
    if driver.isolation_level is None:
        return
    with suppress(psycopg.Error):  # a connection that is lost goes to nobody else
        driver.rollback()
        driver.isolation_level = None


def _introduce(driver: DbConnection, remembered: dict[Any, Any]) -> None:
    """Tells the database who acts, for the audit log, once per connection."""
    who = actor()
    if remembered.get("actor") != who:
        driver.autocommit = True  # a rollback must not take it back
        driver.execute(query("audit", "act_as"), {"actor": who})
        driver.autocommit = False
        remembered["actor"] = who


def read_frame(
    connection: DbConnection, statement: bytes, parameters: Mapping[str, Any], schema: "pl.Schema"
) -> "pl.DataFrame":
    """The rows of a SELECT as a frame of `schema`: columns of texts, integers and times.

    The query selects times as UTC microseconds, truth as 0 or 1, and its columns in the order of
    the schema.

    The database puts each column into one text, which Polars takes apart: half the processor time
    of rows of Python objects. COPY is slower, because its rows arrive one by one. Null has a mark
    of its own, so an empty text stays one.
    """
    import polars as pl

    #: How types come that a text cannot be turned into.
    numbers: dict[Any, pl.DataType] = {pl.Datetime: pl.Int64(), pl.Boolean: pl.Int8()}
    as_read = {name: numbers.get(dtype.base_type(), dtype) for name, dtype in schema.items()}
    joined = [
        sql.SQL("string_agg(coalesce({}::text, {}), {})").format(
            sql.Identifier(name), sql.Literal(_NULL), sql.Literal(_BETWEEN)
        )
        for name in schema
    ]
    is_mark = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(_NULL))
        for name, dtype in schema.items()
        if dtype == pl.String
    ]
    selected = sql.SQL("SELECT count(*), bool_or({}), {} FROM ({}) AS selected ({})").format(
        sql.SQL(" OR ").join(is_mark) if is_mark else sql.SQL("false"),
        sql.SQL(", ").join(joined),
        sql.SQL(statement.decode()),
        sql.SQL(", ").join(map(sql.Identifier, schema)),
    )
    row = connection.execute(selected, parameters).fetchone()
    if row is None or row[0] == 0:
        return schema.to_frame()
    count, has_mark, *texts = row
    columns = [
        pl.Series(name, [text], dtype=pl.String).str.split(_BETWEEN).explode()
        for name, text in zip(schema, texts, strict=True)
    ]
    if has_mark or any(column.len() != count for column in columns):
        # A text holds the separator or is the mark itself.
        rows = connection.execute(statement, parameters).fetchall()
        return pl.DataFrame(rows, schema=as_read, orient="row").cast(schema)
    frame = pl.DataFrame(columns).with_columns(
        pl.when(pl.all() != _NULL).then(pl.all()).name.keep()
    )
    return frame.cast(pl.Schema(as_read)).cast(schema)
