"""Markdown in the form that Prefect's UI shows best.

There a line break ends a paragraph, and tables do not wrap.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

#: A table with longer rows would be cut at the right.
_ROW_MAX: Final = 130
#: Lines that do not continue the line before: headings, items, quotes, HTML.
_BEGINS: Final = re.compile(r"\s*([#>|<]|[-*] |\d+\. |$)")
#: The bars between cells; one with a backslash belongs to a cell.
_BARS: Final = re.compile(r"(?<!\\)\|")


def for_prefect_ui(text: str) -> str:
    """The text with each paragraph and item on one line, and wide tables as lists.

    Code stays as it is.
    """
    lines: list[str] = []
    for is_code, part in _parts(text.splitlines()):
        if is_code:
            lines += part
            continue
        for is_table, some in groupby(_joined(part), lambda line: line.startswith("|")):
            group = list(some)
            lines += _table(group) if is_table else group
    return "\n".join(lines) + "\n"


def _parts(lines: Iterable[str]) -> Iterator[tuple[bool, list[str]]]:
    """The lines of code, fences included, and those between."""
    part: list[str] = []
    fence = ""
    for line in lines:
        mark = re.match(r"\s*(```+)", line)
        if mark and not fence:
            yield False, part
            part, fence = [line], mark[1]
        elif mark and mark[1] == fence:
            yield True, [*part, line]
            part, fence = [], ""
        else:
            part.append(line)
    yield bool(fence), part


def _joined(lines: Iterable[str]) -> Iterator[str]:
    before = ""
    for line in lines:
        goes_on = before.strip() and not before.lstrip().startswith(("#", "|", "<"))
        if goes_on and not _BEGINS.match(line):
            before = f"{before} {line.strip()}"
            continue
        yield before
        before = line
    yield before


def _table(rows: list[str]) -> list[str]:
    if max(map(len, rows)) <= _ROW_MAX or len(rows) < 3:
        return rows
    head, _, *body = [
        [cell.strip() for cell in _BARS.split(row.strip().strip("|"))] for row in rows
    ]
    return [_item(head, cells) for cells in body]


def _item(head: list[str], cells: list[str]) -> str:
    if len(head) == 2:  # needs no names for its columns
        return f"- {cells[0]}: {cells[1]}"
    rest = [
        f"{name}: {cell}" if name else cell
        for name, cell in zip(head[1:], cells[1:], strict=False)
        if cell
    ]
    return f"- {cells[0]}. {'; '.join(rest)}" if rest else f"- {cells[0]}"
