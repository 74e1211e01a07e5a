"""Sage Intacct's query service: which objects, which of their fields, in which order, from which row on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_KEYS: Final = frozenset(
    {
        "object",
        "fields",
        "filters",
        "filterExpression",
        "filterParameters",
        "orderBy",
        "start",
        "size",
    }
)
_PARAMETERS: Final = frozenset({"caseSensitiveComparison", "includePrivate", "asOfDate"})
DEFAULT_SIZE: Final = 100
MAX_SIZE: Final = 4000


class QueryError(Exception):
    """The query is refused."""


@dataclass(frozen=True)
class Query:
    """What was asked for. `matches` judges a record, `orders` are (field, descending)."""

    object: str
    fields: tuple[str, ...]
    matches: Callable[[Mapping[str, Any]], bool]
    orders: tuple[tuple[str, bool], ...]
    start: int
    size: int


def parse(body: Any) -> Query:
    """Reads a query.

    Raises:
        QueryError: With what the service would say.
    """
    if not isinstance(body, dict):
        raise QueryError("Payload contains errors")
    for name in body:
        if name not in _KEYS:
            raise QueryError(f"Unrecognized key {name} in query payload")
    for name in body.get("filterParameters") or {}:
        if name not in _PARAMETERS:
            raise QueryError(f"Unrecognized key {name} in filterParameters")
    fields = body.get("fields")
    if not isinstance(body.get("object"), str) or not isinstance(fields, list) or not fields:
        raise QueryError("object and fields are required")
    if any("*" in str(field) for field in fields):
        raise QueryError("Wildcards are not allowed in fields")
    joined = {"and": all, "or": any}.get(body.get("filterExpression") or "and")
    if joined is None:
        raise QueryError("filterExpression is not valid")
    conditions = [_condition(one) for one in body.get("filters") or ()]
    start, size = body.get("start", 1), body.get("size", DEFAULT_SIZE)
    if (
        not isinstance(start, int)
        or not isinstance(size, int)
        or start < 1
        or not 1 <= size <= MAX_SIZE
    ):
        raise QueryError(f"start is from 1, size from 1 to {MAX_SIZE}")
    orders = tuple(
        (name, way == "desc") for one in body.get("orderBy") or () for name, way in one.items()
    )
    return Query(
        body["object"],
        tuple(map(str, fields)),
        lambda record: not conditions or joined(condition(record) for condition in conditions),
        orders,
        start,
        size,
    )


def ordered(query: Query, records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records that match, in order; keys are numbers, everything else is compared as text."""
    found = [record for record in records if query.matches(record)]
    for name, descending in reversed(query.orders):
        found.sort(key=lambda record: _comparable(name, value_at(record, name)), reverse=descending)
    return found


def shown(query: Query, record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields asked for, under the names they were asked by: dots stay dots.

    Raises:
        QueryError: For fields that do not exist, and lists.
    """
    return {name: _leaf(record, name) for name in query.fields}


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name.

    Raises:
        QueryError: If there is no such field.
    """
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise QueryError(f"The field {name} does not exist")
        value = value[part]
    return value


def _leaf(record: Mapping[str, Any], name: str) -> Any:
    value = value_at(record, name)
    if isinstance(value, dict | list):
        raise QueryError(f"The field {name} cannot be queried")
    return value


def _comparable(name: str, value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0, "")
    if name.rpartition(".")[2] == "key" and str(value).isdigit():
        return (1, int(value), "")
    return (2, 0, str(value))


def _condition(body: Any) -> Callable[[Mapping[str, Any]], bool]:
    """`{"$gte": {"audit.modifiedDateTime": "2026-01-01T00:00:00Z"}}`."""
    try:
        ((operator, about),) = body.items()
        ((name, wanted),) = about.items()
        test = _OPERATORS[operator]
    except (KeyError, ValueError, AttributeError) as error:
        raise QueryError("A filter is not valid") from error
    if (operator in _LISTS) != isinstance(wanted, list):
        raise QueryError(f"{operator} does not take this value")

    def judged(record: Mapping[str, Any]) -> bool:
        def key(value: Any) -> tuple[int, float, str]:
            return _comparable(name, value)

        value = value_at(record, name)
        return test(
            key(value), [key(one) for one in wanted] if isinstance(wanted, list) else key(wanted)
        )

    return judged


_Key = tuple[int, float, str]
_LISTS: Final = ("$in", "$notIn", "$between", "$notBetween")
_OPERATORS: Final[Mapping[str, Callable[[_Key, Any], bool]]] = {
    "$eq": lambda value, wanted: value == wanted,
    "$ne": lambda value, wanted: value != wanted,
    "$lt": lambda value, wanted: value < wanted,
    "$lte": lambda value, wanted: value <= wanted,
    "$gt": lambda value, wanted: value > wanted,
    "$gte": lambda value, wanted: value >= wanted,
    "$in": lambda value, wanted: value in wanted,
    "$notIn": lambda value, wanted: value not in wanted,
    "$between": lambda value, wanted: wanted[0] <= value <= wanted[-1],
    "$notBetween": lambda value, wanted: not wanted[0] <= value <= wanted[-1],
    "$contains": lambda value, wanted: wanted[2] in value[2],
    "$notContains": lambda value, wanted: wanted[2] not in value[2],
    "$startsWith": lambda value, wanted: value[2].startswith(wanted[2]),
    "$endsWith": lambda value, wanted: value[2].endswith(wanted[2]),
}


def page(
    query: Query, records: Sequence[Mapping[str, Any]]
) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """The rows from `start` on, and what is said beside them: `next` is the start of the following page, or null."""
    first, total = query.start - 1, len(records)
    following = query.start + query.size
    meta = {
        "totalCount": total,
        "start": query.start,
        "pageSize": query.size,
        "next": following if following <= total else None,
        "previous": max(1, query.start - query.size) if query.start > 1 else None,
    }
    return records[first : first + query.size], meta
