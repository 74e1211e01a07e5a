"""Completes lists inside records, such as an order's lines, of which only the first entries came."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from connectors.kit.errors import UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.read.hydrate import UNKNOWN
from connectors.kit.read.look_up import all_pages
from connectors.kit.read.raw_records import opened_record, raw_records, with_value
from connectors.kit.spec import ConnectorSpec, Rest, Stream
from connectors.kit.webhooks.bodies import list_page, raw_at, raw_list


def with_whole_lists(spec: ConnectorSpec, stream: Stream, client: Client, body: bytes) -> bytes:
    """The page, with the lists inside its records whole (`Stream.rest`).

    Entries stay byte for byte as received. Where the vendor no longer has a document, its record
    stays as it is.

    Raises:
        ConnectorError: As `extract`.
    """
    if not stream.rest:
        return body
    records = raw_records(stream, body)
    values = [opened_record(record) for record in records]
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
                    records[at] = with_value(records[at], segments(rest.at), entries)
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
        for page in all_pages(spec, rest.lookup, client, request, unknown=UNKNOWN):
            known = True
            entries += raw_list(raw_at(page.body, segments(rest.lookup.records)) or b"[]")
    return b"[" + b",".join(entries) + b"]" if known else None
