"""Files that people and programs export, to records: CSV, JSON, one JSON document per line, Parquet."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import polars as pl

from connectors.kit.folder import LISTING, LISTING_KEY
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, Broken, Records, blame

#: Rows of one file; a small Parquet file can hold very many.
ROWS_LIMIT: Final = 1_000_000
_DELIMITERS: Final = ";,\t|"
#: What Excel reads the delimiter from.
_SEPARATOR: Final = re.compile(r'\s*"?sep=([;,\t|])"?[ ]*(?:\r\n|\r|\n)', re.IGNORECASE)
Row = tuple[int, Any]


@dataclass(frozen=True)
class _Ragged:
    """A row that does not fit the header, with the cells as far as they go."""

    cells: Mapping[str, str]
    reason: str


@dataclass(frozen=True)
class Table:
    """How files are read.

    `records` is the pointer to the list in a JSON file ("": the file is the list, a document, or has it in /data).
    `key` are pointers to a row's document, `total` those to its total (empty: rows may differ), `lines` is where the
    rows of a document are put, unless they have a list of their own there, or at one of `also` (Parquet). `fraction` as in `Decoder`.
    """

    encoding: str = "utf-8"
    delimiter: str = ""
    records: str = ""
    key: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    lines: str = "/lines"
    also: tuple[str, ...] = ()
    fraction: Callable[[str], str] = str

    def problem(self, body: bytes) -> str | None:
        """Why a file cannot be read at all, None where it can."""
        try:
            for _ in self._rows(body):
                pass
        except ValueError as error:
            return f"it cannot be read: {error}"
        return None

    def read(self, kind: Any, body: bytes, page_id: int) -> Records:
        """The records of a file, numbered by the line (of a table, the header is 1) or place they begin at."""
        found = Records([], [], [], [])
        if body.startswith(LISTING):
            for number, refused in enumerate(json.loads(body)[LISTING_KEY]["refused"]):
                found.broken.append(Broken(page_id, number, f"/{refused['file']}", refused["reason"]))
            return found
        try:
            rows = list(self._rows(body))
        except ValueError as error:
            found.broken.append(Broken(page_id, 0, "/", f"this file cannot be read: {error}"))
            return found
        for number, value in rows:
            if isinstance(value, Broken):
                found.broken.append(Broken(page_id, number, value.path, value.reason))
                continue
            try:
                found.items.append(msgspec.convert(value, kind))
                found.numbers.append(number)
                found.page_ids.append(page_id)
            except UNREADABLE as error:
                found.broken.append(Broken(page_id, number, *blame(error)))
        return found

    def _rows(self, body: bytes) -> Iterator[Row]:
        """Records with their numbers; a row that is none is `Broken`.

        Raises:
            ValueError: If the file is not one that can be read.
        """
        if body.startswith(b"PAR1"):
            rows: Iterable[Row] = enumerate(_parquet(body, self.fraction), start=1)
            return self._grouped(rows)
        if body.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
            raise ValueError("it is a spreadsheet or an archive; save it as CSV (UTF-8)")
        try:
            text = body.decode(self.encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            raise ValueError(f"it is not written in {self.encoding}; choose another encoding in the block") from None
        if not text.strip():
            return iter(())
        if text.lstrip()[0] in "{[":
            return self._json(text)
        return self._grouped(_csv(text, self.delimiter))

    def _json(self, text: str) -> Iterator[Row]:
        try:
            value = Decoder(Any, self.fraction).decode(text)
        except UNREADABLE:
            return _by_line(text, self.fraction)
        at = dig(value, segments(self.records or "/data"))
        if isinstance(value, dict) and isinstance(at, list):
            value = at
        elif self.records:
            raise ValueError(f"there is no list at {self.records}")
        return iter(enumerate(value if isinstance(value, list) else [value], start=1))

    def _grouped(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Rows of one document put together, wherever they are: the first is the document, all of them are its lines."""
        documents: dict[Any, list[Row]] = {}
        for number, row in rows:
            if number > ROWS_LIMIT:
                raise ValueError(f"it has more than {ROWS_LIMIT} rows")
            if not isinstance(row, _Ragged) and self._has_lines(row):
                documents[(number,)] = [(number, row)]
                continue
            key = _first(row.cells if isinstance(row, _Ragged) else row, self.key)
            documents.setdefault((number,) if key is None else key, []).append((number, row))
        return (self._document(group) for group in documents.values())

    def _document(self, group: Sequence[Row]) -> Row:
        for number, row in group:  # a document of which a row cannot be read is not read in part
            if isinstance(row, _Ragged):
                return number, Broken(0, number, "/", row.reason)
        number, first = group[0]
        totals = {_first(row, (path,)) for path in self.total for _, row in group} - {None}
        if self.total and len(totals) > 1 and len(group) > 1:
            reason = 'its rows have different totals; if they are those of the lines, choose totals "sum of the lines"'
            return number, Broken(0, number, " or ".join(self.total), reason)
        if self._has_lines(first):
            return number, first
        *above, last = segments(self.lines)
        place: dict[str, Any] = dict(first)
        document = place
        for part in above:
            place[part] = {}
            place = place[part]
        place[last] = [row for _, row in group]
        return number, document

    def _has_lines(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is a whole document, as in a JSON file."""
        return any(isinstance(dig(row, segments(path)), list) for path in (self.lines, *self.also))


def _first(row: Mapping[str, Any], paths: Sequence[str]) -> str | None:
    for path in paths:
        value = dig(row, segments(path))
        if value is not None and str(value).strip():
            return str(value).strip()
    return None


def _csv(text: str, delimiter: str) -> Iterator[Row]:
    said = _SEPARATOR.match(text)
    if said is not None:  # a line for Excel
        delimiter, text = delimiter or said[1], text[said.end() :]
    skipped = max(1, said[0].count("\n")) if said is not None else 0
    head = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter or max(_DELIMITERS, key=head.count), strict=True
    )
    header: list[str] = []
    try:
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells)
            elif len(cells) != len(header):
                reason = f"has {len(cells)} columns, and the header has {len(header)}"
                yield lines.line_num + skipped, _Ragged(dict(zip(header, cells, strict=False)), reason)
            else:
                yield lines.line_num + skipped, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"line {lines.line_num + skipped}: {error}") from None


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"two columns have the same name: {', '.join(twice)[:80]}")
    return names


def _by_line(text: str, fraction: Callable[[str], str]) -> Iterator[Row]:
    rows: list[Row] = []
    # Not splitlines: JSON texts may hold other line separators (U+2028, U+0085) as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = Decoder(Any, fraction).decode(line)
            except UNREADABLE:
                value = Broken(0, number, "/", "is no JSON")
            rows.append((number, value))
    if not any(isinstance(value, dict) for _, value in rows):
        raise ValueError("it is neither JSON nor one JSON document per line (cut off?)")
    return iter(rows)


def _parquet(body: bytes, fraction: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    try:
        rows = pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item()
        if rows > ROWS_LIMIT:
            raise ValueError(f"it has more than {ROWS_LIMIT} rows")
        frame = pl.read_parquet(io.BytesIO(body))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"it is no whole Parquet file ({type(error).__name__})") from None
    return (_plain(row, fraction) for row in frame.iter_rows(named=True))


def _plain(value: Any, fraction: Callable[[str], str]) -> Any:
    """Values as JSON has them; numbers with a fraction as exact text."""
    if isinstance(value, dict):
        return {str(name): _plain(below, fraction) for name, below in value.items()}
    if isinstance(value, list):
        return [_plain(below, fraction) for below in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a column of whole numbers in which some are missing
    if isinstance(value, float | Decimal):
        return fraction(format(Decimal(str(value)), "f")) if value == value else None  # noqa: PLR0124  NaN
    return value.isoformat() if isinstance(value, datetime | date) else value
