"""Tables for people and JSON for programs, from the same dataclasses."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

# `_typeshed` exists for type checkers only.
if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def print_json(value: Any) -> None:
    """One JSON document on stdout; times in ISO 8601, anything else unknown as text."""
    json.dump(value, sys.stdout, indent=2, default=_plain, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(title: str, rows: Sequence["DataclassInstance"], *, totals: bool = False) -> None:
    """One column per field. `totals` adds a row that sums the integer columns."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_footer=totals and len(rows) > 1,
    )
    names = [field.name for field in dataclasses.fields(rows[0])]
    for position, name in enumerate(names):
        values = [getattr(row, name) for row in rows]
        numeric = any(_is_number(v) for v in values)
        footer = (
            _show(sum(v for v in values if _is_number(v)))
            if numeric
            else ("total" if position == 0 else "")
        )
        table.add_column(
            name.replace("_", " "),
            footer=footer,
            justify="right" if numeric else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(name, getattr(row, name)) for name in names))
    # Captured output has no width, and rich would fold the table at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


def _cell(column: str, value: Any) -> str:
    """A value as text; a system is spelled like its block, its deployment and its commands."""
    from connectors.kit.errors import block_name

    return block_name(value) if column == "system" and isinstance(value, str) else _show(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:,}".replace(",", "\u202f") if _is_number(value) else str(value)


def say(message: str) -> None:
    """Progress for people, on stderr, so that stdout stays the answer."""
    print(message, file=sys.stderr, flush=True)
