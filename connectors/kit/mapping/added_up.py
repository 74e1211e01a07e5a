"""Amounts in a list added up: a field mapping such as `/refunds/*/amount`."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, Final

import polars as pl

from connectors.kit.errors import Misconfigured
from connectors.kit.mapping.notation import NUMBER, rewritten
from connectors.kit.mapping.parse import plain_number
from connectors.kit.mapping.pointers import EACH, segments
from connectors.kit.spec.fields import Field, Notation

_TEXT: Final = "text"


def added_up(system: str, name: str, field: Field) -> Field:
    """The field, its values added up where its path goes through a list (`*`).

    Raises:
        Misconfigured: If it is no amount: nothing else can be added up.
    """
    if not any(EACH in segments(path) for path in field.paths):
        return field
    if field.kind != "money":
        detail = f'the path of "{name}" goes through a list (*): only amounts can be added up'
        raise Misconfigured(system, "mapping", detail)
    return replace(field, pick=partial(_sum, notation=field.notation))


def _sum(values: Any, *, notation: Notation) -> str | None:
    """The sum as text in the same notation, exactly; None where the list has no amount.

    Raises:
        ValueError, TypeError: If one of them is no amount.
    """
    amounts = [
        _amount(value, notation) for value in _flat(values) if value is not None and value != ""
    ]
    if not amounts:
        return None
    total = format(sum(amounts, Decimal(0)), "f")
    return total.replace(".", ",") if notation == "comma" else total


def _flat(values: Any) -> Iterator[Any]:
    if not isinstance(values, list):
        yield values
        return
    for value in values:
        yield from _flat(value)


def _amount(value: Any, notation: Notation) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("it is no amount")
    text = str(value).strip()
    if text.startswith(NUMBER):
        text = text.removeprefix(NUMBER)
    elif notation not in ("plain", "minor"):
        text = rewritten(pl.DataFrame({_TEXT: [text]}), {_TEXT: notation}, "")[_TEXT][0]
    plain = plain_number(text)
    if plain is None:
        raise ValueError("it is no amount")
    return Decimal(plain)
