"""Frames out of the database: every value comes back as it is stored."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.schema import UTC_US
from sql.db import connect, read_frame

SCHEMA = pl.Schema({"no": pl.Int32(), "word": pl.String(), "minor": pl.Int64(), "at": UTC_US})
SELECT = b"""SELECT no, word, minor, (extract(epoch FROM at) * 1000000)::bigint
FROM unnest(%(nos)s::integer[], %(words)s::text[], %(minors)s::bigint[], %(ats)s::timestamptz[])
  AS u(no, word, minor, at) ORDER BY no"""
WORDS = [
    None,
    "",
    " ",
    '"',
    '""',
    ",",
    "\n",
    "\r\n",
    "\\",
    "\\N",
    "\x1f",
    "\x1e",
    "NULL",
    "null",
    "Água",
    "%s",
]


def read(dsn: str, words: list[str | None]) -> pl.DataFrame:
    numbers = list(range(len(words)))
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    parameters = {
        "nos": numbers,
        "words": words,
        "minors": [None if number % 2 else 2**62 for number in numbers],
        "ats": [at if number % 2 else None for number in numbers],
    }
    with connect(dsn) as connection:
        frame = read_frame(connection, SELECT, parameters, SCHEMA)
    assert frame.schema == SCHEMA
    assert frame["minor"].to_list() == parameters["minors"]
    assert frame["at"].to_list() == parameters["ats"]
    return frame


def test_an_empty_text_is_not_null(dsn: str) -> None:
    assert read(dsn, WORDS)["word"].to_list() == WORDS


@pytest.mark.parametrize("words", [[], [None], [""]])
def test_few_rows(dsn: str, words: list[str | None]) -> None:
    assert read(dsn, words)["word"].to_list() == words


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    )
)
def test_any_text(dsn: str, words: list[str | None]) -> None:
    assert read(dsn, words)["word"].to_list() == words


def test_numbers_alone(dsn: str) -> None:
    schema = pl.Schema({"a": pl.Int64(), "b": pl.Int8()})
    with connect(dsn) as connection:
        frame = read_frame(connection, b"SELECT %(a)s::bigint, NULL::integer", {"a": 1}, schema)
    assert frame.rows() == [(1, None)]
