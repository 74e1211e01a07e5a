"""Tables in text files, as programs export them.

Finds out the encoding, the delimiter and the header, and yields the rows below it.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from connectors.kit.mapping.ids import SPACES, UNSEEN

#: How many rows from the beginning of a file are searched for the header.
HEADER_ROWS: Final = 100
#: How much of a file is searched for it.
_HEAD_CHARACTERS: Final = 256 * 1024
_DELIMITERS: Final = ";,\t|"
#: The line above a table from which Excel reads the delimiter, e.g. `sep=;`.
_SEPARATOR: Final = re.compile(r'\s*"?sep=([;,\t|])"?[ ]*(?:\r\n|\r|\n)', re.IGNORECASE)
#: Longer ones first: the mark of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Encodings in which any bytes are text. A file that is valid UTF-8 as well was hardly written in
#: one of them.
_ONE_BYTE: Final = re.compile(r"cp\d+|iso8859-\d+|latin-?1|mac-.*")


class TableRow(NamedTuple):
    """One row: its number in the file, its cells by column, and why it cannot be read.

    `refusal` is "" where it can be read.
    """

    #: The line in the file at which it ends; the header is line 1 where nothing stands above it.
    number: int
    cells: Mapping[str, object]
    refusal: str = ""


class NoHeaderError(ValueError):
    """No row names the columns that the block maps.

    With another field mapping a header may be found.
    """


def decoded(body: bytes, encoding: str) -> str:
    """The text of a file. A byte order mark says more than the setting.

    Raises:
        ValueError: If it is written in another encoding.
    """
    marked = next((name for mark, name in _MARKS if body.startswith(mark)), None)
    try:
        if marked is None and _ONE_BYTE.fullmatch(encoding) and not body.isascii():
            try:
                return body.decode("utf-8")
            except UnicodeDecodeError:
                pass
        return body.decode(marked or _without_mark(body) or encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        expected = marked or encoding
        raise ValueError(
            f"it is not written in {expected}; choose another encoding in the block"
        ) from None


def _without_mark(body: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of the first characters is zero."""
    head = body[:200]
    if len(head) < 4 or b"\x00" not in head:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if min(even, odd) > len(head) // 20 or max(even, odd) < len(head) // 4:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def canonical(name: str) -> str:
    """A column's name, however its letters and spaces are written."""
    plain = unicodedata.normalize("NFC", UNSEEN.sub("", name))
    return SPACES.sub(" ", plain).strip().rstrip(":").casefold()


@dataclass(frozen=True)
class Names:
    """The columns that a block maps, and those among them that make the id."""

    #: All columns that the block maps.
    mapped: frozenset[str]
    #: Those among them that hold the id.
    key: tuple[str, ...]
    #: Whether the id is made of all of them; else of the first that holds something.
    joined: bool = False

    @cached_property
    def _canonical(self) -> dict[str, str]:
        return {canonical(name): name for name in sorted(self.mapped)}

    def score(self, cells: Sequence[str]) -> int:
        """How many mapped columns a row names; 0 if those of the id are not among them."""
        named = {
            self._canonical[name] for cell in cells if (name := canonical(cell)) in self._canonical
        }
        keys = [key in named for key in self.key]
        return len(named) if (all(keys) if self.joined else any(keys)) else 0

    def columns(self, cells: Sequence[str]) -> list[str]:
        """Names for the columns of a header.

        A column that the block maps gets the block's spelling. Of a name that comes twice, the
        later ones get a number, unless the block maps it.

        Raises:
            ValueError: If a mapped column is there twice.
        """
        headings = [SPACES.sub(" ", UNSEEN.sub("", cell)).strip() for cell in cells]
        exact = {name for name in headings if name in self.mapped}
        twice = sorted(name for name in exact if headings.count(name) > 1)
        columns: list[str] = []
        for name in headings:
            mapped = name if name in exact else self._canonical.get(canonical(name), "")
            if mapped and name not in exact and mapped in columns and mapped not in exact:
                twice.append(mapped)
            columns.append(mapped if name in exact or (mapped and mapped not in exact) else name)
        if twice:
            raise ValueError(
                "two columns have the same name, and the block maps it: "
                f"{', '.join(dict.fromkeys(twice))[:80]}"
            )
        seen: set[str] = set()
        return [_once(name, seen) for name in columns]

    def to_text(self) -> str:
        """The columns of the id, in words for an operator."""
        return (" and " if self.joined else " or ").join(f'"{name}"' for name in self.key)


def _once(name: str, seen: set[str]) -> str:
    free = (
        name
        if name not in seen
        else next(f"{name} ({n})" for n in range(2, 10_000) if f"{name} ({n})" not in seen)
    )
    seen.add(free)
    return free


@dataclass(frozen=True)
class _Header:
    """A row that may be the header of the table."""

    lines_above: int
    delimiter: str
    cells: list[str]
    #: How many of the mapped columns it names.
    score: int


def table_rows(text: str, delimiter: str, names: Names) -> Iterator[TableRow]:
    """The rows of a table below its header, blank rows and repeats of the header left out.

    Numbers are those of the file's lines: the header is 1 where nothing stands above it.

    Raises:
        NoHeaderError: If no row among the first names the id's columns.
        ValueError: If the file is no table.
    """
    skipped = 0
    excel_line = _SEPARATOR.match(text)
    if excel_line is not None:  # a line for Excel
        delimiter, text = delimiter or excel_line[1], text[excel_line.end() :]
        skipped = max(1, excel_line[0].count("\n"))
    if not text.strip():
        return
    header = _find_header(text, delimiter, names)
    lines = io.StringIO(text, newline="")
    for _ in range(header.lines_above):
        lines.readline()
    yield from _below_header(lines, header.delimiter, skipped + header.lines_above, names)


def _find_header(text: str, delimiter: str, names: Names) -> _Header:
    """The row among the first that names most of the mapped columns.

    Raises:
        NoHeaderError: If none names the columns of the id.
    """
    head = text[:_HEAD_CHARACTERS]
    candidates = delimiter or _DELIMITERS
    # Line by line only if that fails: a title may have a quote that never ends.
    for records in (_by_record, _by_line):
        headers = [
            _Header(line, mark, cells, names.score(cells))
            for mark in candidates
            for line, cells in records(head, mark)
        ]
        best = max(headers, key=lambda header: (header.score, -header.lines_above), default=None)
        if best is not None and best.score:
            return best
    raise NoHeaderError(
        f"none of its first {HEADER_ROWS} rows has the column {names.to_text()}, in which ids are "
        "looked for, so its "
        'header was not found: name the column as external_id under "Field mapping", or choose the '
        "delimiter"
    )


def _by_record(head: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(lines above it, cells) of the first rows, where a quoted cell may span lines."""
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    before = 0
    try:
        for number, cells in enumerate(reader):
            if number >= HEADER_ROWS:
                return
            yield before, cells
            before = reader.line_num
    except csv.Error:
        return


def _by_line(head: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The same, every line taken for a row."""
    for number, line in enumerate(io.StringIO(head, newline="")):
        if number >= HEADER_ROWS:
            return
        try:
            yield number, next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue


def _below_header(
    lines: io.StringIO, delimiter: str, skipped: int, names: Names
) -> Iterator[TableRow]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    unended = not lines.getvalue().endswith(("\n", "\r"))
    waiting: tuple[int, list[str]] | None = None
    try:
        first = next(reader)
        columns = names.columns(first)
        for cells in reader:
            if not any(map(str.strip, cells)) or _repeats(cells, first):
                continue
            if waiting is not None:
                yield _row(*waiting, columns)
            waiting = reader.line_num + skipped, cells
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num + skipped}: {error}") from None
    if waiting is not None:
        yield _last(*waiting, columns, names) if unended else _row(*waiting, columns)


def _repeats(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row is the header once more, as on every page of a printed list."""
    if cells[0] != header[0] or len(cells) < len(header):
        return False
    return all(cell == name or not cell.strip() for cell, name in zip(cells, header, strict=False))


def _row(number: int, cells: list[str], columns: list[str]) -> TableRow:
    if len(cells) == len(columns):
        return TableRow(number, dict(zip(columns, cells, strict=True)))
    surplus = cells[len(columns) :]
    if any(map(str.strip, surplus)):
        reason = f"has {len(cells)} columns, and the header has {len(columns)}"
        more = {f"+{place}": cell for place, cell in enumerate(surplus, start=1)}
        return TableRow(number, dict(zip(columns, cells, strict=False)) | more, reason)
    return TableRow(number, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)))


def _last(number: int, cells: list[str], columns: list[str], names: Names) -> TableRow:
    """The last row of a file that does not end with a line break.

    Where a mapped column is missing in it as well, the file was cut off.
    """
    row = _row(number, cells, columns)
    lost = [name for name in columns[len(cells) :] if name in names.mapped]
    if lost and len(cells) > 1 and not row.refusal:
        return row._replace(
            refusal=f'ends before the column "{lost[0]}": the file seems to be cut off'
        )
    return row
