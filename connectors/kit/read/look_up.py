"""Reads a set of ids batch by batch: customers, items, the lines that a list leaves out."""

import hashlib
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from connectors.kit.errors import PaginationLoop, TooManyPages, Transient, UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.http.responses import page_of
from connectors.kit.http.retry import patiently
from connectors.kit.mapping.lookups import lookup_ids
from connectors.kit.read.pagination import single
from connectors.kit.spec import (
    ConnectorSpec,
    ListMovedError,
    Lookup,
    Page,
    PageRequest,
    PageView,
    Special,
)

#: How often a list is read again that moved while it was read, or whose own numbers say that
#: records are missing.
READ_AGAIN_LIMIT = 2
_SAME_RECORDS = "two pages hold the same records"


def look_up(
    spec: ConnectorSpec, lookup: Lookup, client: Client, ids: Collection[str]
) -> Iterator[Page]:
    """Reads customers or items by id: batched, several requests at once within the vendor's limit.

    Args:
        spec: The billing system.
        lookup: What to read.
        client: See `open_client`.
        ids: Ids, or names where `lookup.key` says so (then the whole list is read).

    Yields:
        Pages in the order in which answers arrive. Ids the vendor does not know are in none of
        them.

    Raises:
        ConnectorError: As `extract`.
    """
    if not ids:
        return
    missing = set(ids)
    numbers = iter(range(1, spec.page_limit + 1))
    while missing:
        found = set[str]()
        for page in concurrently(
            spec, lookup, client, list(lookup.requests(client.connection, sorted(missing)))
        ):
            found.update(lookup_ids(spec, lookup, page.body)[0])
            yield replace(page, page_no=next(numbers))
        # An answer may hold fewer than were asked for: the others are asked for again, as long as
        # some come.
        came = found & missing
        missing -= came
        if not came or lookup.key == "name":
            break
    if lookup.fallback is None:
        return
    single_requests = [lookup.fallback(client.connection, one) for one in sorted(missing)]
    for page in concurrently(
        spec, replace(lookup, paginate=None), client, single_requests, forgiving=True
    ):
        yield replace(page, page_no=next(numbers))


def concurrently(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    requests: list[PageRequest],
    *,
    forgiving: bool = False,
) -> Iterator[Page]:
    """Answers to all requests as they arrive; at most the vendor's number are under way."""
    waiting = iter(requests)
    with ThreadPoolExecutor(
        spec.rate.concurrency, thread_name_prefix=f"{spec.name}-{lookup.name}"
    ) as pool:
        running: set[Future[list[Page]]] = set()
        try:
            while True:
                for request in waiting:
                    running.add(
                        pool.submit(_all_pages, spec, lookup, client, request, forgiving=forgiving)
                    )
                    if len(running) >= spec.rate.concurrency:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            for future in running:
                future.cancel()


def _all_pages(
    spec: ConnectorSpec, lookup: Lookup, client: Client, first: PageRequest, *, forgiving: bool
) -> list[Page]:
    readings: list[list[bytes]] = []
    for _ in range(READ_AGAIN_LIMIT + 1):
        readings.append([])
        try:
            return _read_once(spec, lookup, client, first, readings[-1], forgiving=forgiving)
        except ListMovedError:
            continue
    if readings.count(readings[0]) == len(readings):  # a list that moves is not the same every time
        raise PaginationLoop(spec.name, lookup.name, _SAME_RECORDS, call=first.path)
    detail = (
        "the list moves faster than it can be read, or says of itself what is not so; the next run "
        "reads it again"
    )
    raise Transient(spec.name, lookup.name, detail, call=first.path)


def _read_once(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    first: PageRequest,
    bodies: list[bytes],
    *,
    forgiving: bool,
) -> list[Page]:
    """Adds a digest of each answer to `bodies`.

    Raises ListMovedError where records moved past the reader.
    """
    steps = (lookup.paginate or single)(first)
    asked: PageRequest | Special | None = next(steps)
    found: list[Page] = []
    seen: set[int] = set()
    while asked is not None:
        request = asked.request if isinstance(asked, Special) else asked
        purpose = asked.purpose if isinstance(asked, Special) else ""
        try:
            answer, (ids, info) = patiently(
                client,
                request,
                lookup.name,
                lambda _, answer: lookup_ids(spec, lookup, answer.body),
            )
        except UnexpectedShape as error:
            if forgiving and error.status in (400, 404, 410, 422):
                return found  # the vendor no longer has it
            raise
        bodies.append(hashlib.sha256(answer.body).digest())
        fingerprint = hash(tuple(ids))
        if ids and fingerprint in seen and purpose in ("", "overlap"):
            raise PaginationLoop(spec.name, lookup.name, _SAME_RECORDS, call=request.path)
        if len(found) >= spec.page_limit:
            raise TooManyPages(
                spec.name, lookup.name, f"more than {spec.page_limit} pages", call=request.path
            )
        seen = set() if purpose == "again" else seen | {fingerprint}
        try:
            asked = steps.send(PageView(len(ids), info, ids))
        except StopIteration:
            asked = None
        if purpose != "look back":
            following = asked.request if isinstance(asked, Special) else asked
            found.append(page_of(lookup.name, request, following, answer, len(ids)))
    return found
