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
        max_overflow=5,
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


def copy_out(
    connection: Connection, statement: bytes, parameters: Mapping[str, Any], schema: pl.Schema
) -> pl.DataFrame:
    """The rows of a SELECT as a frame of `schema`, columns in order; times come as UTC microseconds."""
    buffer = io.BytesIO()
    text = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(sql.SQL(statement.decode()))  # type: ignore[arg-type]
    with connection.cursor().copy(text, parameters) as copy:
        for block in copy:
            buffer.write(block)
    times = [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
    as_read = {name: pl.Int64() if name in times else dtype for name, dtype in schema.items()}
    if not buffer.tell():
        return pl.DataFrame(schema=schema)
    buffer.seek(0)
    frame = pl.read_csv(buffer, has_header=False, schema=as_read)
    return frame.with_columns(pl.col(times).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")).cast(schema)
