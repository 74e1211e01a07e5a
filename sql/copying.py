"""Copies frames into tables.

Uses COPY in its binary format, which PostgreSQL need not parse, or CSV where a column has no
encoder for it.
"""

import io
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

import polars as pl
from psycopg import sql
from psycopg.copy import QueuedLibpqWriter
from psycopg.postgres import types

from loyalty.schema import UTC_US
from sql.db import DbConnection

#: There are no wheels for Linux on ARM: there, a load takes a fifth longer.
BINARY: Final = find_spec("pgpq") is not None
if BINARY:
    import pgpq
    from pgpq.encoders import StringViewEncoderBuilder
    from pgpq.schema import Jsonb

#: Rows encoded at a time.
_ROWS_AT_ONCE: Final = 5_000
_AS_IS: Final = pl.CompatLevel.newest()
_JSONB: Final = types["jsonb"].oid
#: What a column of the table is sent as. Numerics are sent with the digits that the frame has.
_SENT_AS: Final[dict[int, pl.DataType]] = {
    types["int8"].oid: pl.Int64(), types["int4"].oid: pl.Int32(), types["text"].oid: pl.String(),
    _JSONB: pl.String(),
    types["timestamptz"].oid: UTC_US,
}  # fmt: skip


def copy_in(connection: DbConnection, table: str, frame: pl.DataFrame) -> None:
    """Appends `frame` to `table` ("schema.name").

    A part is encoded while the database takes the one before.

    The table's columns are named like the frame's. The caller commits. Raises
    polars.exceptions.InvalidOperationError for a value that its column cannot hold, psycopg.Error
    for one that the table refuses.
    """
    if frame.is_empty():
        return
    names = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    into = sql.Identifier(*table.split("."))
    cursor = connection.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(names, into))
    kinds = {column.name: column.type_code for column in cursor.description or ()}
    sent = frame.cast({name: _SENT_AS[kind] for name, kind in kinds.items() if kind in _SENT_AS})
    form = sql.SQL("binary" if BINARY else "csv")
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(into, names, form)
    cursor = connection.cursor()
    with cursor.copy(statement, writer=QueuedLibpqWriter(cursor)) as copy:
        for part in (
            _binary(sent, {name for name in kinds if kinds[name] == _JSONB})
            if BINARY
            else _csv(sent)
        ):
            copy.write(part)


def _binary(frame: pl.DataFrame, json: set[str]) -> Iterator[bytes]:
    schema = frame.clear().to_arrow(compat_level=_AS_IS).schema
    infer = pgpq.ArrowToPostgresBinaryEncoder.infer_encoder
    encoders = {
        field.name: StringViewEncoderBuilder.new_with_output(field, Jsonb())
        if field.name in json
        else infer(field)
        for field in schema
    }
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)
    yield encoder.write_header()
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        for batch in part.to_arrow(compat_level=_AS_IS).to_batches():
            yield encoder.write_batch(batch)
    yield encoder.finish()


def _csv(frame: pl.DataFrame) -> Iterator[bytes]:
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        buffer = io.BytesIO()
        # An empty string must not become null: text is always quoted and null never.
        part.write_csv(buffer, include_header=False, quote_style="non_numeric", null_value=None)
        yield buffer.getvalue()
