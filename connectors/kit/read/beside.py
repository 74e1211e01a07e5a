"""Puts other records, which say more of them, inside the records of a page that name them."""

from connectors.kit.errors import UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.read.look_up import concurrently
from connectors.kit.read.raw_records import opened_record, raw_records, with_value
from connectors.kit.spec import Beside, ConnectorSpec, Lookup, Stream
from connectors.kit.spec.fields import text
from connectors.kit.webhooks.bodies import list_page, raw_at, raw_list


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
    records = raw_records(stream, body)
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
            others[str(dig(opened_record(raw), segments(beside.id)))] = raw
    size = len(body) + sum(len(others.get(other_id, b"")) for other_id in named.values())
    if size > spec.body_bytes_limit:
        raise UnexpectedShape(
            spec.name, stream.name, "a page and the records it names are too large together"
        )
    for number, other_id in named.items():
        if other_id in others:
            records[number] = with_value(records[number], (beside.name,), others[other_id])
    return list_page(stream.records, records)


def _other_id(beside: Beside, raw: bytes) -> str | None:
    """The id of the other record that one names; None where it is not needed."""
    record = opened_record(raw)
    if any(dig(record, segments(pointer)) for pointer in beside.unless):
        return None
    if beside.where and not dig(record, segments(beside.where)):
        return None
    ids = (dig(record, segments(pointer)) for pointer in beside.record)
    return next((str(other_id) for other_id in ids if other_id), None)
