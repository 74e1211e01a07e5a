"""QuickBooks' query language.

SELECT ... FROM Entity [WHERE a AND b] [ORDERBY f ASC] [STARTPOSITION n] [MAXRESULTS n]

No OR, no JOIN, no GROUP BY; `%` is the only wildcard; entity names are case-sensitive.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

DEFAULT_RESULTS: Final = 100
MAX_RESULTS: Final = 1000
#: A value written in a query.
Operand = str | bool | Decimal

_TOKEN = re.compile(
    r"\s*(?:('(?:\\.|[^'\\])*')|(<=|>=|!=|[=<>(),*])|([A-Za-z_][\w.]*)|(-?\d+(?:\.\d+)?))"
)
_CLAUSES = {"WHERE", "ORDERBY", "ORDER", "STARTPOSITION", "MAXRESULTS"}
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": lambda a, b: bool(a == b),
    "<": lambda a, b: bool(a < b),
    ">": lambda a, b: bool(a > b),
    "<=": lambda a, b: bool(a <= b),
    ">=": lambda a, b: bool(a >= b),
}


class QueryError(Exception):
    """The statement cannot be parsed (code 4000) or names what does not exist (code 4001)."""

    def __init__(self, detail: str, code: str = "4000") -> None:
        super().__init__(detail)
        self.detail, self.code = detail, code


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; `values` has one element unless the operator is IN."""

    field: str
    operator: str
    values: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed statement."""

    entity: str
    count: bool
    fields: tuple[str, ...]  # empty: all
    conditions: tuple[Condition, ...]
    order: tuple[tuple[str, bool], ...]  # (field, descending)
    start: int
    limit: int


class _Tokens:
    def __init__(self, statement: str) -> None:
        self.items: list[str] = []
        position, statement = 0, statement.strip().rstrip(";")
        while position < len(statement):
            match = _TOKEN.match(statement, position)
            if match is None:
                raise QueryError(
                    f"QueryParserError: Encountered unexpected text at column {position + 1}"
                )
            self.items.append(match.group().strip())
            position = match.end()
        self.at = 0

    def peek(self) -> str:
        return self.items[self.at] if self.at < len(self.items) else ""

    def next(self) -> str:
        self.at += 1
        return self.items[self.at - 1] if self.at <= len(self.items) else ""

    def take(self, *words: str) -> bool:
        if self.peek().upper() in words:
            self.at += 1
            return True
        return False

    def expect(self, *words: str) -> None:
        found = self.next()
        if found.upper() not in words:
            raise QueryError(
                f'QueryParserError: Encountered " {found} ", was expecting one of: {", ".join(words)}'
            )


def parse(statement: str) -> Query:
    """Parses a statement.

    Raises:
        QueryError: With the vendor's code.
    """
    tokens = _Tokens(statement)
    tokens.expect("SELECT")
    count, fields = _selection(tokens)
    tokens.expect("FROM")
    entity, conditions, order = tokens.next(), list[Condition](), list[tuple[str, bool]]()
    start, limit = 1, DEFAULT_RESULTS
    while tokens.peek():
        if tokens.take("WHERE"):
            conditions.append(_condition(tokens))
            while tokens.take("AND"):
                conditions.append(_condition(tokens))
        elif tokens.take("ORDERBY", "ORDER"):
            tokens.take("BY")
            order = _ordering(tokens)
        elif tokens.take("STARTPOSITION"):
            start = max(1, _integer(tokens))
        elif tokens.take("MAXRESULTS"):
            limit = min(MAX_RESULTS, max(1, _integer(tokens)))
        else:
            raise QueryError(f'QueryParserError: Encountered " {tokens.peek()} "')
    return Query(entity, count, fields, tuple(conditions), tuple(order), start, limit)


def _selection(tokens: _Tokens) -> tuple[bool, tuple[str, ...]]:
    if tokens.take("COUNT"):
        tokens.expect("(")
        tokens.expect("*")
        tokens.expect(")")
        return True, ()
    names = [tokens.next()]
    while tokens.take(","):
        names.append(tokens.next())
    return False, () if "*" in names else tuple(names)


def _condition(tokens: _Tokens) -> Condition:
    field, operator = tokens.next(), tokens.next().upper()
    if operator == "IN":
        tokens.expect("(")
        values = [_value(tokens)]
        while tokens.take(","):
            values.append(_value(tokens))
        tokens.expect(")")
        return Condition(field, operator, tuple(values))
    if operator not in _COMPARE and operator != "LIKE":
        raise QueryError(f'QueryParserError: Encountered " {operator} " after {field}')
    return Condition(field, operator, (_value(tokens),))


def _value(tokens: _Tokens) -> Operand:
    text = tokens.next()
    if text.startswith("'"):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return Decimal(text)
    except InvalidOperation:
        raise QueryError(
            f'QueryParserError: Encountered " {text} " where a value was expected'
        ) from None


def _ordering(tokens: _Tokens) -> list[tuple[str, bool]]:
    order = []
    while True:
        field = tokens.next()
        descending = tokens.take("DESC")
        if not descending:
            tokens.take("ASC")
        order.append((field, descending))
        if not tokens.take(","):
            return order


def _integer(tokens: _Tokens) -> int:
    text = tokens.next()
    if not text.isdigit():
        raise QueryError(f'QueryParserError: Encountered " {text} " where an integer was expected')
    return int(text)


Accessor = Callable[[Any], Any]
Row = TypeVar("Row")


def select(query: Query, rows: Sequence[Row], accessors: Mapping[str, Accessor]) -> list[Row]:
    """All rows that meet the conditions, ordered; the caller cuts the page.

    Raises:
        QueryError: If a field does not exist or a value does not fit its type.
    """
    found = list(rows)
    for condition in query.conditions:
        test = _test(condition, _accessor(condition.field, accessors, query.entity))
        found = [row for row in found if test(row)]
    for field, descending in reversed(query.order):
        found.sort(key=_accessor(field, accessors, query.entity), reverse=descending)
    return found


def _accessor(field: str, accessors: Mapping[str, Accessor], entity: str) -> Accessor:
    name = field.replace("Metadata.", "MetaData.")
    if name not in accessors:
        raise QueryError(
            f"QueryValidationError: Property {field} not found for Entity {entity}", "4001"
        )
    return accessors[name]


def _test(condition: Condition, read: Accessor) -> Callable[[Any], bool]:
    if condition.operator == "LIKE":
        parts = map(re.escape, str(condition.values[0]).split("%"))
        pattern = re.compile(".*".join(parts), re.IGNORECASE | re.DOTALL)
        return lambda row: pattern.fullmatch(str(read(row) or "")) is not None
    if condition.operator == "IN":
        return lambda row: any(_holds("=", read(row), value) for value in condition.values)
    return lambda row: _holds(condition.operator, read(row), condition.values[0])


def _holds(operator: str, mine: object, asked: Operand) -> bool:
    if mine is None:
        return False
    try:
        return _COMPARE[operator](mine, _like(mine, asked))
    except (InvalidOperation, TypeError, ValueError):
        raise QueryError(
            f"QueryValidationError: value {asked} does not fit the property's type", "4001"
        ) from None


def _like(mine: object, asked: Operand) -> object:
    """The asked value in the type of the property."""
    if isinstance(mine, datetime):
        value = datetime.fromisoformat(str(asked))
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(mine, bool):
        return asked if isinstance(asked, bool) else str(asked).lower() == "true"
    if isinstance(mine, int):
        return Decimal(str(asked))
    if isinstance(mine, Decimal):
        return Decimal(str(asked))
    return str(asked)
