"""Documents by id, which a webhook named, as pages of their list.

So the code that reads, maps and replays lists reads them as well.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from connectors.kit.errors import UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.ids import joined_id, normal_id
from connectors.kit.mapping.pointers import dig, segments
from connectors.kit.mapping.reader import plan_for, unexpected, view
from connectors.kit.read.beside import accompanied
from connectors.kit.read.hydrate import is_unknown
from connectors.kit.read.rest import with_whole_lists
from connectors.kit.spec import Account, ConnectorSpec, Page, PageRequest, Stream
from connectors.kit.webhooks.bodies import list_page, opened, raw_at, raw_list


@dataclass(frozen=True)
class Found:
    """A page with some of the documents asked for."""

    page: Page
    #: The ids of the documents on it, as the vendor writes them.
    ids: frozenset[str]


def fetch(
    spec: ConnectorSpec, stream: Stream, client: Client, ids: Sequence[str]
) -> Iterator[Found]:
    """Reads documents by the vendor's ids.

    They are asked for in batches, several requests at once within the vendor's limit.

    Ids that the vendor does not know are in no page.

    Raises:
        ValueError: If the list has no way to ask for single documents.
        ConnectorError: After the retries a Retriable; NeedsOperator; ContractBroken.
    """
    if stream.by_id is None:
        raise ValueError(f"{stream.name} has no documents by id")
    requests = list(stream.by_id.requests(client.account, sorted(set(ids))))
    with ThreadPoolExecutor(spec.rate.concurrency, thread_name_prefix=f"{spec.name}-by-id") as pool:
        running = [pool.submit(_ask, spec, stream, client, request) for request in requests]
        try:
            for future in running:
                page = future.result()
                if page is not None:
                    yield page
        finally:
            for future in running:
                future.cancel()


def _ask(spec: ConnectorSpec, stream: Stream, client: Client, request: PageRequest) -> Found | None:
    """The page for one request; None where the vendor does not know the id."""

    def read(_: PageRequest, answer: Answer) -> tuple[bytes, Sequence[Any], int]:
        body = _listed(spec, stream, answer.body)
        seen = view(spec, stream, body)
        return body, seen.ids, seen.record_count

    try:
        answer, (body, ids, count) = send_with_retry(client, request, stream.name, read)
    except UnexpectedShape as error:
        if is_unknown(error):
            return None
        raise
    # Outside of the retries above: these requests have their own.
    if count:
        body = with_whole_lists(spec, stream, client, accompanied(spec, stream, client, body))
    page = Page(
        stream.name,
        request.page_no,
        body,
        answer.content_type,
        answer.fetched_at,
        request,
        None,
        count,
        answer.elapsed_ms,
    )
    return Found(page, frozenset(str(vendor_id) for vendor_id in ids if vendor_id is not None))


def _listed(spec: ConnectorSpec, stream: Stream, body: bytes) -> bytes:
    """An answer that is one document, or lists some elsewhere, as a page of the list.

    The documents are in the page byte for byte.
    """
    single = stream.by_id.single if stream.by_id else ()
    records = stream.by_id.records if stream.by_id else ""
    if records:
        listed = raw_at(body, segments(records))
        if listed is None or not listed.startswith(b"["):
            raise unexpected(spec, stream.name, records, body)
        return list_page(stream.records, [raw for raw in raw_list(listed) if raw != b"null"])
    if not single:
        return body
    for pointer in single:
        raw = raw_at(body, segments(pointer))
        if raw is not None and raw.startswith(b"{"):
            return list_page(stream.records, [_record(stream, raw)])
    raise unexpected(spec, stream.name, single[0], body)


def _record(stream: Stream, document: bytes) -> bytes:
    """A document as a record of its list."""
    under = stream.by_id.under if stream.by_id else ""
    return b"{%s:%s}" % (json.dumps(under).encode(), document) if under else document


def pushed_page(stream: Stream, records: Sequence[bytes]) -> bytes:
    """A page of the list with documents that a webhook brought."""
    return list_page(stream.records, records)


@dataclass(frozen=True)
class FirstLook:
    """What can be seen of a document that a webhook brought, before it is mapped."""

    #: As it will be stored; None where there is none.
    external_id: str | None
    #: Whether that is no id of the vendor, but a number printed on the document.
    by_number: bool
    #: Whether it has all that points are computed from.
    whole: bool
    #: Whether it says when it was changed last.
    dated: bool


def first_look(spec: ConnectorSpec, stream: Stream, account: Account, record: bytes) -> FirstLook:
    """Looks at a document that a webhook brought: whether it is whole, and what its id is.

    Args:
        spec: The billing system.
        stream: The list that such documents are of.
        account: For overridden paths.
        record: The document's JSON.

    Raises:
        BadBody: If it cannot be read.
        Misconfigured: If a path of the account is not one.
    """
    plan = plan_for(spec, stream, account)
    fields: Mapping[str, Any] = {**plan.helpers, **plan.fields}
    value = opened(record)

    def first(name: str) -> tuple[int, Any]:
        paths = fields[name].paths if name in fields else ()
        candidates = ((at, dig(value, segments(path))) for at, path in enumerate(paths))
        return next(
            ((at, value) for at, value in candidates if value is not None and value != ""),
            (0, None),
        )

    def has(name: str) -> bool:
        return first(name)[1] is not None

    at, document_id = first("external_id")
    if fields["external_id"].joined:
        parts = [dig(value, segments(path)) for path in fields["external_id"].paths]
        at, document_id = 0, joined_id(part if isinstance(part, str) else None for part in parts)
    lines = plan.lines is not None and any(
        dig(value, segments(path)) for path in (plan.lines.path, *plan.lines.also)
    )
    whole = (
        (has("total_minor") or lines)
        and has("issued_at")
        and (has("customer_external_id") or has("customer_phone"))
    )
    gone = stream.gone is not None and has(stream.gone)
    external_id = (
        stored_id(stream, document_id)
        if isinstance(document_id, str) and normal_id(document_id)
        else None
    )
    return FirstLook(external_id, at > 0, whole or gone, has("updated_at"))


def stored_id(stream: Stream, vendor_id: str) -> str:
    """The external id, in our tables, of the document with the vendor's id."""
    return f"{stream.fields['external_id'].prefix}{normal_id(vendor_id)}"
