"""Xero's `where` and `order`: Type=="ACCREC" AND Date>=DateTime(2026,01,01), and "UpdatedDateUTC ASC"."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

Accessor = Callable[[Any], Any]
Row = TypeVar("Row")
_CONDITION = re.compile(
    r"\s*([\w.]+)\s*(==|=|!=|<>|>=|<=|>|<)\s*"
    r'(?:"([^"]*)"|DateTime\(([\d,\s]+)\)|Guid\("([^"]+)"\)|(true|false)|(-?[\d.]+)|(null))\s*',
    re.IGNORECASE,
)
_AND = re.compile(r"\s+AND\s+|\s*&&\s*", re.IGNORECASE)
_OR = re.compile(r"\s+OR\s+|\s*\|\|\s*", re.IGNORECASE)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": lambda a, b: bool(a == b),
    "=": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<>": lambda a, b: bool(a != b),
    ">=": lambda a, b: a is not None and bool(a >= b),
    "<=": lambda a, b: a is not None and bool(a <= b),
    ">": lambda a, b: a is not None and bool(a > b),
    "<": lambda a, b: a is not None and bool(a < b),
}


class WhereError(Exception):
    """The expression cannot be parsed."""


def filtered(rows: Sequence[Row], where: str, accessors: Mapping[str, Accessor]) -> list[Row]:
    """Rows that meet the expression; an empty one keeps all.

    Raises:
        WhereError: If it cannot be parsed.
    """
    if not where.strip():
        return list(rows)
    alternatives = [
        [_condition(part, accessors) for part in _AND.split(side)] for side in _OR.split(where)
    ]
    return [row for row in rows if any(all(test(row) for test in tests) for tests in alternatives)]


def _condition(text: str, accessors: Mapping[str, Accessor]) -> Callable[[Any], bool]:
    match = _CONDITION.fullmatch(
        text.strip().removeprefix("(").removesuffix(")") if text.strip().startswith("(") else text
    )
    if match is None or match[1] not in accessors:
        raise WhereError(f"Cannot parse {text!r}")
    read, compare = accessors[match[1]], _COMPARE[match[2]]
    value = _literal(match)

    def test(row: object) -> bool:
        try:
            return compare(read(row), value)
        except TypeError:
            raise WhereError(f"Operator {match[2]} does not fit {match[1]}") from None

    return test


def _literal(match: re.Match[str]) -> object:
    text, moment, guid, flag, amount, _null = match.groups()[2:]
    if moment is not None:
        try:
            return datetime(*map(int, moment.split(",")), tzinfo=UTC)  # type: ignore[arg-type, misc]
        except (TypeError, ValueError):
            raise WhereError(f"DateTime({moment}) is no date") from None
    if flag is not None:
        return flag.lower() == "true"
    if amount is not None:
        return Decimal(amount)
    return text if text is not None else guid.lower() if guid else None


def ordered(rows: list[Row], order: str, accessors: Mapping[str, Accessor]) -> list[Row]:
    """Rows in the asked order; ties keep theirs.

    Raises:
        WhereError: If a field does not exist.
    """
    for part in reversed([piece.split() for piece in order.split(",") if piece.strip()]):
        if part[0] not in accessors:
            raise WhereError(f"No property or field {part[0]!r} exists")
        rows = sorted(
            rows,
            key=accessors[part[0]],
            reverse=len(part) > 1 and part[1].upper().startswith("DESC"),
        )
    return rows
