"""What `q`, `orderBy` and `fields` of Oracle's REST framework mean, over rows of plain values.

`q` is a row of comparisons joined by `and` or `;`. Texts, days and moments are quoted, a quote in
a text is doubled; numbers need no quotes.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

Row = Mapping[str, Any]
_COMPARISON: Final = re.compile(
    r"\s*(\w+)\s*(>=|<=|!=|=|>|<)\s*('(?:[^']|'')*'|[^\s';]+)\s*(?:(\band\b|;)|$)", re.IGNORECASE
)
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class QueryError(Exception):
    """The vendor would refuse the query; the message is its own."""


def filtered(rows: Sequence[Row], text: str, searchable: Mapping[str, Any]) -> list[Row]:
    """The rows that a `q` lets through.

    Args:
        rows: All rows.
        text: The query; empty: every row.
        searchable: The type of each attribute that can be searched by.

    Raises:
        QueryError: If it cannot be read, or names another attribute.
    """
    kept, at = list(rows), 0
    while at < len(text):
        match = _COMPARISON.match(text, at)
        if match is None:
            raise QueryError("URL request parameter q cannot be used: its syntax is invalid.")
        name, sign, literal, joined = match.groups()
        if name not in searchable:
            raise QueryError(f"URL request parameter q cannot be used: {name} is not queryable.")
        wanted, compare = _value(literal, searchable[name], name), _OPERATORS[sign]
        kept = [row for row in kept if _fits(row[name], searchable[name], compare, wanted)]
        at = match.end()
        if joined and at == len(text):
            raise QueryError("URL request parameter q cannot be used: its syntax is invalid.")
    return kept


def _fits(value: Any, kind: Any, compare: Callable[[Any, Any], bool], wanted: Any) -> bool:
    if value is None:
        return False
    return compare(kind.fromisoformat(value) if kind in (date, datetime) else value, wanted)


def _value(literal: str, kind: Any, name: str) -> Any:
    """The literal as a value of the attribute's type."""
    quoted = literal.startswith("'")
    text = literal[1:-1].replace("''", "'") if quoted else literal
    try:
        if kind in (int, float):
            return kind(text)
        value: Any = text if kind is str else kind.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or not quoted or (kind is datetime and value.tzinfo is None):
        raise QueryError(f"URL request parameter q cannot be used: {name} does not take {literal}.")
    return value


def ordered(rows: Sequence[Row], text: str, names: Sequence[str]) -> list[Row]:
    """The rows by an `orderBy`: `Attribute:asc,Other:desc`.

    Raises:
        QueryError: If it names an unknown attribute or direction.
    """
    result = list(rows)
    for part in reversed([part.strip() for part in text.split(",")]):
        name, _, direction = part.partition(":")
        if name not in names or direction not in ("", "asc", "desc"):
            raise QueryError(f"URL request parameter orderBy cannot be used: {part}.")
        result.sort(key=lambda row: (row[name] is not None, row[name]), reverse=direction == "desc")
    return result
