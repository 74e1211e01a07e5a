"""Finds the line of a file of rules on which a key is written.

TOML's own parser names lines of broken syntax only.

A best effort for people: a key that is not found has the line of what it is in, and nothing depends
on it.
"""

import re
from collections.abc import Iterable, Mapping

#: A table, [a.b] or [[a]], and a key at the beginning of a line; keys of inline tables stand on the
#: line of the outer one.
_TABLE = re.compile(r"\s*\[{1,2}([^\[\]\"']+)\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[A-Za-z0-9_.-]+)\s*=")
#: A path in the file; a promotion is ("promotion", its number).
Path = tuple[str, ...]


def lines_of(text: str) -> dict[Path, int]:
    """The line (from 1) of every table and key."""
    lines: dict[Path, int] = {}
    table: Path = ()
    promotions = 0
    for number, line in enumerate(text.split("\n"), 1):
        header = _TABLE.match(line)
        if header:
            names = [part.strip() for part in header[1].split(".")]
            promotions += line.lstrip().startswith("[[promotion")
            table = (
                ("promotion", str(promotions), *names[1:])
                if names[0] == "promotion"
                else tuple(names)
            )
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *key[1].strip("\"'").split(".")), number)
    return lines


def located(problems: Iterable[str], text: str, promotions: Mapping[str, int]) -> list[str]:
    """The problems in the order of the file, each with its line.

    Args:
        problems: `key: what`; the key begins with `program`, or with how a promotion is called.
        text: The file.
        promotions: The number of each promotion by how it is called.
    """
    lines = lines_of(text)
    placed = [(_line(problem, lines, promotions), problem) for problem in problems]
    placed.sort(key=lambda entry: entry[0])
    return [f"line {line}: {problem}" if line else problem for line, problem in placed]


def _line(problem: str, lines: Mapping[Path, int], promotions: Mapping[str, int]) -> int:
    path = _path(problem, promotions)
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def _path(problem: str, promotions: Mapping[str, int]) -> Path:
    for end in (match.start() for match in re.finditer("[.:]", problem)):
        if number := promotions.get(problem[:end]):
            key = problem[end:].split(":", 1)[0].strip(".")
            return ("promotion", str(number), *key.split("."))
    return tuple(problem.split(":", 1)[0].split("."))
