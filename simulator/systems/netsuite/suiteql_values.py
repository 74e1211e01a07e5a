"""Values of SuiteQL: comparisons, functions, and how they are written in an answer."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

#: A row of one table by lower-case column; a joined row has one of them per alias.
Row = Mapping[str, Any]
Joined = Mapping[str, Row]
Value = Callable[[Joined], Any]
_TOKEN = re.compile(
    r"\s*(?:('(?:''|[^'])*')|(<=|>=|<>|!=|\|\||[=<>(),.?*])|([A-Za-z_]\w*)|(\d+(?:\.\d+)?))"
)
_FORMATS: Final = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "YYYY-MM-DD HH24:MI:SS": "%Y-%m-%d %H:%M:%S",
    "YYYY-MM-DD HH24:MI:SSxFF": "%Y-%m-%d %H:%M:%S",
    'YYYY-MM-DD"T"HH24:MI:SS': "%Y-%m-%dT%H:%M:%S",
}


class SuiteQLError(Exception):
    """The statement is refused; the text is NetSuite's "detail"."""


@dataclass(frozen=True)
class Table:
    """A table: its columns, and its rows.

    `rows` is told which values of `key` the statement asks for, if it names them.
    """

    columns: frozenset[str]
    rows: Callable[[frozenset[str] | None], Iterable[Row]]
    key: str = "id"


def tokens(statement: str) -> list[str]:
    """A statement's words and marks."""
    items, position = list[str](), 0
    statement = statement.rstrip()
    while position < len(statement):
        match = _TOKEN.match(statement, position)
        if match is None:
            raise syntax(statement[position : position + 10])
        items.append(match.group().strip())
        position = match.end()
    return items


def syntax(found: str) -> SuiteQLError:
    """The refusal of a word that does not belong there."""
    return SuiteQLError(
        "Invalid search query. Detailed unprocessed description follows. Invalid or unsupported search: unexpected "
        f"token {found or 'end of statement'!r}."
    )


def unknown(name: str) -> SuiteQLError:
    """The refusal of a column that does not exist."""
    return SuiteQLError(
        f"Invalid search query. Detailed unprocessed description follows. Search error occurred: Unknown identifier '{name}'."
    )


def concatenated(left: Value, right: Value) -> Value:
    """`left || right`."""
    return lambda row: f"{shown(left(row)) or ''}{shown(right(row)) or ''}" or None


def compared(operator: str, left: Any, right: Any) -> bool | None:
    """A comparison; None where a side is null. Dates only compare with dates."""
    if left is None or right is None:
        return None
    if isinstance(left, date) != isinstance(right, date):
        raise SuiteQLError(
            "Invalid search query. Search error occurred: literal does not match format string."
        )
    if isinstance(left, int | Decimal) or isinstance(right, int | Decimal):
        try:
            left, right = Decimal(str(left)), Decimal(str(right))
        except ArithmeticError:
            raise SuiteQLError(
                "Invalid search query. Search error occurred: invalid number."
            ) from None
    elif isinstance(left, date):
        left, right = moment(left), moment(right)
    order = int(left > right) - int(left < right)
    holds = {
        "=": order == 0, "<>": order != 0, "!=": order != 0, "<": order < 0, ">": order > 0,
        "<=": order <= 0, ">=": order >= 0,
    }  # fmt: skip
    return holds[operator]


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that names another record: its id, and what people call it."""

    id: int
    name: str


def moment(value: date) -> datetime:
    """A date as the midnight it begins with."""
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001  a wall clock


def function(name: str, arguments: list[Value]) -> Value:
    """A call of one of the functions known here."""
    arity = {
        "TO_CHAR": 2,
        "TO_DATE": 2,
        "TO_TIMESTAMP": 2,
        "ABS": 1,
        "LOWER": 1,
        "UPPER": 1,
        "NVL": 2,
        "COALESCE": 2,
        "BUILTIN.DF": 1,
    }
    if arity.get(name) != len(arguments):
        raise SuiteQLError(
            f"Invalid search query. Search error occurred: Invalid or unsupported function {name}."
        )
    first = arguments[0]
    if name in ("NVL", "COALESCE"):
        return lambda row: arguments[1](row) if first(row) is None else first(row)
    if name in ("LOWER", "UPPER"):
        return lambda row: None if first(row) is None else getattr(str(first(row)), name.lower())()
    if name == "BUILTIN.DF":  # what people call the record that a value names
        return lambda row: getattr(first(row), "name", first(row))
    if name == "ABS":
        return lambda row: None if first(row) is None else abs(first(row))
    form = _FORMATS.get(str(arguments[1]({})))
    if form is None:
        raise SuiteQLError(
            "Invalid search query. Search error occurred: date format not recognized."
        )
    if name == "TO_CHAR":
        return lambda row: None if first(row) is None else moment(first(row)).strftime(form)
    try:
        literal = datetime.strptime(str(first({})), form)  # noqa: DTZ007  on the account's clock
    except ValueError:
        raise SuiteQLError(
            "Invalid search query. Search error occurred: literal does not match format."
        ) from None
    return lambda _: literal


def ordered(order: Sequence[tuple[Value, bool]], rows: list[Joined]) -> list[Joined]:
    """Rows in an order of (value, descending); ties keep theirs. Nulls come last, as in Oracle."""
    for value, descending in reversed(order):
        null = not descending
        rows = sorted(rows, key=_sort_key(value, null=null), reverse=descending)
    return rows


def _sort_key(value: Value, *, null: bool) -> Callable[[Joined], tuple[bool, Any]]:
    def key(row: Joined) -> tuple[bool, Any]:
        found = value(row)
        return (
            (null, 0)
            if found is None
            else (not null, moment(found) if isinstance(found, date) else found)
        )

    return key


def shown(value: Any) -> str | None:
    """A value as SuiteQL's JSON has it: always text. Dates in the account's own format."""
    if value is None:
        return None
    if isinstance(value, Reference):
        return str(value.id)
    if isinstance(value, date):
        return f"{value.month}/{value.day}/{value.year}"
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return str(value)
