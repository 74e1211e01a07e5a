"""The search criteria of Magento's lists: filters in groups, sort orders, pages."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

_PART: Final = re.compile(r"\[([^\]]*)\]")
#: Both spellings of a name are taken.
_NAMES: Final = {
    "filterGroups": "filter_groups",
    "conditionType": "condition_type",
    "sortOrders": "sort_orders",
    "pageSize": "page_size",
    "currentPage": "current_page",
}
Row = Mapping[str, Any]


class SearchError(Exception):
    """The criteria are refused; the message has places, filled by the parameters."""

    def __init__(self, message: str, **parameters: str) -> None:
        super().__init__(message)
        self.message, self.parameters = message, parameters


@dataclass
class Criteria:
    """What is asked for."""

    #: All groups must hold, and of each group one filter: (field, condition, value).
    groups: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    sort: list[tuple[str, bool]] = field(default_factory=list)
    page_size: int | None = None
    current_page: int = 1


def parse(params: httpx.QueryParams) -> Criteria:
    """The criteria of a query.

    Raises:
        SearchError: There are none, or something in them is not served here.
    """
    if not any(
        re.split(r"\[", name)[0] in ("searchCriteria", "search_criteria") for name in params
    ):
        raise SearchError(
            '"%fieldName" is required. Enter and try again.', fieldName="searchCriteria"
        )
    criteria = Criteria()
    filters: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    sorts: dict[str, dict[str, str]] = defaultdict(dict)
    for name, value in params.items():
        parts = [_NAMES.get(part, part) for part in _PART.findall(name)]
        match parts:
            case []:
                if name not in ("searchCriteria", "search_criteria"):
                    raise SearchError("The parameter %1 is not served here.", name=name)
            case ["page_size"]:
                criteria.page_size = _whole(value, "pageSize")
            case ["current_page"]:
                criteria.current_page = _whole(value, "currentPage")
            case ["filter_groups", group, "filters", number, key]:
                filters[group, number][key] = value
            case ["sort_orders", number, key]:
                sorts[number][key] = value
            case _:
                raise SearchError("The parameter %1 is not served here.", name=name)
    for (group, _), parts_of in sorted(filters.items()):
        condition = parts_of.get("condition_type", "eq")
        criteria.groups.setdefault(group, []).append(
            (parts_of.get("field", ""), condition, parts_of.get("value", ""))
        )
    criteria.sort = [
        (parts_of.get("field", ""), parts_of.get("direction", "DESC").upper() == "DESC")
        for _, parts_of in sorted(sorts.items())
    ]
    return criteria


def _whole(value: str, name: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise SearchError(
            'Invalid type for value: "%value". Expected Type: "int".', value=value, name=name
        )
    return int(value)


def page(criteria: Criteria, rows: Sequence[Row]) -> tuple[list[Row], int]:
    """One page of the rows that match, and how many match.

    A page beyond the last one is the last one again.

    Raises:
        SearchError: A column or a condition does not exist.
    """
    matching = [row for row in rows if all(_any(group, row) for group in criteria.groups.values())]
    for column, descending in reversed(criteria.sort):
        matching.sort(key=lambda row: _key(_value(row, column)), reverse=descending)
    size = criteria.page_size
    if size is None:
        return matching, len(matching)
    last = max(1, -(-len(matching) // size))
    number = min(criteria.current_page, last)
    return matching[(number - 1) * size : number * size], len(matching)


def _any(group: Sequence[tuple[str, str, str]], row: Row) -> bool:
    return any(_holds(_value(row, column), condition, value) for column, condition, value in group)


def _value(row: Row, column: str) -> Any:
    if column not in _COLUMNS:
        raise SearchError("Column not found: %1", column=column)
    return row.get(column)


_COLUMNS: Final = frozenset(
    (
        *("entity_id", "increment_id", "store_id", "state", "status", "customer_id"),
        *("created_at", "updated_at", "order_id", "grand_total", "base_grand_total"),
    )
)


def _key(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


def _alike(value: Any, text: str) -> Any:
    """The text as the same kind as the column's value."""
    if isinstance(value, int | float):
        try:
            return float(text)
        except ValueError:
            return 0.0
    return text


_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, other: value == other,
    "neq": lambda value, other: value != other,
    "gt": lambda value, other: value > other,
    "gteq": lambda value, other: value >= other,
    "from": lambda value, other: value >= other,
    "lt": lambda value, other: value < other,
    "lteq": lambda value, other: value <= other,
    "to": lambda value, other: value <= other,
}


def _holds(value: Any, condition: str, text: str) -> bool:
    if condition == "null":
        return value is None
    if condition == "notnull":
        return value is not None
    if condition in ("in", "nin", "finset"):
        among = str(value) in [part.strip() for part in text.split(",")]
        return value is not None and among is (condition != "nin")
    if condition == "like":
        pattern = re.escape(text).replace("%", ".*")
        return value is not None and re.fullmatch(pattern, str(value), re.IGNORECASE) is not None
    if condition not in _COMPARE:
        raise SearchError("The condition %1 does not exist.", condition=condition)
    return value is not None and _COMPARE[condition](value, _alike(value, text))
