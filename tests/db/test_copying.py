"""Frames into tables and back: nothing changes on the way, in either format."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.schema import EXACT, UTC_US
from sql import copying
from sql.copying import copy_in
from sql.db import DbConnection

SCHEMA = pl.Schema(
    {
        "no": pl.Int32,
        "minor": pl.Int64,
        "word": pl.String,
        "at": UTC_US,
        "size": EXACT,
        "said": pl.String,
    }
)
YEARS = (datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
TABLE = (
    "CREATE TEMPORARY TABLE copied (no integer, minor bigint, word text, at timestamptz, size "
    "numeric(20,6), said jsonb)"
)
TEXTS = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=40)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**31), 2**31 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none()
        | TEXTS
        | st.sampled_from(["", "\\N", "a\tb", 'say "x", y', "\r\n", "NULL", "água 🫧"]),
        st.none() | st.datetimes(*YEARS, timezones=st.just(UTC)),
        st.none() | st.decimals(-(10**13), 10**13, allow_nan=False, places=6),
        st.none() | st.sampled_from(['{"base": 1}', "{}", '{"promotion \\"x\\"": -3}']),
    ),
    max_size=30,
)


@pytest.fixture(params=["binary", "csv"], autouse=True)
def _format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "binary" and not copying.BINARY:
        pytest.skip("no encoder for this machine")
    monkeypatch.setattr(copying, "BINARY", request.param == "binary")


@pytest.fixture
def connection(dsn: str) -> Iterator[DbConnection]:
    with psycopg.connect(dsn) as opened:  # one of its own: the table goes with it
        opened.execute(TABLE)
        yield opened


def stored(connection: DbConnection) -> list[Any]:
    return connection.execute(
        "SELECT no, minor, word, at, size, said::text FROM copied ORDER BY ctid"
    ).fetchall()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS, st.integers(0, 3))
def test_every_value_arrives_as_it_is(
    connection: DbConnection, rows: list[tuple[Any, ...]], skipped: int
) -> None:
    connection.execute("TRUNCATE copied")
    # A slice begins in the middle of its columns' buffers, where nulls are bits.
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").slice(skipped)
    copy_in(connection, "pg_temp.copied", frame)
    assert stored(connection) == rows[skipped:]


def test_more_rows_than_are_encoded_at_a_time(
    connection: DbConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_ROWS_AT_ONCE", 7)
    rows = [
        (number, None if number % 3 else number, f"w{number}", None, Decimal(number) / 8, None)
        for number in range(50)
    ]
    copy_in(connection, "pg_temp.copied", pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    assert stored(connection) == rows


def test_a_value_that_the_table_refuses_stops_all_of_it(connection: DbConnection) -> None:
    connection.execute("ALTER TABLE copied ADD CHECK (minor > 0)")
    connection.commit()
    rows = [(number, number - 5, "w", None, None, None) for number in range(10, 0, -1)]
    with pytest.raises(psycopg.errors.CheckViolation):
        copy_in(connection, "pg_temp.copied", pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    connection.rollback()
    assert stored(connection) == []


def test_numbers_of_another_width(connection: DbConnection) -> None:
    frame = pl.DataFrame({"no": [1], "minor": [2]}, schema={"no": pl.Int64, "minor": pl.UInt8})
    copy_in(connection, "pg_temp.copied", frame)
    assert [row[:2] for row in stored(connection)] == [(1, 2)]
    with pytest.raises(pl.exceptions.InvalidOperationError, match="failed in column 'no'"):
        copy_in(connection, "pg_temp.copied", pl.DataFrame({"no": [2**31]}))
