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
from connectors.kit.spec import ConnectorSpec, PageRequest, Stream
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
        ids: The vendor's ids of its records, in their order; None where a record has none. Not
            looked at where `by_id` has a key of its own.

    Raises:
        ConnectorError: As `extract`; also where the documents of one page are larger together than
            an answer may be.
    """
    if stream.by_id is None:
        raise ValueError(f"{stream.name} has no documents by id")
    records = raw_list(raw_at(body, segments(stream.records)) or b"[]")
    if stream.by_id.key:
        parts = segments(stream.by_id.key)
        ids = [dig(_WHOLE.decode(record), parts) for record in records]
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
                    listed = _key_alone(records[at], stream.by_id.key)
                    records[at] = _merged(listed, _with_lines(stream, document))
        finally:
            for future in running:
                future.cancel()
    return list_page(stream.records, records)


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


def _key_alone(listed: bytes, key: str) -> bytes:
    """Of a record that names another document only what names it: the other takes its place."""
    if not key:
        return listed
    name = segments(key)[0]
    return msgspec.json.encode({name: _ENTRIES.decode(listed)[name]})


def _merged(listed: bytes, document: bytes) -> bytes:
    return msgspec.json.encode({**_ENTRIES.decode(listed), **_ENTRIES.decode(document)})
