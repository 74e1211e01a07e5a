"""Completes lists inside records, such as an order's lines, of which only the first page came."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from connectors.kit.errors import PaginationLoop, TooManyPages, UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.json_text import Decoder
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import UNREADABLE, unexpected
from connectors.kit.spec import ConnectorSpec, Continued, PageRequest, Stream
from connectors.kit.webhooks.bodies import list_page, raw_at, raw_list

_WHOLE: Final = Decoder(Any)
_ENTRIES: Final = Decoder(dict[str, msgspec.Raw])


def continued(spec: ConnectorSpec, stream: Stream, client: Client, body: bytes) -> bytes:
    """The page, with the whole of the lists inside its records (`Stream.continued`).

    Every value stays byte for byte as received. A page whose lists are whole stays as it is.

    Args:
        spec: The billing system.
        stream: The list.
        client: See `open_client`.
        body: A page, read before.

    Raises:
        ConnectorError: As `extract`.
    """
    inner = stream.continued
    if inner is None:
        return body
    records = raw_list(raw_at(body, segments(stream.records)) or b"[]")
    unfinished = [at for at, raw in enumerate(records) if _cursor(spec, stream, inner, raw)]
    if not unfinished:
        return body
    with ThreadPoolExecutor(
        spec.rate.concurrency, thread_name_prefix=f"{spec.name}-continue"
    ) as pool:
        running = {
            at: pool.submit(_finished, spec, stream, client, inner, records[at])
            for at in unfinished
        }
        try:
            for at, future in running.items():
                records[at] = future.result()
        finally:
            for future in running.values():
                future.cancel()
    return list_page(stream.records, records)


def _finished(
    spec: ConnectorSpec, stream: Stream, client: Client, inner: Continued, record: bytes
) -> bytes:
    """One record with the whole of its list."""
    place = segments(inner.list)
    record_id = str(dig(_WHOLE.decode(record), segments(inner.record)))
    entries = raw_list(raw_at(record, place) or b"[]")
    cursor = _cursor(spec, stream, inner, record)
    asked = set[str]()
    while cursor:
        if cursor in asked:
            raise PaginationLoop(spec.name, stream.name, "a list inside a record does not go on")
        if len(asked) >= spec.page_limit:
            raise TooManyPages(spec.name, stream.name, f"more than {spec.page_limit} pages")
        asked.add(cursor)
        request = inner.request(client.account, record_id, cursor)
        part = _part(spec, stream, client, inner, request)
        entries += raw_list(raw_at(part, place) or b"[]")
        cursor = _cursor(spec, stream, inner, part)
    return _with_list(record, place, entries)


def _part(
    spec: ConnectorSpec, stream: Stream, client: Client, inner: Continued, request: PageRequest
) -> bytes:
    """The record in the answer to a request, with a further page of its list."""

    def read(_: PageRequest, answer: Answer) -> bytes:
        raw = raw_at(answer.body, segments(inner.answer))
        if raw is None or not (raw_at(raw, segments(inner.list)) or b"").startswith(b"["):
            raise unexpected(spec, stream.name, f"{inner.answer}{inner.list}", answer.body)
        return raw

    return send_with_retry(client, request, "lines", read)[1]


def _cursor(spec: ConnectorSpec, stream: Stream, inner: Continued, record: bytes) -> str | None:
    """What the next page of the record's list is asked for with; None after the last one.

    A record that cannot be read has none: the mapping reports it.

    Raises:
        UnexpectedShape: The record says that its list goes on, and not how.
    """
    try:
        value = _WHOLE.decode(record)
    except UNREADABLE:
        return None
    if dig(value, segments(inner.more)) is not True:
        return None
    cursor = dig(value, segments(inner.cursor))
    if not cursor:
        detail = f"a list inside a record goes on, and nothing stands at {inner.cursor}"
        raise UnexpectedShape(spec.name, stream.name, detail)
    return str(cursor)


def _with_list(record: bytes, place: Sequence[str], entries: Sequence[bytes]) -> bytes:
    """The record with another list at a place."""
    if not place:
        return b"[" + b",".join(entries) + b"]"
    values: dict[str, msgspec.Raw] = _ENTRIES.decode(record)
    below = _with_list(bytes(values[place[0]]), place[1:], entries)
    return msgspec.json.encode({**values, place[0]: msgspec.Raw(below)})
