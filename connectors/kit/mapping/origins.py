"""Where in a record each of its fields was found, for people who correct a mapping."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connectors.kit.mapping.gather import flat_lines
from connectors.kit.mapping.pointers import Shape
from connectors.kit.mapping.reader import Plan, values
from connectors.kit.spec.fields import Field


def origins(plan: Plan, item: Any) -> dict[str, str]:
    """The path that each field of a decoded record came from; those of its first line as `lines.X`.

    A field of several parts has all of them, and so has one that is computed. What no path holds,
    and what is the same for all records, is left out.
    """
    found = _found(plan.record, plan.fields, item)
    line_shape = plan.nested or plan.line
    if plan.lines is None or line_shape is None:
        return found
    lines, _ = flat_lines(plan, [item])
    of_line = _found(line_shape, plan.lines.fields, lines[0]) if lines else {}
    return found | {f"lines.{name}": path for name, path in of_line.items()}


def _found(shape: Shape, fields: Mapping[str, Field], item: Any) -> dict[str, str]:
    return {name: path for name, source in fields.items() if (path := _origin(shape, source, item))}


def _origin(shape: Shape, source: Field, item: Any) -> str | None:
    holding = [path for path in source.paths if _holds(shape, source, path, item)]
    if not holding:
        return None
    if source.joined or source.expr is not None:
        return " + ".join(holding)
    return holding[0]


def _holds(shape: Shape, source: Field, path: str, item: Any) -> bool:
    alone = replace(source, paths=(path,), joined=False)
    return values(shape, alone, [item], {})[0] not in (None, "")
