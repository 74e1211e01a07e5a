"""As much of GraphQL as Wave's clients write: a query with variables, arguments and selections."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""\s*(?:,|\#[^\n]*)*\s*([!(){}\[\]:=$]|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_]\w*)"""
)


class Refused(Exception):
    """A query that is not answered; `code` is Wave's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Enum(str):
    """A word without quotation marks, such as CREATED_AT_ASC."""

    __slots__ = ()


@dataclass(frozen=True)
class Selection:
    """One field of a query, with what is wanted of it."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Empty: the field is a leaf.
    fields: tuple["Selection", ...] = ()


def parsed(query: str, variables: Mapping[str, Any]) -> tuple[Selection, ...]:
    """The fields of a query, with the values of its variables; a variable without one is left out.

    Raises:
        Refused: If it is no query, or a variable that it needs has no value.
    """
    return _Parser(query, variables).operation()


class _Parser:
    def __init__(self, query: str, variables: Mapping[str, Any]) -> None:
        self._tokens = list(_tokens(query))
        self._at = 0
        self._variables = variables
        self._declared: set[str] = set()

    def operation(self) -> tuple[Selection, ...]:
        if self._next() != "query":
            raise Refused("GRAPHQL_VALIDATION_FAILED", "only queries are served here")
        if self._peek() not in ("(", "{"):
            self._next()  # its name
        if self._peek() == "(":
            self._declarations()
        fields = self._fields()
        if self._at != len(self._tokens):
            raise _syntax()
        return fields

    def _declarations(self) -> None:
        self._expect("(")
        while self._peek() != ")":
            self._expect("$")
            name = self._next()
            self._expect(":")
            needed = self._type()
            if self._peek() == "=":
                self._next()
                self._value()
            if needed and self._variables.get(name) is None:
                raise Refused("VARIABLE_VALUE", f"Variable ${name} has no value.")
            self._declared.add(name)
        self._next()

    def _type(self) -> bool:
        """Whether a value is needed."""
        if self._peek() == "[":
            self._next()
            self._type()
            self._expect("]")
        else:
            self._next()
        if self._at < len(self._tokens) and self._peek() == "!":
            self._next()
            return True
        return False

    def _fields(self) -> tuple[Selection, ...]:
        self._expect("{")
        fields = []
        while self._peek() != "}":
            name = self._next()
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise _syntax()
            arguments = self._arguments() if self._peek() == "(" else {}
            below = self._fields() if self._peek() == "{" else ()
            fields.append(Selection(name, arguments, below))
        self._next()
        if not fields:
            raise _syntax()
        return tuple(fields)

    def _arguments(self) -> dict[str, Any]:
        self._expect("(")
        arguments = {}
        while self._peek() != ")":
            name = self._next()
            self._expect(":")
            value = self._value()
            if value is not None:
                arguments[name] = value
        self._next()
        return arguments

    def _value(self) -> Any:
        token = self._next()
        if token == "$":
            name = self._next()
            if name not in self._declared:
                raise Refused("GRAPHQL_VALIDATION_FAILED", f"Variable ${name} is not declared.")
            return self._variables.get(name)
        if token == "[":
            values = []
            while self._peek() != "]":
                values.append(self._value())
            self._next()
            return values
        if token.startswith('"') or re.fullmatch(r"-?\d.*", token) or token in ("true", "false"):
            return json.loads(token)
        return None if token == "null" else Enum(token)

    def _peek(self) -> str:
        if self._at >= len(self._tokens):
            raise _syntax()
        return self._tokens[self._at]

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise _syntax()


def _syntax() -> Refused:
    return Refused("GRAPHQL_VALIDATION_FAILED", "Syntax Error.")


def _tokens(query: str) -> Iterator[str]:
    position = 0
    text = query.rstrip(", \t\r\n")
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _syntax()
        yield match[1]
        position = match.end()


def selected(value: Any, fields: tuple[Selection, ...], place: str) -> Any:
    """What a query wants of a value.

    Raises:
        Refused: If a field does not exist, or an object is wanted without saying what of it.
    """
    if value is None:
        return None
    if isinstance(value, list):
        return [selected(entry, fields, place) for entry in value]
    if isinstance(value, dict) != bool(fields):
        raise Refused("GRAPHQL_VALIDATION_FAILED", f"{place}: wrong selection of subfields.")
    if not fields:
        return value
    if unknown := [one.name for one in fields if one.name not in value]:
        message = f'Cannot query field "{unknown[0]}" on type "{place}".'
        raise Refused("GRAPHQL_VALIDATION_FAILED", message)
    return {one.name: selected(value[one.name], one.fields, one.name) for one in fields}
