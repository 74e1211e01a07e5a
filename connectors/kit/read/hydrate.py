"""Completes documents of which a list says too little.

Each is asked for by its id, before the page is stored.
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
from connectors.kit.read.look_up import concurrently
from connectors.kit.spec import Beside, ConnectorSpec, Lookup, PageRequest, Stream
from connectors.kit.spec.fields import text
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
    numbered_ids = [
        (at, str(vendor_id)) for at, vendor_id in enumerate(ids) if vendor_id is not None
    ]
    requests = stream.by_id.requests(client.account, [vendor_id for _, vendor_id in numbered_ids])
    size = len(body)
    with ThreadPoolExecutor(
        spec.rate.concurrency, thread_name_prefix=f"{spec.name}-complete"
    ) as pool:
        running = [pool.submit(_asked, spec, stream, client, request) for request in requests]
        try:
            for (at, _), future in zip(numbered_ids, running, strict=True):
                document = future.result()
                size += len(document or b"")
                if size > spec.body_bytes_limit:
                    raise UnexpectedShape(
                        spec.name, stream.name, "the documents of one page are too large together"
                    )
                if document is not None:
                    records[at] = _merged(records[at], _with_lines(stream, document))
        finally:
            for future in running:
                future.cancel()
    return list_page(stream.records, records)


def accompanied(spec: ConnectorSpec, stream: Stream, client: Client, body: bytes) -> bytes:
    """The page, with the other records inside those that name them (`Stream.beside`).

    A record whose other one the vendor does not have stays as it is.

    Args:
        spec: The billing system.
        stream: The list.
        client: See `open_client`.
        body: A page, read before.

    Raises:
        ConnectorError: As `extract`.
    """
    beside = stream.beside
    if beside is None:
        return body
    records = raw_list(raw_at(body, segments(stream.records)) or b"[]")
    named = {
        number: other_id
        for number, raw in enumerate(records)
        if (other_id := _other_id(beside, raw)) is not None
    }
    if not named:
        return body
    lookup = Lookup(
        "lines", beside.requests, beside.records, {"external_id": text(beside.id)},
        missing_is_empty=True,
    )  # fmt: skip
    requests = list(beside.requests(client.account, sorted(set(named.values()))))
    others: dict[str, bytes] = {}
    for page in concurrently(spec, lookup, client, requests):
        for raw in raw_list(raw_at(page.body, segments(beside.records)) or b"[]"):
            others[str(dig(_WHOLE.decode(raw), segments(beside.id)))] = raw
    size = len(body) + sum(len(others.get(other_id, b"")) for other_id in named.values())
    if size > spec.body_bytes_limit:
        raise UnexpectedShape(
            spec.name, stream.name, "a page and the records it names are too large together"
        )
    for number, other_id in named.items():
        if other_id in others:
            entry = msgspec.json.encode({beside.name: msgspec.Raw(others[other_id])})
            records[number] = _merged(records[number], entry)
    return list_page(stream.records, records)


def _other_id(beside: Beside, raw: bytes) -> str | None:
    """The id of the other record that one names; None where it is not needed."""
    record = _WHOLE.decode(raw)
    if any(dig(record, segments(pointer)) for pointer in beside.unless):
        return None
    if beside.where and not dig(record, segments(beside.where)):
        return None
    ids = (dig(record, segments(pointer)) for pointer in beside.record)
    return next((str(other_id) for other_id in ids if other_id), None)


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


def _merged(listed: bytes, document: bytes) -> bytes:
    return msgspec.json.encode({**_ENTRIES.decode(listed), **_ENTRIES.decode(document)})
