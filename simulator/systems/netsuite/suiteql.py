"""A subset of SuiteQL, as strict as NetSuite about what it does not know.

SELECT expr [AS name], ... FROM table alias [[LEFT] JOIN table alias ON a.x = b.y] [WHERE ...]
[ORDER BY expr [ASC|DESC], ...]

No LIMIT or OFFSET (they go into the URL). Names are case-insensitive. Null compares with nothing,
'' is null.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from simulator.systems.netsuite.suiteql_values import (
    Joined,
    Row,
    SuiteQLError,
    Table,
    Value,
    compared,
    concatenated,
    function,
    syntax,
    tokens,
    unknown,
)

IN_LIMIT: Final = 1000
_KEYWORDS: Final = {"FROM", "WHERE", "ORDER", "BY", "AND", "OR", "NOT", "IN", "IS", "NULL", "AS", "ON", "JOIN", "LEFT"} | {
    "INNER", "OUTER", "ASC", "DESC", "SELECT",
}  # fmt: skip


@dataclass
class Query:
    """A bound statement."""

    columns: list[tuple[str, Value]] = field(default_factory=list)
    rows: list[Joined] = field(default_factory=list)
    order: list[tuple[Value, bool]] = field(default_factory=list)
    count: bool = False


@dataclass(frozen=True)
class _Source:
    table: Table
    alias: str
    left: bool = False
    on: tuple[tuple[str, str], tuple[str, str]] | None = None


class _Parser:
    """Reads a statement from left to right.

    Columns of SELECT are bound after FROM named the tables.
    """

    def __init__(self, statement: str, tables: Mapping[str, Table], params: Sequence[Any]) -> None:
        self.items = tokens(statement)
        self.at = 0
        self.tables = tables
        self.params = list(params)
        self.sources: list[_Source] = []
        self.asked: dict[tuple[str, str], frozenset[str]] = {}

    def peek(self) -> str:
        return self.items[self.at] if self.at < len(self.items) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def take(self, *words: str) -> bool:
        if self.peek().upper() in words:
            self.at += 1
            return True
        return False

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise syntax(self.peek())

    def parse(self) -> Query:
        self.expect("SELECT")
        start = self.at
        depth = 0
        while self.peek() and (depth or self.peek().upper() != "FROM"):
            token = self.next()
            depth += (token == "(") - (token == ")")
        self.expect("FROM")
        self._from()
        where = self._or() if self.take("WHERE") else None
        query = Query(order=self._ordering())
        if self.peek():
            raise syntax(self.peek())
        self.at = start
        self._select(query)
        query.rows = [row for row in self._joined() if where is None or where(row) is True]
        return query

    def _select(self, query: Query) -> None:
        if [item.upper() for item in self.items[self.at : self.at + 4]] == ["COUNT", "(", "*", ")"]:
            self.at += 4
            name = self.next().lower() if self.take("AS") else "expr1"
            query.columns, query.count = [(name, lambda _: None)], True
        elif self.take("*"):
            alias = self.sources[0].alias
            query.columns = [
                (name, self._column(alias, name)) for name in sorted(self.sources[0].table.columns)
            ]
        else:
            query.columns.append(self._named())
            while self.take(","):
                query.columns.append(self._named())
        self.expect("FROM")
        names = [name for name, _ in query.columns]
        if len(set(names)) != len(names):
            raise SuiteQLError("Invalid search query. Duplicate column names.")

    def _named(self) -> tuple[str, Value]:
        first = self.at
        value = self._expression()
        plain = self.items[self.at - 1].lower() if self.at - first in (1, 3) else f"expr{first}"
        if self.take("AS"):
            return self._name(), value
        return plain, value

    def _name(self) -> str:
        name = self.next()
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name.upper() in _KEYWORDS:
            raise syntax(name)
        return name.lower()

    def _from(self) -> None:
        self.sources.append(self._source())
        while self.peek().upper() in ("LEFT", "INNER", "JOIN"):
            left = self.take("LEFT")
            if left:
                self.take("OUTER")
            else:
                self.take("INNER")
            self.expect("JOIN")
            new = self._source()
            self.expect("ON")
            one = (self._name(), self._dotted())
            self.expect("=")
            other = (self._name(), self._dotted())
            here, there = (one, other) if one[0] == new.alias else (other, one)
            if here[0] != new.alias:
                raise SuiteQLError(
                    "Invalid or unsupported search: the join does not name the joined record."
                )
            self.sources.append(_Source(new.table, new.alias, left, (here, there)))
            self._column(*here)
            self._column(*there)

    def _dotted(self) -> str:
        self.expect(".")
        return self._name()

    def _source(self) -> _Source:
        name = self._name()
        table = self.tables.get(name)
        if table is None:
            raise SuiteQLError(f"Invalid search query. Record '{name}' was not found.")
        follows = self.peek().upper()
        alias = self._name() if follows and follows not in _KEYWORDS else name
        return _Source(table, alias)

    def _joined(self) -> Iterable[Joined]:
        first = self.sources[0]
        rows: Iterable[Joined] = ({first.alias: row} for row in self._rows_of(first))
        for source in self.sources[1:]:
            rows = self._join(rows, source)
        return rows

    def _rows_of(self, source: _Source) -> Iterable[Row]:
        return source.table.rows(self.asked.get((source.alias, source.table.key)))

    def _join(self, rows: Iterable[Joined], source: _Source) -> Iterable[Joined]:
        if source.on is None:
            return
        (_, here), (alias, there) = source.on
        index: dict[Any, list[Row]] = {}
        for row in self._rows_of(source):
            index.setdefault(row.get(here), []).append(row)
        for joined in rows:
            value = joined[alias].get(there)
            found = index.get(value, []) if value is not None else []
            for row in found or ([{}] if source.left else []):
                yield {**joined, source.alias: row}

    def _ordering(self) -> list[tuple[Value, bool]]:
        order: list[tuple[Value, bool]] = []
        if not self.take("ORDER"):
            return order
        self.expect("BY")
        while True:
            value = self._expression()
            descending = self.take("DESC")
            if not descending:
                self.take("ASC")
            order.append((value, descending))
            if not self.take(","):
                return order

    def _or(self) -> Value:
        sides = [self._and()]
        while self.take("OR"):
            sides.append(self._and())
        if len(sides) > 1:
            self.asked.clear()  # what one side asks for does not bind the other
        return lambda row: any(side(row) is True for side in sides)

    def _and(self) -> Value:
        sides = [self._predicate()]
        while self.take("AND"):
            sides.append(self._predicate())
        return lambda row: all(side(row) is True for side in sides)

    def _predicate(self) -> Value:
        if self.take("("):
            inner = self._or()
            self.expect(")")
            return inner
        start = self.at
        left = self._expression()
        name = (
            tuple(self.items[start : self.at : 2])
            if self.at - start == 3
            else ("", self.items[start])
        )
        if self.take("IS"):
            wanted = not self.take("NOT")
            self.expect("NULL")
            return lambda row: (left(row) is None) is wanted
        negated = self.take("NOT")
        if self.take("IN"):
            return self._in(left, (name[0].lower(), name[1].lower()), negated=negated)
        operator = self.next()
        if negated or operator not in ("=", "<>", "!=", "<", ">", "<=", ">="):
            raise syntax(operator)
        right = self._expression()
        return lambda row: compared(operator, left(row), right(row))

    def _in(self, left: Value, name: tuple[str, str], *, negated: bool) -> Value:
        self.expect("(")
        values = [self._expression()({})]
        while self.take(","):
            values.append(self._expression()({}))
        self.expect(")")
        if len(values) > IN_LIMIT:
            raise SuiteQLError(
                "Search error occurred: maximum number of expressions in a list is 1000."
            )
        if not negated:
            self.asked[name] = frozenset(map(str, values))
        wanted = set(map(str, values))

        def test(row: Joined) -> bool | None:
            value = left(row)
            return None if value is None else (str(value) in wanted) is not negated

        return test

    def _expression(self) -> Value:
        value = self._operand()
        while self.take("||"):
            left, right = value, self._operand()
            value = concatenated(left, right)
        return value

    def _operand(self) -> Value:
        token = self.next()
        if token == "?":
            if not self.params:
                raise SuiteQLError("Invalid number of parameters.")
            bound = self.params.pop(0)
            return lambda _: bound
        if token.startswith("'"):
            literal = token[1:-1].replace("''", "'") or None
            return lambda _: literal
        if token[:1].isdigit():
            number = Decimal(token) if "." in token else int(token)
            return lambda _: number
        if not re.fullmatch(r"[A-Za-z_]\w*", token) or token.upper() in _KEYWORDS:
            raise syntax(token)
        if self.peek() == "(" or token.upper() == "BUILTIN":
            return self._call(token.upper())
        if self.take("."):
            return self._column(token.lower(), self._name())
        owners = [source.alias for source in self.sources if token.lower() in source.table.columns]
        if len(owners) != 1:
            raise unknown(token)
        return self._column(owners[0], token.lower())

    def _call(self, name: str) -> Value:
        if name == "BUILTIN":
            self.expect(".")
            name = f"{name}.{self.next().upper()}"
        self.expect("(")
        arguments = [self._expression()]
        while self.take(","):
            arguments.append(self._expression())
        self.expect(")")
        return function(name, arguments)

    def _column(self, alias: str, name: str) -> Value:
        source = next((one for one in self.sources if one.alias == alias), None)
        if source is None or name not in source.table.columns:
            raise unknown(f"{alias}.{name}")
        return lambda row: row[alias].get(name)


def parse(statement: str, tables: Mapping[str, Table], params: Sequence[Any] = ()) -> Query:
    """Parses a statement and finds its rows, in no order.

    Raises:
        SuiteQLError: If NetSuite would refuse it.
    """
    return _Parser(statement, tables, params).parse()
