"""Tries the mapping on a pasted sample: shows canonical fields, or which field failed and why.

A sample that cannot be read is an answer, not an error.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import polars as pl

from connectors.kit.mapping.frames import Mapped, assemble
from connectors.kit.mapping.gather import gather
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.origins import origins
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, Plan, error_code, path_and_reason, plan_for
from connectors.kit.mapping.shown import what_is_there
from connectors.kit.spec import Account, ConnectorSpec, Stream
from connectors.kit.spec.records import Broken, Records

#: Leaves numbers with a fraction as they are sent, so that they can be told from texts when the
#: record is read.
_SAMPLE: Final = Decoder(Any, lambda number: msgspec.Raw(number.encode()))
#: A list, and the records that a sample holds of it.
Match = tuple[Stream, list[Any]]
#: Why a record that is read well is left out.
_OTHER_TYPE: Final = "a document of another type than this list takes"
_NOBODY: Final = "a sale to nobody: it names no customer and no phone"
#: The fields by which a record of a list is recognised.
_TELLING = ("external_id", "invoice_number", "customer_external_id", "total_minor", "issued_at")


def try_record(
    spec: ConnectorSpec, stream: Stream | None, account: Account, payload: bytes
) -> list[dict[str, Any]]:
    """Maps a sample.

    It is a whole page of the vendor, one record as the vendor wraps it, or a record alone.

    Args:
        spec: The billing system.
        stream: The list it is from; None: it is recognised by its fields.
        account: For overridden paths, time zone, region and default currency; secrets are not
            used.
        payload: What was pasted.

    Returns:
        One JSON-able dict per record: `stream`, `ok`, `invoice` (canonical columns), `lines`,
        `sources` (the path that each field came from; of the first line as `lines.sku`),
        `problems` (field, path, reason, masked example) and `notes`. A sample that is no invoice
        gives one dict that says so. A document that the list leaves out on purpose is `ok` and has
        `left_out`.

    Raises:
        Misconfigured: If an overridden path is not one.
    """
    files = [
        candidate
        for candidate in ([stream] if stream else spec.streams)
        if candidate.reads is not None
    ]
    return (
        _file(spec, files[0], account, payload) if files else _json(spec, stream, account, payload)
    )


def _json(
    spec: ConnectorSpec, stream: Stream | None, account: Account, payload: bytes
) -> list[dict[str, Any]]:
    try:
        value = _SAMPLE.decode(payload)
    except UNREADABLE:
        return [_refused(None, "/", "this is not valid JSON")]
    code = error_code(spec, value)
    if code:
        return [
            _refused(
                None, "/", f"this is an error answer of {spec.title}, code {code}, not an invoice"
            )
        ]
    streams = [
        candidate
        for candidate in ([stream] if stream else spec.streams)
        if candidate.deleted is None
    ]
    if not streams:
        return [
            _refused(stream, "/", "this list says which documents are gone; it holds no invoices")
        ]
    notes: list[str] = []
    match = _find(streams, value)
    if match is None and spec.key_style is not None:
        match = _find(streams, _restyled(value, spec.key_style))
        notes = [f"keys were read in the spelling of {spec.title}'s API"]
    if match is None:
        places = dict.fromkeys(candidate.records for candidate in streams)
        reasons = "; ".join(
            dict.fromkeys(filter(None, (what_is_there(value, place) for place in places)))
        )
        reason = f"this is not an invoice of {spec.title}: no record at {' or '.join(places)}"
        return [_refused(None, "/", f"{reason}: {reasons}" if reasons else reason)]
    chosen, values = match
    if not values:
        return [_refused(chosen, chosen.records, "the page is right, but holds no records")]
    return _mapped(spec, chosen, account, values, notes)


def _file(
    spec: ConnectorSpec, stream: Stream, account: Account, payload: bytes
) -> list[dict[str, Any]]:
    """A sample that is no JSON: its records with the numbers they have in it."""
    plan = plan_for(spec, stream, account)
    pages = list(plan.open(spec, stream, [(0, payload)]))
    sources = _sources(plan, pages)
    raw = gather(plan, pages)
    numbers = sorted({*raw.places["record_no"], *(broken.record_no for broken in raw.broken)})
    if not numbers:
        return [_refused(stream, "/", "the file is readable, but holds no records")]
    mapped = assemble(stream, plan, account, raw, window=None)
    return [
        _result(spec, stream, mapped, number, [f"row {number}"], sources.get(number, {}))
        for number in numbers
    ]


def _find(streams: list[Stream], value: Any) -> Match | None:
    """The list that a sample is from, and its records; None where it is from none."""
    places = [
        (stream, records)
        for stream in streams
        if (records := _at_its_place(stream, value)) is not None
    ]
    if places:  # several, where lists of one vendor have the same place
        return max(
            places,
            key=lambda place: min((_score(place[0], record) for record in place[1]), default=0),
        )
    bare = value if isinstance(value, list) else [value]
    scores = [
        (min((_score(stream, record) for record in bare), default=0), stream) for stream in streams
    ]
    best = max(scores, key=lambda pair: pair[0], default=None)
    return (best[1], bare) if best is not None and best[0] >= 2 else None


def _at_its_place(stream: Stream, value: Any) -> list[Any] | None:
    """The records at the list's place, or the one record as the vendor wraps it; or None."""
    records = dig(value, segments(stream.records))
    if isinstance(records, list):
        return records
    wrapped = (dig(value, segments(pointer)) for pointer in stream.single)
    return next(
        ([record] for record in wrapped if isinstance(record, dict) and not _is_table(record)), None
    )


def _is_table(value: dict[str, Any]) -> bool:
    """Whether an object holds records by their keys and is none itself."""
    return bool(value) and all(isinstance(entry, dict) for entry in value.values())


def _score(stream: Stream, record: Any) -> int:
    """How much a value looks like a record of this list.

    It is 0 without an id or number, or without a total.
    """
    has = {
        name: any(dig(record, segments(path)) is not None for path in stream.fields[name].paths)
        for name in _TELLING
    }
    is_named = has["external_id"] or has["invoice_number"]
    return sum(has.values()) if is_named and has["total_minor"] else 0


def _restyled(value: Any, style: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {style(key): _restyled(below, style) for key, below in value.items()}
    if isinstance(value, list):
        return [_restyled(below, style) for below in value]
    return value


def _mapped(
    spec: ConnectorSpec, stream: Stream, account: Account, values: list[Any], notes: list[str]
) -> list[dict[str, Any]]:
    plan = plan_for(spec, stream, account)
    records = Records([], [], [], [])
    for number, value in enumerate(values):
        try:
            records.items.append(plan.opened.record.decode(msgspec.json.encode(value)))
            records.numbers.append(number)
            records.page_ids.append(0)
        except UNREADABLE as error:
            records.broken.append(Broken(0, number, *path_and_reason(error)))
    sources = _sources(plan, [records])
    mapped = assemble(stream, plan, account, gather(plan, [records]), window=None)
    return [
        _result(spec, stream, mapped, number, notes, sources.get(number, {}))
        for number in range(len(values))
    ]


def _sources(plan: Plan, pages: Iterable[Records]) -> dict[int, dict[str, str]]:
    """Where the fields of each record were found, by its number."""
    return {
        number: origins(plan, item)
        for page in pages
        for number, item in zip(page.numbers, page.items, strict=True)
    }


def _result(
    spec: ConnectorSpec,
    stream: Stream,
    mapped: Mapped,
    number: int,
    notes: list[str],
    sources: Mapping[str, str],
) -> dict[str, Any]:
    this = pl.col("record_no") == number
    problems = mapped.problems.filter(this).select("field", "path", "reason", "example").to_dicts()
    rows = mapped.invoices.filter(this).drop("page_id", "record_no").to_dicts()
    if not rows and not problems and not mapped.deletions.is_empty():
        return _deletion(stream)
    if not rows and not problems:
        nobodys = mapped.walk_ins.filter(this).height > 0
        return _left_out(stream, _NOBODY if nobodys else _OTHER_TYPE)
    invoice = rows[0] if rows else None
    lines: list[dict[str, Any]] = []
    if invoice is not None:
        key = invoice["external_id"]
        keys = ("system", "account", "external_id")
        lines = (
            mapped.lines.filter(pl.col("external_id").eq_missing(pl.lit(key))).drop(keys).to_dicts()
        )
        notes = [*notes, *mapped.notes.filter(this)["reason"]]
        if invoice["customer_phone"] is None and invoice["customer_external_id"] and spec.lookups:
            notes = [*notes, "the phone number is looked up at the vendor by the customer's number"]
    return {
        "stream": stream.name,
        "ok": not problems,
        "invoice": _plain(invoice),
        "lines": [_plain(line) for line in lines],
        "sources": dict(sources),
        "problems": problems,
        "notes": notes,
    }


def _deletion(stream: Stream) -> dict[str, Any]:
    notes = [
        "this says that a document is deleted: it is voided if it is known, and nothing otherwise"
    ]
    return {
        "stream": stream.name,
        "ok": True,
        "invoice": None,
        "lines": [],
        "problems": [],
        "notes": notes,
    }


def _left_out(stream: Stream, why: str) -> dict[str, Any]:
    """A record that is read well and is none of ours, such as a supplier's bill.

    Nothing is wrong with it.
    """
    notes = [f"left out on purpose: {why}"]
    return {
        "stream": stream.name, "ok": True, "left_out": True, "invoice": None, "lines": [],
        "problems": [], "notes": notes,
    }  # fmt: skip


def _plain(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {name: _scalar(value) for name, value in row.items()}


def _scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value


def _refused(stream: Stream | None, path: str, reason: str) -> dict[str, Any]:
    problem = {"field": "record", "path": path, "reason": reason, "example": None}
    return {
        "stream": stream.name if stream else None,
        "ok": False,
        "invoice": None,
        "lines": [],
        "problems": [problem],
        "notes": [],
    }
