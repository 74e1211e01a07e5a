"""The part of GraphQL's language that lists need: queries with variables and fragments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"[\s,]+|#[^\n]*|(\.\.\.|[!$():=@\[\]{|}])|([_A-Za-z]\w*)|(-?\d+(?:\.\d+)?)"
    r'|("(?:[^"\\\n]|\\.)*")'
)


class QueryError(Exception):
    """An error as GraphQL writes it, with its code."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Selected:
    """A field that is asked for, or a fragment on a type."""

    #: "": a fragment.
    name: str
    alias: str = ""
    #: The type of a fragment.
    on: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inner: Sequence["Selected"] = ()


@dataclass(frozen=True)
class Variable:
    """The place of a variable's value."""

    name: str


class Parser:
    """Reads one document.

    Raises:
        QueryError: If it is none.
    """

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self.fragments: dict[str, Selected] = {}
        #: The variables of the query, with their default values.
        self.variables: dict[str, Any] = {}
        #: "query" or "mutation".
        self.operation = "query"

    def document(self) -> Sequence[Selected]:
        """What the one query of the document asks for."""
        asked: Sequence[Selected] | None = None
        while self._peek():
            if self._peek() == "fragment":
                self._take()
                name = self._take()
                self._take("on")
                self.fragments[name] = Selected("", on=self._take(), inner=self._selection())
                continue
            if asked is not None:
                raise QueryError("an operation name is required", "operationNameMissing")
            if self._peek() != "{":
                self.operation = self._take("mutation" if self._peek() == "mutation" else "query")
                if self._peek() not in ("(", "{"):
                    self._take()
                self._declare()
            asked = self._selection()
        if asked is None:
            raise QueryError("No query string was present", "parseError")
        return asked

    def _declare(self) -> None:
        if self._peek() != "(":
            return
        self._take()
        while self._peek() != ")":
            self._take("$")
            name = self._take()
            self._take(":")
            while self._peek() in ("[", "]", "!") or self._peek().isidentifier():
                self._take()
            default = None
            if self._peek() == "=":
                self._take()
                default = self._value()
            self.variables[name] = default
        self._take(")")

    def _selection(self) -> Sequence[Selected]:
        self._take("{")
        selected = []
        while self._peek() != "}":
            selected.append(self._fragment() if self._peek() == "..." else self._field())
        self._take("}")
        return selected

    def _fragment(self) -> Selected:
        self._take("...")
        if self._peek() != "on":
            return Selected("", alias=self._take())
        self._take()
        return Selected("", on=self._take(), inner=self._selection())

    def _field(self) -> Selected:
        alias = name = self._take()
        if self._peek() == ":":
            self._take()
            name = self._take()
        arguments = {}
        if self._peek() == "(":
            self._take()
            while self._peek() != ")":
                key = self._take()
                self._take(":")
                arguments[key] = self._value()
            self._take(")")
        inner = self._selection() if self._peek() == "{" else ()
        return Selected(name, alias, arguments=arguments, inner=inner)

    def _value(self) -> Any:
        token = self._take()
        if token == "$":
            return Variable(self._take())
        if token == "[":
            values = []
            while self._peek() != "]":
                values.append(self._value())
            self._take("]")
            return values
        if token in ("true", "false", "null"):
            return json.loads(token)
        return json.loads(token) if token[0] in '"-0123456789' else token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str = "") -> str:
        token = self._peek()
        if not token or (wanted and token != wanted):
            expected = f", expected {wanted}" if wanted else ""
            raise QueryError(f"syntax error, unexpected {token or 'end'}{expected}", "parseError")
        self._at += 1
        return token


def _tokens(text: str) -> Sequence[str]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryError(f"syntax error, unexpected {text[at]}", "parseError")
        at = match.end()
        if token := next(filter(None, match.groups()), ""):
            tokens.append(token)
    return tokens
