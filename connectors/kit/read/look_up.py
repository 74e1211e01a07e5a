"""Reads records by a set of ids, batch by batch: customers, items, lines that a list leaves out."""

import hashlib
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from connectors.kit.errors import PaginationLoop, TooManyPages, UnexpectedShape
from connectors.kit.http.client import Client
from connectors.kit.http.responses import page_of
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.lookups import lookup_ids, map_lookup
from connectors.kit.read.moving import READ_AGAIN_LIMIT, SeenPages, moves_too_fast
from connectors.kit.read.pagination import single
from connectors.kit.spec import (
    Account,
    ConnectorSpec,
    ListMovedError,
    Lookup,
    Page,
    PageRequest,
    PageView,
    Special,
)

_SAME_RECORDS = "two pages hold the same records"
#: Statuses by which vendors say that they do not have the one document that was asked for.
_UNKNOWN_ID = (400, 404, 410, 422)


def look_up(
    spec: ConnectorSpec, lookup: Lookup, client: Client, ids: Collection[str]
) -> Iterator[Page]:
    """Reads customers or items by id: batched, several requests at once within the vendor's limit.

    Args:
        spec: The billing system.
        lookup: What to read.
        client: See `open_client`.
        ids: Ids; or names, where `lookup.key` says so: then the whole list is read.

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
        received = set[str]()
        for page in concurrently(
            spec, lookup, client, list(lookup.requests(client.account, sorted(missing)))
        ):
            received.update(_answered(spec, lookup, client.account, page.body))
            yield replace(page, page_no=next(numbers))
        # An answer may hold fewer than were asked for: the others are asked for again, as long as
        # each round brings some.
        newly_received = received & missing
        missing -= newly_received
        if not newly_received or lookup.key == "name":
            break
    if lookup.fallback is None:
        return
    single_requests = [lookup.fallback(client.account, vendor_id) for vendor_id in sorted(missing)]
    for page in concurrently(
        spec, replace(lookup, paginate=None), client, single_requests, unknown=_UNKNOWN_ID
    ):
        yield replace(page, page_no=next(numbers))


def _answered(spec: ConnectorSpec, lookup: Lookup, account: Account, body: bytes) -> list[str]:
    """The ids of a page about which nothing more is to be asked."""
    if not lookup.sparse:
        return lookup_ids(spec, lookup, body)[0]
    customers = map_lookup(spec, lookup, account, body)
    return customers.drop_nulls("phone")["external_id"].to_list()


def concurrently(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    requests: list[PageRequest],
    *,
    unknown: Collection[int] = (),
) -> Iterator[Page]:
    """Answers to all requests, in the order in which they arrive.

    No more requests are under way than the vendor allows at once. A request that is answered with
    one of the `unknown` statuses, by which the vendor says that it does not know an id, has no
    answer, instead of being an error.
    """
    waiting = iter(requests)
    with ThreadPoolExecutor(
        spec.rate.concurrency, thread_name_prefix=f"{spec.name}-{lookup.name}"
    ) as pool:
        running: set[Future[list[Page]]] = set()
        try:
            while True:
                for request in waiting:
                    running.add(
                        pool.submit(all_pages, spec, lookup, client, request, unknown=unknown)
                    )
                    if len(running) >= spec.rate.concurrency:
                        break
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield from future.result()
        finally:
            for future in running:
                future.cancel()


def all_pages(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    first: PageRequest,
    *,
    unknown: Collection[int] = (),
) -> list[Page]:
    """All pages that follow from one request; read again where records moved past the reader.

    There are none where the vendor answers with one of the `unknown` statuses.
    """
    failed_readings: list[list[bytes]] = []
    for _ in range(READ_AGAIN_LIMIT + 1):
        bodies: list[bytes] = []
        try:
            return _read_once(spec, lookup, client, first, bodies, unknown=unknown)
        except ListMovedError:
            failed_readings.append([hashlib.sha256(body).digest() for body in bodies])
    if failed_readings.count(failed_readings[0]) == len(failed_readings):
        # A list that moves is not the same every time.
        raise PaginationLoop(spec.name, lookup.name, _SAME_RECORDS, call=first.path)
    raise moves_too_fast(spec.name, lookup.name, call=first.path)


def _read_once(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    first: PageRequest,
    bodies: list[bytes],
    *,
    unknown: Collection[int],
) -> list[Page]:
    """The pages of one reading; every answer's body is added to `bodies`.

    Raises:
        ListMovedError: Records moved past the reader.
    """
    steps = (lookup.paginate or single)(first)
    asked: PageRequest | Special | None = next(steps)
    pages: list[Page] = []
    seen = SeenPages()
    while asked is not None:
        request = asked.request if isinstance(asked, Special) else asked
        purpose = asked.purpose if isinstance(asked, Special) else ""
        try:
            answer, (ids, info) = send_with_retry(
                client,
                request,
                lookup.name,
                lambda _, answer: lookup_ids(spec, lookup, answer.body),
            )
        except UnexpectedShape as error:
            if error.status in unknown:
                return pages
            raise
        bodies.append(answer.body)
        if purpose != "look back" and seen.repeats(ids, answer.body, purpose):
            raise PaginationLoop(spec.name, lookup.name, _SAME_RECORDS, call=request.path)
        if len(pages) >= spec.page_limit:
            raise TooManyPages(
                spec.name, lookup.name, f"more than {spec.page_limit} pages", call=request.path
            )
        try:
            asked = steps.send(PageView(len(ids), info, ids))
        except StopIteration:
            asked = None
        if purpose != "look back":
            following = asked.request if isinstance(asked, Special) else asked
            pages.append(page_of(lookup.name, request, following, answer, len(ids)))
    return pages
