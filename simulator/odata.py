"""The query options of OData, over rows of plain values (Business Central, SAP S/4HANA).

Filters compare a property with a literal (`eq`, `ne`, `gt`, `ge`, `lt`, `le`), put together with
`and`, `or`, `not` and brackets. Times and GUIDs are written without quotes.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import cmp_to_key
from typing import Any, Final

Row = Mapping[str, Any]
Test = Callable[[Row], bool]
#: Brackets, quoted literals (of OData 2 with a word for their type before them), and words.
_TOKEN: Final = re.compile(r"\s*(?:(\()|(\))|((?:[a-z]+)?'(?:[^']|'')*')|([^\s()']+))")
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COMPARE: Final[Mapping[str, Callable[[int], bool]]] = {
    "eq": lambda sign: sign == 0,
    "ne": lambda sign: sign != 0,
    "gt": lambda sign: sign > 0,
    "ge": lambda sign: sign >= 0,
    "lt": lambda sign: sign < 0,
    "le": lambda sign: sign <= 0,
}


class QueryError(Exception):
    """The vendor would refuse the query; the message is its own."""


#: Turns a literal into a value, given one of the property and its name.
Literal = Callable[[str, Any, str], Any]


def filtered(
    rows: Sequence[Row], text: str, names: Sequence[str], literal: Literal | None = None
) -> list[Row]:
    """The rows that a `$filter` lets through; `literal` reads literals of another notation.

    Raises:
        QueryError: If it cannot be read.
    """
    if not text:
        return list(rows)
    parser = _Filter(_tokens(text), names, literal or _value)
    test = parser.disjunction()
    if parser.at < len(parser.tokens):
        raise QueryError(f"Syntax error at position {parser.at} in '{text}'.")
    return [row for row in rows if test(row)]


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(f"There is an unterminated string literal in '{text}'.")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


class _Filter:
    """Reads a filter from left to right."""

    def __init__(self, tokens: Sequence[str], names: Sequence[str], literal: Literal) -> None:
        self.tokens, self.names, self.at, self._literal = tokens, names, 0, literal

    def _take(self) -> str:
        if self.at >= len(self.tokens):
            raise QueryError("Expression expected at the end of the filter.")
        self.at += 1
        return self.tokens[self.at - 1]

    def _follows(self, word: str) -> bool:
        follows = self.at < len(self.tokens) and self.tokens[self.at] == word
        self.at += follows
        return follows

    def disjunction(self) -> Test:
        """Tests joined by `or`."""
        tests = [self._conjunction()]
        while self._follows("or"):
            tests.append(self._conjunction())
        return lambda row: any(test(row) for test in tests)

    def _conjunction(self) -> Test:
        tests = [self._comparison()]
        while self._follows("and"):
            tests.append(self._comparison())
        return lambda row: all(test(row) for test in tests)

    def _comparison(self) -> Test:
        if self._follows("not"):
            inner = self._comparison()
            return lambda row: not inner(row)
        if self._follows("("):
            inner = self.disjunction()
            if not self._follows(")"):
                raise QueryError("')' or operator expected.")
            return inner
        name, operator, literal = self._take(), self._take(), self._take()
        if name not in self.names:
            raise QueryError(f"Could not find a property named '{name}'.")
        if operator not in _COMPARE:
            raise QueryError(f"Syntax error: '{operator}' is no operator.")
        fits = _COMPARE[operator]
        return lambda row: fits(_order(row[name], self._literal(literal, row[name], name)))


def _value(literal: str, like: Any, name: str) -> Any:
    """The literal as a value of the property's type."""
    quoted = literal.startswith("'")
    kind = _kind(like)
    if kind == "text":
        if not quoted:
            raise QueryError(f"The property '{name}' is compared with a literal of another type.")
        return literal[1:-1].replace("''", "'")
    if quoted:
        raise QueryError(f"A quoted literal was given for the property '{name}'.")
    try:
        if kind == "time":
            return _instant(literal).isoformat()
        return float(literal) if kind == "number" else literal.lower()
    except ValueError:
        raise QueryError(f"The literal '{literal}' does not fit to '{name}'.") from None


def _kind(value: Any) -> str:
    if isinstance(value, int | float):
        return "number"
    if _GUID.fullmatch(value):
        return "guid"
    if re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", value):
        return "time"
    return "day" if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else "text"


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a time has an offset")
    return value


def _order(left: Any, right: Any) -> int:
    """-1, 0 or 1."""
    if isinstance(left, str) and isinstance(right, str) and left.endswith("Z"):
        with suppress(ValueError):
            left, right = _instant(left), _instant(right)
    return int(left > right) - int(left < right)


def ordered(rows: Sequence[Row], text: str, names: Sequence[str]) -> list[Row]:
    """The rows in the order of an `$orderby`; behind it, and without one, by id.

    Raises:
        QueryError: If it names an unknown property.
    """
    return sorted(rows, key=cmp_to_key(_comparing(_keys(text, names))))


def behind(rows: Sequence[Row], text: str, names: Sequence[str], token: str) -> list[Row]:
    """The ordered rows behind the place of a `$skiptoken`, whatever happened to it meanwhile.

    Raises:
        QueryError: If the token is none.
    """
    try:
        place = dict(json.loads(base64.urlsafe_b64decode(token)))
    except ValueError:
        raise QueryError("The skip token is malformed.") from None
    compare = _comparing(_keys(text, names))
    return [row for row in rows if compare(row, place) > 0]


def skip_token(row: Row, text: str, names: Sequence[str]) -> str:
    """The place of a row, as the address of the next page holds it."""
    place = {name: row[name] for name, _ in _keys(text, names)}
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _keys(text: str, names: Sequence[str]) -> list[tuple[str, bool]]:
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, direction = part.partition(" ")
        if name not in names or direction.strip() not in ("", "asc", "desc"):
            raise QueryError(f"Could not find a property named '{name}'.")
        keys.append((name, direction.strip() == "desc"))
    return keys if ("id", False) in keys else [*keys, ("id", False)]


def _comparing(keys: Sequence[tuple[str, bool]]) -> Callable[[Row, Row], int]:
    def compare(left: Row, right: Row) -> int:
        for name, descending in keys:
            if sign := _order(left[name], right[name]):
                return -sign if descending else sign
        return 0

    return compare


def day_text(day: date | None) -> str:
    """A day; an empty one is the first of all."""
    return day.isoformat() if day else "0001-01-01"
