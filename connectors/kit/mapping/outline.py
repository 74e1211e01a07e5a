"""What fields a vendor's records have, mapped or not.

Paths and JSON types are taken from a few records of some pages; a value is never kept.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from connectors.kit.mapping.joined import DETAILS
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import shape
from connectors.kit.mapping.reader import UNREADABLE, plan_for
from connectors.kit.mapping.shown import KEYS_MAX, NAME
from connectors.kit.spec import Account, ConnectorSpec, Lookup, Stream

#: Limits: records of a page that are looked at; depth of a path and its length in characters,
#: elements of an array, fields of a record.
RECORDS_OF_PAGE: Final = 10
_DEPTH, _PATH_LENGTH, _ELEMENTS, _FIELDS = 8, 200, 10, 400
#: Bytes of a text file that are looked at; other files are looked at only if they have no more than
#: the second number.
_FILE_HEAD, _FILE_WHOLE = 64 * 1024, 2 * 1024 * 1024
#: The JSON types, in the words of operators.
_TYPES: Final[Mapping[type, str]] = {
    str: "text", int: "number", float: "number", bool: "yes or no", dict: "object", list: "list",
}  # fmt: skip
_WHOLE: Final = Decoder(Any)
_GENERIC: Final = Decoder(Any, float)
_ENTRIES: Final = Decoder(dict[str, msgspec.Raw])
#: Path and JSON type.
Field = tuple[str, str]


@dataclass
class Outline:
    """The fields of one list.

    `fields` counts in how many of the `records` looked at each (path, type) occurred.
    """

    records: int = 0
    fields: Counter[Field] = field(default_factory=Counter)

    def add(self, prefix: str, record: Any) -> None:
        """Counts the fields of one record, whose paths get the prefix."""
        self.records += 1
        fields: set[Field] = set()
        _walk(record, prefix, 0, fields)
        fields.discard((prefix, "object"))
        self.fields.update(fields)


class Watch:
    """Looks at some pages of every list in one run: at all of the first, at ever fewer later."""

    def __init__(self, spec: ConnectorSpec, account: Account) -> None:
        self._spec, self._account = spec, account
        self._pages: Counter[str] = Counter()
        self.outlines: dict[str, Outline] = {}

    def look(self, stream: Stream, read: Callable[[], bytes]) -> None:
        """Looks at a page of a list, or passes it over.

        A page that cannot be read is left out: the mapping reports it.

        Args:
            stream: The list.
            read: Gives the page's body; called only if the page is looked at.
        """
        if stream.deleted is not None or not self._due(stream.name):
            return
        body = read()
        if stream.reads is not None:
            self._file(stream, body)
            return
        prefix, watched = f"{stream.records}/*", _records(stream.records, body)
        if stream.by_id is not None and stream.by_id.under:
            # What a list of changes says beside its documents is another thing for each change.
            under = stream.by_id.under
            prefix, watched = f"{prefix}/{under}", _inner(under, watched)
        self._records(stream.name, prefix, watched)
        if stream.details is not None:
            records = stream.details.lookup.records
            answers = _answers(records, body)
            self._records(
                lines_of(stream.name),
                f"{records}/*",
                [line for answer in answers for line in answer],
            )

    def look_up(self, lookup: Lookup, body: bytes) -> None:
        """Looks at a page of customers or items, or passes it over."""
        if self._due(lookup.name):
            self._records(lookup.name, f"{lookup.records}/*", _records(lookup.records, body))

    def _due(self, name: str) -> bool:
        number = self._pages[name]
        self._pages[name] += 1
        return number < 10 or (number < 100 and number % 10 == 0) or number % 100 == 0

    def _records(self, name: str, prefix: str, records: Sequence[msgspec.Raw]) -> None:
        for raw in _some(records):
            try:
                record = _GENERIC.decode(raw)
            except UNREADABLE:
                continue
            self.outlines.setdefault(name, Outline()).add(prefix, record)

    def _file(self, stream: Stream, body: bytes) -> None:
        """Of a table the columns; the rows that are put together as lines have the same ones."""
        place = f"{stream.lines.path}/*" if stream.lines else ""
        outline = self.outlines.setdefault(stream.name, Outline())
        for record in _some(_rows(stream, body)):
            row = Outline()
            row.add("", record)
            columns = {path for path, _ in row.fields}
            twice = {
                path
                for path in columns
                if path.startswith(f"{place}/") and path.removeprefix(place) in columns
            }
            outline.records += 1
            outline.fields.update(
                field_type for field_type in row.fields if field_type[0] not in twice
            )


def lines_of(stream: str) -> str:
    """The name for the list of a stream's lines, where they are asked for separately."""
    return f"{stream}: lines"


def read_as(spec: ConnectorSpec, account: Account) -> dict[str, dict[str, str]]:
    """Which paths the mapping reads, per list, with the fields they are read as.

    Raises:
        Misconfigured: If an overridden path is not one.
    """
    read_paths: dict[str, dict[str, str]] = {}
    for stream in spec.streams:
        if stream.deleted is not None:
            continue
        plan = plan_for(spec, stream, account)
        prefix = "" if stream.reads is not None else f"{stream.records}/*"
        paths = _paths(prefix, {**plan.fields, **plan.helpers}, "")
        if plan.lines is not None:
            places = [f"{prefix}{path}/*" for path in (plan.lines.path, *plan.lines.also)]
            places += [f"{place}{plan.lines.nested}/*" for place in places if plan.lines.nested]
            places += [prefix] if stream.reads is not None else []
            for place in places:
                paths = _paths(place, plan.lines.fields, "lines.") | paths
        read_paths[stream.name] = paths
        if stream.details is not None and plan.lines is not None:
            place = f"{stream.details.lookup.records}/*"
            owner = {place + path: "the line's document" for path in stream.details.owner}
            read_paths[lines_of(stream.name)] = owner | _paths(place, plan.lines.fields, "lines.")
    for lookup in spec.lookups:
        read_paths[lookup.name] = _paths(f"{lookup.records}/*", lookup.fields, "")
    return read_paths


def _paths(prefix: str, fields: Mapping[str, Any], label: str) -> dict[str, str]:
    named = (
        (prefix + re.sub(r"/(\d+|-1)(?=/|$)", "/*", path), label + name)
        for name, source in fields.items()
        for path in source.paths
    )
    return dict(named)


def _walk(value: Any, path: str, depth: int, fields: set[Field]) -> None:
    kind = _TYPES.get(type(value))
    if kind is None or len(fields) >= _FIELDS or len(path) > _PATH_LENGTH:
        return
    fields.add((path, kind))
    if depth >= _DEPTH:
        return
    if kind == "object":
        for key, below in value.items():
            named = len(value) <= KEYS_MAX and NAME.fullmatch(key)
            name = key.replace("~", "~0").replace("/", "~1") if named else "*"
            _walk(below, f"{path}/{name}", depth + 1, fields)
    elif kind == "list":
        for below in value[:_ELEMENTS]:
            _walk(below, f"{path}/*", depth + 1, fields)


def _some(records: Sequence[Any]) -> Iterator[Any]:
    """At most `RECORDS_OF_PAGE` records, spread evenly from the first to the last."""
    if len(records) <= RECORDS_OF_PAGE:
        return iter(records)
    last = len(records) - 1
    return (records[last * number // (RECORDS_OF_PAGE - 1)] for number in range(RECORDS_OF_PAGE))


def _records(pointer: str, body: bytes) -> list[msgspec.Raw]:
    page, column = _page(pointer)
    try:
        return column([page.decode(body)])[0] or []
    except UNREADABLE:
        return []


def _inner(key: str, records: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    """The values at a key of the records that have it."""
    entries: list[dict[str, msgspec.Raw]] = []
    for raw in records:
        try:
            entries.append(_ENTRIES.decode(raw))
        except UNREADABLE:
            continue
    return [record[key] for record in entries if key in record]


def _answers(pointer: str, body: bytes) -> list[list[msgspec.Raw]]:
    page, answers, lines = _page_with_details(pointer)
    try:
        return [records or [] for records in lines(answers([page.decode(body)])[0] or [])]
    except UNREADABLE:
        return []


@lru_cache(maxsize=64)
def _page(pointer: str) -> tuple[Decoder, Any]:
    if not pointer:
        return Decoder(list[msgspec.Raw]), list
    page = shape((), {pointer: msgspec.Raw})
    return Decoder(page.type), page.columns[pointer]


@lru_cache(maxsize=64)
def _page_with_details(pointer: str) -> tuple[Decoder, Any, Any]:
    answer = shape((), {pointer: msgspec.Raw})
    page = shape((), {f"/{DETAILS}": answer.type})
    return Decoder(page.type), page.columns[f"/{DETAILS}"], answer.columns[pointer]


def _rows(stream: Stream, body: bytes) -> list[Any]:
    """The first rows of a text file; files of other kinds are read whole, or not at all."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"[") and not body.startswith(
        (b"PAR1", b"PK")
    )
    if text and len(body) > _FILE_HEAD:
        body = body[: body.rfind(b"\n", 0, _FILE_HEAD) + 1]
    if len(body) > _FILE_WHOLE or stream.reads is None:
        return []
    return stream.reads(dict[str, Any], body, 0).items
