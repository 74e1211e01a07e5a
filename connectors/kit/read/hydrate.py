"""Completes documents of which a list says too little, and lists inside documents.

What is missing is asked for by the document's id, before the page is stored.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from connectors.kit.errors import UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, error_code, unexpected
from connectors.kit.read.look_up import all_pages
from connectors.kit.spec import ById, ConnectorSpec, PageRequest, Rest, Stream
from connectors.kit.webhooks.bodies import list_page, raw_at, raw_list

#: Statuses that say that there is no such document.
UNKNOWN: Final = (404, 410)
_WHOLE: Final = Decoder(Any)
_ENTRIES: Final = Decoder(dict[str, msgspec.Raw])


def completed(
    spec: ConnectorSpec, stream: Stream, client: Client, body: bytes, ids: Sequence[Any]
) -> bytes:
    """The page, completed by what the answers about its documents add.

    Every value stays byte for byte as received.

    Where the list and a document's own answer both have a value, that of the answer counts. A
    document that the vendor no longer has stays as the list had it. An answer that is a list holds
    the document's lines.

    Args:
        spec: The billing system.
        stream: The list; its `by_id` asks for one document at a time.
        client: See `open_client`.
        body: A page, read before.
        ids: The vendor's ids of its records, in their order; None where a record has none.

    Raises:
        ConnectorError: As `extract`; also where the documents of one page are larger together than
            an answer may be.
    """
    if stream.by_id is None:
        raise ValueError(f"{stream.name} has no documents by id")
    records = raw_list(raw_at(body, segments(stream.records)) or b"[]")
    by_id = stream.by_id
    document_ids = list(ids)
    if by_id.named:
        document_ids = [_named(by_id, _opened(record)) for record in records]
    document_ids = [None if key is None else str(key) for key in document_ids]
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
                    records[at] = _merged(records[at], document, by_id.under)
        finally:
            for future in running.values():
                future.cancel()
    return list_page(stream.records, records)


def _named(by_id: ById, record: Any) -> Any:
    """The id by which a record's document is asked for; None where it names none."""
    candidates = (dig(record, segments(pointer)) for pointer in by_id.named)
    return next((vendor_id for vendor_id in candidates if vendor_id), None)


def _opened(record: bytes) -> Any:
    """A record's JSON; None where it is none, which is said when the page is mapped."""
    try:
        return _WHOLE.decode(record)
    except UNREADABLE:
        return None


def rest_completed(spec: ConnectorSpec, stream: Stream, client: Client, body: bytes) -> bytes:
    """The page, with the lists inside its records whole (`Stream.rest`).

    Entries stay byte for byte as received. Where the vendor no longer has a document, its record
    stays as it is.

    Raises:
        ConnectorError: As `extract`.
    """
    if not stream.rest:
        return body
    records = raw_list(raw_at(body, segments(stream.records)) or b"[]")
    values = [_opened(record) for record in records]
    lacking = [
        (at, rest, str(dig(value, segments(rest.owner))))
        for at, value in enumerate(values)
        for rest in stream.rest
        if _lacks(dig(value, segments(rest.when)))
    ]
    if not lacking:
        return body
    size = len(body)
    with ThreadPoolExecutor(spec.rate.concurrency, thread_name_prefix=f"{spec.name}-rest") as pool:
        running = [pool.submit(_whole_list, spec, rest, client, key) for _, rest, key in lacking]
        try:
            for (at, rest, _), future in zip(lacking, running, strict=True):
                entries = future.result()
                size += len(entries or b"")
                if size > spec.body_bytes_limit:
                    raise UnexpectedShape(
                        spec.name, stream.name, "the lists of one page are too large together"
                    )
                if entries is not None:
                    records[at] = _put(records[at], segments(rest.at), entries)
        finally:
            for future in running:
                future.cancel()
    return list_page(stream.records, records)


def _lacks(flag: Any) -> bool:
    return flag not in (None, False, "", 0, "0")


def _whole_list(spec: ConnectorSpec, rest: Rest, client: Client, owner: str) -> bytes | None:
    """The JSON of all entries of a list; None where the vendor does not know the document."""
    entries: list[bytes] = []
    known = False
    for request in rest.lookup.requests(client.account, [owner]):
        for page in all_pages(spec, rest.lookup, client, request, forgiving=True):
            known = True
            entries += raw_list(raw_at(page.body, segments(rest.lookup.records)) or b"[]")
    return b"[" + b",".join(entries) + b"]" if known else None


def _put(record: bytes, parts: Sequence[str], value: bytes) -> bytes:
    """The record with another value at a pointer's parts; objects on the way are made."""
    if not parts:
        return value
    entries = _ENTRIES.decode(record) if record.startswith(b"{") else {}
    inner = bytes(entries.get(parts[0], b"{}")).strip()
    return msgspec.json.encode({**entries, parts[0]: msgspec.Raw(_put(inner, parts[1:], value))})


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
        if error.status in UNKNOWN:
            return None
        raise


def _with_lines(stream: Stream, document: bytes) -> bytes:
    """The document; where the answer is a list of lines, a document that has only those."""
    if document.startswith(b"{") or stream.lines is None:
        return document
    return list_page(stream.lines.path, raw_list(document))


def _merged(listed: bytes, document: bytes, under: str) -> bytes:
    added = {under: msgspec.Raw(document)} if under else _ENTRIES.decode(document)
    return msgspec.json.encode({**_ENTRIES.decode(listed), **added})
