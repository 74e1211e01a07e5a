"""Connections, and frames in and out by COPY."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import polars as pl
import psycopg
import sqlalchemy
from psycopg import sql

Connection = psycopg.Connection[tuple[Any, ...]]


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
def connect(dsn: str) -> Iterator[Connection]:
    """A pooled connection; whatever was not committed is rolled back."""
    pooled = engine(dsn).raw_connection()
    try:
        driver: Any = pooled.driver_connection
        yield driver
    finally:
        pooled.close()


def copy_in(connection: Connection, table: str, frame: pl.DataFrame) -> None:
    """Appends `frame` to `table` ("schema.name"); its columns are named like the table's."""
    if frame.is_empty():
        return
    buffer = io.BytesIO()
    # Nothing is quoted by chance: an empty string must not become null, so text is always quoted and null never.
    frame.write_csv(buffer, include_header=False, quote_style="non_numeric", null_value=None)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    )
    with connection.cursor().copy(statement) as copy:
        copy.write(buffer.getbuffer())


def read_frame(
    connection: Connection, statement: bytes, parameters: Mapping[str, Any], schema: pl.Schema
) -> pl.DataFrame:
    """The rows of a SELECT as a frame of `schema`, columns in order; times are selected as UTC microseconds."""
    rows = connection.execute(statement, parameters).fetchall()
    as_read = {name: pl.Int64() if isinstance(dtype, pl.Datetime) else dtype for name, dtype in schema.items()}
    return pl.DataFrame(rows, schema=as_read, orient="row").cast(schema)
