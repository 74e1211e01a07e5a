"""Opens a page: which records it holds, or why it is no page.

Where one record is malformed, the page is read record by record.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import msgspec

from connectors.kit.errors import ConnectorError, Misconfigured, UnexpectedShape
from connectors.kit.mapping.added_up import added_up
from connectors.kit.mapping.ids import content_digest, joined_id
from connectors.kit.mapping.joined import DETAILS, JOINED, Joined, joined_by
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.notation import NUMBER
from connectors.kit.mapping.parse import NOT_TEXT
from connectors.kit.mapping.pointers import EACH, Column, Shape, dig, joined_paths, segments, shape
from connectors.kit.mapping.shown import what_is_there
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    Deleted,
    Lines,
    MissingIsEmpty,
    PageView,
    Stream,
)
from connectors.kit.spec.fields import REFERENCES, Field, FieldKind, order_reference
from connectors.kit.spec.records import Broken, Records
from loyalty.schema import EXACT, INVOICE, LINE, UTC_US

_ANY = Decoder(Any)
#: How deep an answer without its list is searched for another one.
_DEPTH = 3
#: Fields that may be made of several of the vendor's, as an id of series and number.
JOINABLE = ("external_id", "invoice_number", "customer_external_id", "item_external_id", "sku")
#: What decoding may raise, whatever is sent.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


#: By `pick` and path: for each value, as sent, what `pick` made of it.
Picked = dict[tuple[Any, str], dict[bytes, str | None]]


@dataclass(frozen=True, eq=False)
class Opener:
    """Decoders of one kind of page."""

    #: A whole page, with decoded records.
    page: Decoder
    #: A whole page, with records as bytes, for pages of which one record is malformed.
    raw: Decoder
    #: One record.
    record: Decoder
    #: The list of records in a page of each kind.
    list_of: Column
    raw_list_of: Column
    #: The values beside the list.
    info: Mapping[str, Column]
    #: Whether an answer without its list, which is at the top, is an empty one. Then no object may
    #: stand beside it, or anything would be.
    alone: bool = False
    #: Whether an answer without its list is an empty one where its count is 0, and only there.
    counted: bool = False


def opener(
    record: Any,
    records: str,
    info: Mapping[str, str],
    *,
    missing_is_empty: MissingIsEmpty,
    fraction: Callable[[str], str] = str,
) -> Opener:
    """Decoders for pages with the list `records` of this record type and values beside it.

    `fraction` is as in `Decoder`.
    """
    parts = segments(records)
    if not parts:  # the page is the list itself, with nothing beside it
        raw_list = Decoder(list[msgspec.Raw])
        return Opener(
            Decoder(list[record], fraction), raw_list, Decoder(record, fraction), list, list, {}
        )
    may_be_null = missing_is_empty == "null"
    required = "/" + "/".join(parts[:-1] if missing_is_empty and not may_be_null else parts)
    required = "" if required == "/" or missing_is_empty == "whatever is missing" else required
    typed = shape(info.values(), {records: record}, required=required, may_be_null=may_be_null)
    raw = shape(info.values(), {records: msgspec.Raw}, required=required, may_be_null=may_be_null)
    return Opener(
        Decoder(typed.type, fraction),
        Decoder(raw.type),
        Decoder(record, fraction),
        typed.columns[records],
        raw.columns[records],
        {name: typed.columns[pointer] for name, pointer in info.items()},
        alone=missing_is_empty is True and len(parts) == 1,
        counted=missing_is_empty == "count is 0",
    )


def read(
    spec: ConnectorSpec,
    operation: str,
    records: str,
    opened: Opener,
    body: bytes,
    *,
    page_id: int = 0,
) -> Records:
    """The records of a page.

    Raises:
        ConnectorError: UnexpectedShape, or what the vendor's error code in the body means.
    """
    try:
        page = opened.page.decode(body)
    except UNREADABLE:
        return _one_by_one(spec, operation, records, opened, body, page_id)
    listed = opened.list_of([page])[0]
    items = listed or []
    info = {name: column([page])[0] for name, column in opened.info.items()}
    if not items:
        if listed is None and opened.counted:
            is_empty = str(info.get("count")) == "0" and not error_code(spec, _ANY.decode(body))
        else:
            other = opened.alone and _holds_objects(records, body)
            is_empty = not other and not _is_no_empty_list(spec, records, body)
        if not is_empty:
            raise unexpected(spec, operation, records, body)
    return Records(items, list(range(len(items))), [page_id] * len(items), [], info)


def _is_no_empty_list(spec: ConnectorSpec, records: str, body: bytes) -> bool:
    """Whether an answer without records is an error, or has another list in their place.

    Then it is no empty page: it answers another question.
    """
    whole, parts = _ANY.decode(body), segments(records)
    if error_code(spec, whole) is not None:
        return True
    beside = dig(whole, parts[:-1]) if parts else None
    if beside is None:  # the JSON ends on the way to the list
        return _holds_records(whole, _DEPTH)
    if not isinstance(beside, dict) or parts[-1] in beside:
        return False
    return any(
        (isinstance(value, list) and value) or _holds_records(value, _DEPTH)
        for value in beside.values()
    )


def _holds_objects(records: str, body: bytes) -> bool:
    """Whether an answer without its list has an object in it: it answers another question."""
    whole = _ANY.decode(body)
    if not isinstance(whole, dict) or segments(records)[0] in whole:
        return False
    return any(isinstance(value, dict) and value for value in whole.values())


def _holds_records(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and any(_holds_records(below, depth - 1) for below in value.values())
    return isinstance(value, list) and any(isinstance(entry, dict) for entry in value)


def _one_by_one(
    spec: ConnectorSpec, operation: str, records: str, opened: Opener, body: bytes, page_id: int
) -> Records:
    """As `read`, decoding each record alone; malformed ones are `Broken`."""
    try:
        page = opened.raw.decode(body)
    except UNREADABLE as error:
        raise unexpected(spec, operation, records, body) from error
    page_records = Records(
        [], [], [], [], {name: column([page])[0] for name, column in opened.info.items()}
    )
    for number, raw in enumerate(opened.raw_list_of([page])[0] or []):
        try:
            page_records.items.append(opened.record.decode(raw))
            page_records.numbers.append(number)
            page_records.page_ids.append(page_id)
        except UNREADABLE as error:
            row_key = f"row {content_digest({'': bytes(raw)})}"
            page_records.broken.append(
                Broken(page_id, number, *path_and_reason(error), row_key=row_key)
            )
    return page_records


def path_and_reason(error: Exception) -> tuple[str, str]:
    """Path and reason out of a message of msgspec, which holds no values.

    An example is "Expected `object`, got `str` - at `$.Contact`".
    """
    match = re.fullmatch(r"(.*?)(?: - at `\$(.*)`)?", str(error), re.DOTALL)
    if isinstance(error, RecursionError) or match is None:
        return "/", "nested too deeply"
    path = re.sub(r"\.|\[|\]\.?", "/", match[2] or "").rstrip("/").replace("...", "*")
    return path or "/", match[1].replace("`", "").replace(" | null", "")


def error_code(spec: ConnectorSpec, value: Any) -> str | None:
    """The vendor's error code in an answer's JSON; None where there is none.

    It is never a text, which may quote our data.
    """
    try:
        code = spec.fault(value)
    except (LookupError, TypeError, AttributeError):
        return None
    if code is None:
        return None
    return code if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", code) else "unknown"


def unexpected(spec: ConnectorSpec, operation: str, records: str, body: bytes) -> ConnectorError:
    """The error for a body that holds no list of records, saying what it holds."""
    kind: type[ConnectorError] = UnexpectedShape
    start = body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start:
        detail = "the answer is empty"
    elif start == b"<":
        detail = "the answer is an HTML or XML page, not JSON"
    else:
        try:
            whole = _ANY.decode(body)
        except UNREADABLE:
            detail = "the answer is not valid JSON (cut off?)"
        else:
            code = error_code(spec, whole)
            kind = spec.errors.get(code, spec.error_answer) if code else spec.no_list
            detail = f"an error answer, code {code}" if code else _no_list(records, whole)
    error = kind(spec.name, operation, detail)
    if isinstance(error, UnexpectedShape):
        error.body = body
    return error


def _no_list(records: str, whole: Any) -> str:
    where = f"at {records}" if records else "(a JSON array was expected)"
    in_its_place = what_is_there(whole, records)
    return f"no list of records {where}" + (f": {in_its_place}" if in_its_place else "")


@dataclass(frozen=True, eq=False)
class Plan:
    """How one stream is read for one account.

    Holds its fields with the operator's paths, and the decoders.
    """

    fields: Mapping[str, Field]
    helpers: Mapping[str, Field]
    lines: Lines | None
    #: The types of a record, of a line, and of a line inside a line.
    record: Shape
    line: Shape | None
    nested: Shape | None
    #: The decoders of a page.
    opened: Opener
    #: Puts in the lines that the list leaves out.
    joined: Joined | None = None
    #: Whether a phone number that a document lacks is looked up at its customer.
    looks_up: bool = False

    def open(
        self, spec: ConnectorSpec, stream: Stream, pages: Iterable[tuple[int, bytes]]
    ) -> Iterator[Records]:
        """The records of pages, which are given with their ids, page by page.

        Raises:
            ConnectorError: As `read`.
        """
        for page_id, body in pages:
            yield self._page(spec, stream, page_id, body)

    def _page(self, spec: ConnectorSpec, stream: Stream, page_id: int, body: bytes) -> Records:
        if stream.reads is not None:
            page_records = stream.reads(self.record.type, body, page_id)
        else:
            page_records = read(
                spec, stream.name, stream.records, self.opened, body, page_id=page_id
            )
        if self.joined is not None:
            try:
                self.joined.put(page_records.items, body)
            except UNREADABLE as error:
                raise unexpected(spec, stream.name, f"/{DETAILS}", body) from error
        return page_records


def plan_for(spec: ConnectorSpec, stream: Stream, account: Account) -> Plan:
    """The plan; it is cached per stream and set of overridden paths.

    Raises:
        Misconfigured: If an overridden path names an unknown field or is no path.
    """
    return _plan(spec, stream, account.system, tuple(sorted(account.paths.items())))


@lru_cache(maxsize=256)
def _plan(
    spec: ConnectorSpec, stream: Stream, system: str, paths: tuple[tuple[str, str], ...]
) -> Plan:
    chosen = _overrides(spec, stream, system, dict(paths))
    # An operator may say where references are, whether or not the system passes any on.
    asked = {name: order_reference() for name in REFERENCES if name in chosen}
    fields, helpers = (
        {
            name: added_up(system, name, _override(name, field, chosen.get(name)))
            for name, field in of.items()
        }
        for of in ({**asked, **stream.fields}, stream.helpers)
    )
    looks_up = any(lookup.name == "customers" for lookup in spec.lookups)
    pointers, raw = _pointers(stream, (*fields.values(), *helpers.values()))
    _require_other_lists(system, stream, pointers + raw)
    if stream.lines is None:
        record = shape(pointers, raw=raw)
        opened = opener(
            record.type, stream.records, stream.info, missing_is_empty=stream.missing_is_empty
        )
        return Plan(fields, helpers, None, record, None, None, opened, looks_up=looks_up)
    line_fields = {
        name: added_up(system, f"lines.{name}", _override(name, field, chosen.get(f"lines.{name}")))
        for name, field in stream.lines.fields.items()
    }
    lines = replace(stream.lines, fields=line_fields)
    line_pointers, line_raw = _pointers(stream, line_fields.values())
    details = stream.details
    if details is not None:
        pointers.append(details.record)
        line_pointers.extend(details.owner)
    in_lines = {
        pointer: inside for pointer in (*pointers, *raw) if (inside := _inside(lines, pointer))
    }
    pointers, raw = (
        [pointer for pointer in listed if pointer not in in_lines] for listed in (pointers, raw)
    )
    outer_pointers = [*line_pointers, *(rest for _, _, rest in in_lines.values())]
    inner = shape(line_pointers if lines.nested else outer_pointers, raw=line_raw)
    line = (
        shape(outer_pointers, {lines.nested: inner.type}, raw=line_raw) if lines.nested else inner
    )
    beside = {JOINED: line.type} if details else {}
    record = shape(
        pointers, {**dict.fromkeys((lines.path, *lines.also), line.type), **beside}, raw=raw
    )
    of_lines = {
        pointer: partial(_of_line, record.columns[place], at, line.columns[rest])
        for pointer, (place, at, rest) in in_lines.items()
    }
    record = Shape(record.type, {**record.columns, **of_lines})
    fraction = (
        marked if has_marks((*fields.values(), *helpers.values(), *line_fields.values())) else str
    )
    opened = opener(
        record.type,
        stream.records,
        stream.info,
        missing_is_empty=stream.missing_is_empty,
        fraction=fraction,
    )
    joined = joined_by(details, record, line) if details else None
    return Plan(fields, helpers, lines, record, line, inner, opened, joined, looks_up)


def _inside(lines: Lines, pointer: str) -> tuple[str, int, str] | None:
    """Where a field of the document is in one of its lines: the list, which line, the rest.

    Lines are decoded as what is read of lines, so such a field must be a part of that.
    """
    for place in (lines.path, *lines.also):
        at, _, rest = pointer.removeprefix(f"{place}/").partition("/")
        if pointer.startswith(f"{place}/") and at.isdigit() and rest:
            return place, int(at), f"/{rest}"
    return None


def _of_line(listed: Column, at: int, value: Column, items: Sequence[Any]) -> list[Any]:
    """Record by record, a value of the line at that place; None where there is no such line."""
    found = [lines[at] if lines and len(lines) > at else None for lines in listed(items)]
    return [None if line is None else value([line])[0] for line in found]


def _require_other_lists(system: str, stream: Stream, pointers: Iterable[str]) -> None:
    """Refuses to add up a field of the product lines, which are decoded separately."""
    places = (stream.lines.path, *stream.lines.also) if stream.lines else ()
    if any(pointer.startswith(f"{place}/{EACH}/") for pointer in pointers for place in places):
        detail = 'the product lines cannot be added up by a path: choose totals "sum of the lines"'
        raise Misconfigured(system, "mapping", detail)


def has_marks(fields: Iterable[Field]) -> bool:
    """Whether JSON numbers must be told from texts.

    With decimal commas a point in a text means thousands, in a number it does not.
    """
    return any(field.notation == "comma" for field in fields)


def marked(number: str) -> str:
    """A number with a fraction, as `unmarked` knows it."""
    return NUMBER + number


def _override(name: str, source: Field, path: str | None) -> Field:
    """The field, read from another path.

    A field that was computed, or the same for all records, is then read as what its column holds.
    """
    if path is None or source.paths == joined_paths(path):
        return source
    kind = _kind(name) if source.kind in ("computed", "constant") else source.kind
    paths = joined_paths(path)
    return replace(source, kind=kind, paths=paths, joined=len(paths) > 1, pick=None, expr=None)


def _kind(name: str) -> FieldKind:
    held = INVOICE.get(name) or LINE.get(name)
    if name.endswith("_minor"):
        return "money"
    if held == EXACT:
        return "decimal"
    return "instant" if held == UTC_US else "text"


def _overrides(
    spec: ConnectorSpec, stream: Stream, system: str, paths: Mapping[str, str]
) -> dict[str, str]:
    names = {listed.name: _names(listed) for listed in spec.streams}
    chosen: dict[str, str] = {}
    for key, path in sorted(paths.items(), key=lambda item: item[0].partition(".")[0] in names):
        of_stream, _, rest = key.partition(".")
        name = rest if of_stream in names else key
        allowed = names[of_stream] if of_stream in names else frozenset().union(*names.values())
        if name not in allowed:
            raise Misconfigured(
                system, "mapping", f'there is no field "{key}" whose path could be set'
            )
        parts = joined_paths(path)
        if len(parts) > 1 and name.rpartition(".")[2] not in JOINABLE:
            detail = (
                f'the path of "{key}" names several fields with " + ": that makes ids and numbers '
                "only"
            )
            raise Misconfigured(system, "mapping", detail)
        try:
            for part in parts:
                segments(part)
        except ValueError as error:
            raise Misconfigured(
                system, "mapping", f'the path of "{key}" must start with a slash'
            ) from error
        if of_stream == stream.name or of_stream not in names:
            chosen[name] = path
    return chosen


def _names(stream: Stream) -> frozenset[str]:
    lines = stream.lines.fields if stream.lines else {}
    # (A list of deletions has no fields.)
    own = {*stream.fields, *(REFERENCES if stream.fields else ())}
    return frozenset({*own, *stream.helpers, *(f"lines.{name}" for name in lines)})


def view(spec: ConnectorSpec, stream: Stream, body: bytes) -> PageView:
    """What paging needs to know of a page: the count, the numbers beside the list, and the ids.

    This costs a fraction of mapping the page.

    Raises:
        ConnectorError: As `read`.
    """
    if stream.deleted is not None and not stream.row_id:
        deleted = read_deleted(spec, stream, body)
        whole = _ANY.decode(body) if stream.info else None
        info = {name: dig(whole, segments(pointer)) for name, pointer in stream.info.items()}
        return PageView(
            deleted.record_count, info, deleted.external_ids if stream.census else deleted.listed
        )
    record, opened = _viewer(stream)
    # Files have no ids to compare: two of them may well hold the same documents.
    if stream.reads is not None:
        return PageView(stream.reads(record.type, body, 0).count)
    records = read(spec, stream.name, stream.records, opened, body)
    ids = _ids(record, stream, records.items)
    versions = _first(record, _version(stream), records.items) if _version(stream) else ()
    return PageView(records.count, records.info, ids, versions=versions)


def read_deleted(spec: ConnectorSpec, stream: Stream, body: bytes) -> Deleted:
    """What a page of a stream with `deleted` holds.

    Raises:
        ConnectorError: As `read`.
    """
    if stream.deleted is None:
        raise ValueError(f"{stream.name} does not list deletions")
    try:
        return stream.deleted(_ANY.decode(body))
    except (*UNREADABLE, LookupError, TypeError, AttributeError) as error:
        raise unexpected(spec, stream.name, stream.records, body) from error


def _row_id(stream: Stream) -> Sequence[str]:
    return stream.row_id or stream.fields["external_id"].paths


def _version(stream: Stream) -> Sequence[str]:
    """The paths of the time of change, in lists whose records move; else none."""
    return (
        stream.fields["updated_at"].paths
        if stream.shrinks and "updated_at" in stream.fields
        else ()
    )


@lru_cache(maxsize=64)
def _viewer(stream: Stream) -> tuple[Shape, Opener]:
    record = shape(dict.fromkeys((*_row_id(stream), *_version(stream))))
    return record, opener(
        record.type, stream.records, stream.info, missing_is_empty=stream.missing_is_empty
    )


def _ids(record: Shape, stream: Stream, items: Sequence[Any]) -> list[Any]:
    paths = _row_id(stream)
    if not stream.row_id and stream.fields["external_id"].joined:
        return _all_of([record.columns[path](items) for path in paths])
    return _first(record, paths, items)


def _first(record: Shape, paths: Sequence[str], items: Sequence[Any]) -> list[Any]:
    """Record by record, the value of the first path that has one."""
    columns = [record.columns[path](items) for path in paths]
    if len(columns) == 1:
        return columns[0]
    return [
        next((v for v in values if v is not None), None) for values in zip(*columns, strict=True)
    ]


def _all_of(columns: Sequence[Sequence[Any]]) -> list[str | None]:
    """Row by row one id of the values of all columns."""
    return [joined_id(_part(value) for value in row) for row in zip(*columns, strict=True)]


def _part(value: Any) -> str | None:
    if isinstance(value, str):
        return value.removeprefix(NUMBER)
    return str(value) if value.__class__ is int else None


def values(record: Shape, source: Field, items: Sequence[Any], picked: Picked) -> list[Any]:
    """A field's values, record by record; None without a path.

    A value is the first of the field's paths that holds something, after `pick`, or all of them
    joined.

    `picked` is what was picked before, by path and value as sent: equal values (a customer's
    phones, on all of its invoices) are decoded once. It is added to.
    """
    if source.joined:
        return _all_of([record.columns[path](items) for path in source.paths])
    column_values: list[Any] = [None] * len(items)
    for number, path in enumerate(source.paths):
        if number and None not in column_values and "" not in column_values:
            break
        column = record.columns[path](items)
        if source.pick is not None:
            column = _picked(source.pick, column, picked.setdefault((source.pick, path), {}))
        if number == 0:
            column_values = column
        else:
            pairs = zip(column_values, column, strict=True)
            column_values = [b if a is None or a == "" else a for a, b in pairs]
    return column_values


def _picked(
    pick: Callable[[Any], str | None], column: Sequence[Any], picked: dict[bytes, str | None]
) -> list[str | None]:
    if not any(value.__class__ is msgspec.Raw for value in column):
        return [_text_of(pick, value) for value in column]
    sent = (
        column if None not in column else [b"null" if value is None else value for value in column]
    )
    keys = list(map(bytes, sent))
    for key in set(keys).difference(picked):
        try:
            picked[key] = _text_of(pick, _ANY.decode(key))
        except UNREADABLE:  # it was not decoded with its record, so it costs this value alone
            picked[key] = NOT_TEXT
    return list(map(picked.__getitem__, keys))


def _text_of(pick: Callable[[Any], str | None], value: Any) -> str | None:
    """What `pick` makes of a value.

    A value of another kind than the vendor used to send is unusable, and no error.
    """
    if not value:
        return None
    try:
        return pick(value)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return NOT_TEXT


def _pointers(stream: Stream, fields: Iterable[Field]) -> tuple[list[str], list[str]]:
    """Two lists of paths: those of values used as they are, and those that go through a `pick`.

    Pages that are no JSON have none of the second kind.
    """
    plain: list[str] = []
    raw: list[str] = []
    for source in fields:
        (plain if source.pick is None or stream.reads is not None else raw).extend(source.paths)
    return plain, raw
