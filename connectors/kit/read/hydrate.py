"""Completes documents of which a list says too little.

Each is asked for by its id, before the page is stored.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from connectors.kit.errors import UnexpectedShape, UnknownDocument
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.parse import instants
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, error_code, plan_for, unexpected
from connectors.kit.read.raw_records import ENTRIES, opened_record, raw_records
from connectors.kit.spec import Account, ById, ConnectorSpec, PageRequest, Stream
from connectors.kit.webhooks.bodies import list_page, raw_at, raw_list

#: Statuses that say that there is no such document.
UNKNOWN: Final = (404, 410)
_WHOLE: Final = Decoder(Any)


def completed(
    spec: ConnectorSpec,
    stream: Stream,
    client: Client,
    body: bytes,
    ids: Sequence[Any],
    since: datetime | None = None,
) -> bytes:
    """The page, completed by what the answers about its documents add.

    Every value stays byte for byte as received.

    Where the list and a document's own answer both have a value, that of the answer counts. A
    document that the vendor no longer has stays as the list had it. An answer that is a list holds
    the document's lines. A document that says that it was not changed since then is left out: it
    is outside the window, and is not worth a call.

    Args:
        spec: The billing system.
        stream: The list; its `by_id` asks for one document at a time.
        client: See `open_client`.
        body: A page, read before.
        ids: The vendor's ids of its records, in their order; None where a record has none. Not
            looked at where records name their documents (`ById.named`).
        since: The beginning of the window, UTC; None: there is none.

    Raises:
        ConnectorError: As `extract`; also where the documents of one page are larger together than
            an answer may be.
    """
    if stream.by_id is None:
        raise ValueError(f"{stream.name} has no documents by id")
    records = raw_records(stream, body)
    by_id = stream.by_id
    changed = _changed(spec, stream, client.account, records, since)
    document_ids = list(ids)
    if by_id.named:
        document_ids = [_named(by_id, opened_record(record)) for record in records]
    document_ids = [
        str(key) if key is not None and new else None
        for key, new in zip(document_ids, changed, strict=True)
    ]
    # A list of changes may name a document several times; it is asked for once.
    distinct_ids = list(dict.fromkeys(key for key in document_ids if key is not None))
    requests = by_id.requests(client.account, distinct_ids)
    size = len(body)
    with ThreadPoolExecutor(
        spec.rate.concurrency, thread_name_prefix=f"{spec.name}-complete"
    ) as pool:
        running = {
            vendor_id: pool.submit(_asked, spec, stream, client, request)
            for vendor_id, request in zip(distinct_ids, requests, strict=True)
        }
        try:
            for at, vendor_id in enumerate(document_ids):
                document = running[vendor_id].result() if vendor_id is not None else None
                size += len(document or b"")
                if size > spec.body_bytes_limit:
                    raise UnexpectedShape(
                        spec.name, stream.name, "the documents of one page are too large together"
                    )
                if document is not None:
                    document = _with_lines(stream, document)
                    records[at] = _merged(by_id, records[at], document)
        finally:
            for future in running.values():
                future.cancel()
    kept = records if all(changed) else [records[at] for at, new in enumerate(changed) if new]
    return list_page(stream.records, kept)


def _named(by_id: ById, record: Any) -> Any:
    """The id by which a record's document is asked for; None where it names none."""
    candidates = (dig(record, segments(pointer)) for pointer in by_id.named)
    return next((vendor_id for vendor_id in candidates if vendor_id), None)


def _changed(
    spec: ConnectorSpec,
    stream: Stream,
    account: Account,
    records: Sequence[bytes],
    since: datetime | None,
) -> list[bool]:
    """Which records of a page may have been changed since then: all that do not say otherwise.

    Only the first path of the time of change counts: the others stand in for it, as the time of
    creation does.
    """
    source = plan_for(spec, stream, account).fields["updated_at"]
    is_plain = (source.kind, source.notation) == ("instant", "plain")
    if since is None or source is not stream.fields["updated_at"] or not is_plain:
        return [True] * len(records)
    place = segments(source.paths[0])
    written = [_text(raw_at(record, place)) for record in records]
    column = pl.Series("updated_at", written, dtype=pl.String)
    times = instants(column, source.zone or account.timezone, whole_days=False)
    return [time is None or time >= since for time in times]


def _text(raw: bytes | None) -> str | None:
    """The text of a JSON value; None where it is none."""
    try:
        value = _WHOLE.decode(raw) if raw is not None else None
    except UNREADABLE:
        return None
    return value if isinstance(value, str) else None


def _asked(
    spec: ConnectorSpec, stream: Stream, client: Client, request: PageRequest
) -> bytes | None:
    """The JSON of one document; None where the vendor no longer has it."""

    def read(_: PageRequest, answer: Answer) -> bytes:
        try:
            whole = _WHOLE.decode(answer.body)
        except UNREADABLE:
            raise unexpected(spec, stream.name, "", answer.body) from None
        if isinstance(whole, dict) and error_code(spec, whole):
            raise unexpected(spec, stream.name, "", answer.body)
        for pointer in stream.by_id.single if stream.by_id else ():
            raw = raw_at(answer.body, segments(pointer))
            if raw is not None and raw.startswith((b"{", b"[")):
                return raw
        raise UnexpectedShape(spec.name, stream.name, "no document in the answer")

    try:
        return send_with_retry(client, request, stream.name, read)[1]
    except UnexpectedShape as error:
        if is_unknown(error):
            return None
        raise


def is_unknown(error: UnexpectedShape) -> bool:
    """Whether the error says that the vendor does not have the document that was asked for."""
    return isinstance(error, UnknownDocument) or error.status in UNKNOWN


def _with_lines(stream: Stream, document: bytes) -> bytes:
    """The document; where the answer is a list of lines, a document that has only those."""
    if document.startswith(b"{") or stream.lines is None:
        return document
    return list_page(stream.lines.path, raw_list(document))


def _merged(by_id: ById, listed: bytes, document: bytes) -> bytes:
    """A record with its document."""
    record = ENTRIES.decode(listed)
    if by_id.under:
        return msgspec.json.encode({**record, by_id.under: msgspec.Raw(document)})
    if by_id.named:  # a record that names another document: that one takes its place
        naming = {segments(pointer)[0] for pointer in by_id.named}
        record = {name: value for name, value in record.items() if name in naming}
    return msgspec.json.encode({**record, **ENTRIES.decode(document)})
