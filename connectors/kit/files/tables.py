"""Files that people and programs export, read to records.

Formats: CSV, JSON, one JSON document per line, Parquet.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import msgspec
import polars as pl

from connectors.kit.files.csv_text import Names, NoHeaderError, TableRow, decoded, table_rows
from connectors.kit.files.folder import LISTING, LISTING_KEY
from connectors.kit.files.row_groups import Grouping, Layout, Row
from connectors.kit.mapping.ids import content_digest
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, path_and_reason
from connectors.kit.spec.records import Broken, Place, Records

#: Rows of one file; a small Parquet file can hold very many.
ROWS_LIMIT: Final = 1_000_000
#: From here on a double cannot hold every whole number.
_EXACT_FLOATS: Final = 2**53
#: What a file that cannot be read is called instead of a row.
WHOLE: Final = "file"


@dataclass(frozen=True)
class Table:
    """How files are read."""

    #: Of text files without a byte order mark.
    encoding: str = "utf-8"
    #: Of CSV files; "": the one that divides the header into the mapped columns.
    delimiter: str = ""
    #: Pointer to the list in a JSON file; "": the file is the list, a document, or has it in /data.
    records: str = ""
    #: How the rows of a table are documents.
    layout: Layout = field(default_factory=Layout)
    #: As in `Decoder`.
    fraction: Callable[[str], str] = str

    def problem(self, body: bytes) -> str | None:
        """Why a file cannot be read at all; None where it can.

        A file that only another field mapping could read has no problem either.
        """
        try:
            for _ in self._rows(body):
                pass
        except NoHeaderError:
            return None
        except ValueError as error:
            return f"it cannot be read: {error}"
        return None

    def read(self, kind: Any, body: bytes, page_id: int) -> Records:
        """The records of a file, numbered by the line or place at which they begin.

        In a table the header is line 1.

        Number 0 is the file itself, where it cannot be read. Nothing is raised: what cannot be read
        is `Broken`.
        """
        records = Records([], [], [], [])
        if body.startswith(LISTING):
            for number, refused in enumerate(json.loads(body)[LISTING_KEY]["refused"], start=1):
                name = refused["file"]
                records.broken.append(
                    Broken(page_id, number, f"/{name}", refused["reason"], row_key=of_file(name))
                )
            return records
        try:
            rows = list(self._rows(body))
        except ValueError as error:
            reason = f"this file cannot be read: {error}"
            records.broken.append(Broken(page_id, 0, "/", reason, row_key=WHOLE))
            return records
        for number, value in rows:
            if isinstance(value, Broken):
                records.broken.append(replace(value, page_id=page_id))
                continue
            try:
                records.items.append(msgspec.convert(value, kind))
                records.numbers.append(number)
                records.page_ids.append(page_id)
            except UNREADABLE as error:
                row_key = f"row {content_digest(value if isinstance(value, dict) else {'': value})}"
                records.broken.append(
                    Broken(page_id, number, *path_and_reason(error), row_key=row_key)
                )
        return records

    def places(self, body: bytes) -> list[Place]:
        """The rows of a file as they stand in it; empty where it cannot be read."""
        try:
            return [
                Place(
                    row.number,
                    content_digest(row.cells),
                    content_digest(row.cells, self._of_id.__contains__),
                )
                for row in self._raw_rows(body)
            ]
        except ValueError:
            return []

    @cached_property
    def _of_id(self) -> frozenset[str]:
        return frozenset(segments(path)[0] for path in self.layout.key)

    def _rows(self, body: bytes) -> Iterator[Row]:
        """Records with their numbers; a row that is none is `Broken`.

        Raises:
            ValueError: If the file is not one that can be read.
        """
        if not _is_table(text := self._text(body)):
            return self._json(text or "")
        return Grouping(self.layout).documents(self._raw_rows(body, text))

    def _raw_rows(self, body: bytes, text: str | None = None) -> Iterator[TableRow]:
        """Rows as they stand in the file, not yet put together to documents."""
        text = self._text(body) if text is None else text
        if not _is_table(text):
            rows: Iterable[TableRow] = (
                TableRow(
                    number,
                    value if isinstance(value, dict) else {"": getattr(value, "row_key", value)},
                )
                for number, value in self._json(text or "")
            )
        elif text is None:
            cells = _parquet(body, self.fraction, self._names)
            rows = (TableRow(number, row) for number, row in enumerate(cells, start=1))
        else:
            rows = table_rows(text, self.delimiter, self._names)
        for row in rows:
            if row.number > ROWS_LIMIT:
                raise ValueError(f"it has more than {ROWS_LIMIT} rows")
            yield row

    def _text(self, body: bytes) -> str | None:
        """The text of a file; None if it is Parquet."""
        if body.startswith(b"PAR1"):
            return None
        if body.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
            raise ValueError("it is a spreadsheet or an archive; save it as CSV (UTF-8)")
        return decoded(body, self.encoding)

    @cached_property
    def _names(self) -> Names:
        fields = (*self.layout.facts.values(), *self.layout.lines.values(), self.layout.key)
        names = frozenset(
            path[0] for paths in fields for path in map(segments, paths) if len(path) == 1
        )
        return Names(
            names, tuple(segments(path)[0] for path in self.layout.key), self.layout.joined
        )

    def _json(self, text: str) -> Iterator[Row]:
        if not text.strip():
            return iter(())
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


def of_file(name: str) -> str:
    """The row key of a file that cannot be read at all."""
    return f"{name}: {WHOLE}"


def _is_table(text: str | None) -> bool:
    """Whether a file is a table, whose rows are to be put together; a JSON document is whole."""
    start = "" if text is None else text.lstrip()[:1]
    return text is None or (start != "" and start not in "{[")


def _by_line(text: str, fraction: Callable[[str], str]) -> Iterator[Row]:
    rows: list[Row] = []
    # Not splitlines: JSON texts may hold other line separators (U+2028, U+0085) as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = Decoder(Any, fraction).decode(line)
            except UNREADABLE:
                row_key = f"row {content_digest({'': line})}"
                value = Broken(0, number, "/", "is no JSON", row_key=row_key)
            rows.append((number, value))
    if not any(isinstance(value, dict) for _, value in rows):
        raise ValueError("it is neither JSON nor one JSON document per line (cut off?)")
    return iter(rows)


def _parquet(body: bytes, fraction: Callable[[str], str], names: Names) -> Iterator[dict[str, Any]]:
    try:
        rows = pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item()
        if rows > ROWS_LIMIT:
            raise ValueError(f"it has more than {ROWS_LIMIT} rows")
        frame = pl.read_parquet(io.BytesIO(body))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"it is no whole Parquet file ({type(error).__name__})") from None
    frame.columns = names.columns(frame.columns)
    return (_plain(row, fraction) for row in frame.iter_rows(named=True))


def _plain(value: Any, fraction: Callable[[str], str]) -> Any:
    """A Parquet value as JSON would have it.

    Numbers with a fraction become exact text, and bytes that are UTF-8 become text.
    """
    match value:
        case dict():
            return {str(name): _plain(below, fraction) for name, below in value.items()}
        case list():
            return [_plain(below, fraction) for below in value]
        case bytes():
            return _text_of(value)
        case float() | Decimal():
            return _number_of(value, fraction)
        case datetime() | date() | time():
            return value.isoformat()
    return str(value) if isinstance(value, timedelta) else value


def _number_of(value: float | Decimal, fraction: Callable[[str], str]) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        # Whole numbers are floats in a column in which some are missing. A number so large that a
        # float cannot tell it from the next one is written with an exponent, and refused as an id.
        return int(value) if abs(value) < _EXACT_FLOATS else f"{value:e}"
    is_nan = value != value  # noqa: PLR0124
    return None if is_nan else fraction(format(Decimal(str(value)), "f"))


def _text_of(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
