"""The only loop that sends requests: reads a list page by page, or a set of ids batch by batch.

This is also the only place where HTTP is tried again. Two layers of retries multiply.
"""

import logging
from array import array
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TypeVar

import httpx
import polars as pl
import stamina

from connectors.kit.client import Answer, Client
from connectors.kit.errors import (
    ConnectorError,
    ContractBroken,
    PaginationLoop,
    RateLimited,
    Retriable,
    TooManyPages,
    Transient,
    UnexpectedShape,
)
from connectors.kit.mapping.joined import with_details
from connectors.kit.mapping.lookups import lookup_ids
from connectors.kit.mapping.reader import view
from connectors.kit.pagination import single
from connectors.kit.spec import (
    ConnectorSpec,
    ListMovedError,
    Lookup,
    Page,
    PageRequest,
    PageView,
    Resume,
    RetryPolicy,
    Stream,
    Window,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: How often a list is read again when the vendor's own total says that records are missing.
READ_AGAIN_LIMIT = 2


def extract(
    spec: ConnectorSpec, stream: Stream, client: Client, window: Window, *, resume: Resume | None = None
) -> Iterator[Page]:
    """Reads a list, page by page; each page is to be stored before the next is asked for.

    Args:
        spec: The billing system.
        stream: The list.
        client: See `open_client`.
        window: Changes to read. Only `since` is sent to the vendor: an upper bound would let records leave the
            list while it is paged, and others be skipped.
        resume: Where an interrupted read stopped.

    Yields:
        Pages as received. Records may come twice, never less than once.

    Raises:
        ConnectorError: After the retries a Retriable; NeedsOperator; ContractBroken.
    """
    beginning = stream.first(client.connection, window, client.timing.now())
    if beginning is None:
        return
    seen = _Seen(spec, stream, resumed=resume is not None)
    first = _onward(stream, client, beginning, resume, seen) if resume else beginning
    for _ in range(READ_AGAIN_LIMIT + 1):
        moved = False
        try:
            yield from _read_once(stream, client, first, seen)
        except ListMovedError:
            moved = True
        if not moved and not seen.incomplete():
            return
        log.warning(
            "%s %s: records left the list while it was read, or are missing; it is read again", spec.name, stream.name
        )
        first = replace(beginning, page_no=seen.last_page_no + 1)
        seen = _Seen(spec, stream)
    if moved:
        raise Transient(spec.name, stream.name, "documents are being deleted faster than the list can be read")


def _onward(stream: Stream, client: Client, beginning: PageRequest, resume: Resume, seen: "_Seen") -> PageRequest:
    """The page after the last one stored, if that one still stands where it stood; else the list's beginning.

    Where documents have left the list meanwhile, later ones have moved up, onto pages that nobody would read again.
    """
    if not stream.shrinks:
        return resume.following
    stored = view(seen.spec, stream, resume.body).ids
    _, found = patiently(client, resume.request, stream.name, lambda _, answer: view(seen.spec, stream, answer.body))
    if list(found.ids) == list(stored):
        seen.note_total(found)
        return resume.following
    seen.resumed = False
    return replace(beginning, page_no=resume.following.page_no)


def _read_once(stream: Stream, client: Client, first: PageRequest, seen: "_Seen") -> Iterator[Page]:
    todo = [first]
    while todo:
        pages = stream.paginate(todo.pop(0))
        request: PageRequest | None = next(pages)
        while request is not None:
            answer, found = patiently(client, request, stream.name, seen.read)
            if stream.details is not None and found.ids:
                about = list(stream.details.lookup.requests(client.connection, list(map(str, found.ids))))
                details = _concurrently(seen.spec, stream.details.lookup, client, about)
                answer = replace(answer, body=with_details(answer.body, [page.body for page in details]))
            parts = stream.split(request, found) if stream.split else ()
            todo.extend(parts)
            try:
                following = None if parts else pages.send(found)
            except StopIteration:
                following = None
            yield _page(stream.name, request, following or next(iter(todo), None), answer, found.record_count)
            request = following


def _located(error: ConnectorError, request: PageRequest, answer: Answer) -> ConnectorError:
    """The same error, saying which call it was (reading a page knows only its body)."""
    call = f"{request.method} {request.path}"
    located = type(error)(error.system, error.operation, error.detail, call=call, status=answer.status)
    if isinstance(located, UnexpectedShape):
        located.body = answer.body
    return located


def _page(name: str, request: PageRequest, following: PageRequest | None, answer: Answer, count: int) -> Page:
    return Page(
        stream=name,
        page_no=request.page_no,
        body=answer.body,
        content_type=answer.content_type,
        fetched_at=answer.fetched_at,
        request=request,
        next_request=following,
        record_count=count,
        elapsed_ms=answer.elapsed_ms,
    )


@dataclass
class _Seen:
    """What one reading of a list has seen: pages against loops, records (as 8-byte hashes) against the total.

    `resumed`: it did not begin at the beginning, so the records cannot be counted.
    """

    spec: ConnectorSpec
    stream: Stream
    resumed: bool = False
    pages: set[int] = field(default_factory=set)
    records: "array[int]" = field(default_factory=lambda: array("q"))
    total: int | None = None
    largest_total: int = 0
    last_page_no: int = 0
    count: int = 0

    def read(self, request: PageRequest, answer: Answer) -> PageView:
        """Views a page and remembers it.

        Raises:
            ContractBroken: If it cannot be read, holds the records of an earlier page, or is one too many.
        """
        found = view(self.spec, self.stream, answer.body)
        ids = found.ids
        if self.count >= self.spec.page_limit:
            raise TooManyPages(self.spec.name, self.stream.name, f"more than {self.spec.page_limit} pages")
        known = any(one is not None for one in ids)
        fingerprint = hash(tuple(map(str, ids))) if known else hash(answer.body)
        if ids and fingerprint in self.pages:
            detail = f"page {request.page_no} holds the same records as an earlier one"
            raise PaginationLoop(self.spec.name, self.stream.name, detail)
        self.pages.add(fingerprint)
        self.count += 1
        self.last_page_no = request.page_no
        self.note_total(found)
        if self.total is not None:
            self.records.extend(map(hash, map(str, ids)))
        return replace(found, link=answer.link)

    def note_total(self, found: PageView) -> None:
        """Remembers the vendor's total, and the largest there was."""
        self.total = found.number("total")
        self.largest_total = max(self.largest_total, self.total or 0)

    def incomplete(self) -> bool:
        """Whether a record is missing.

        Counted against the largest total: a record that left the list was seen, and hid another one from us.
        """
        if self.total is None:
            return False
        if self.resumed:
            return self.total < self.largest_total
        return self.largest_total > pl.Series(self.records, dtype=pl.Int64).n_unique()


def patiently(
    client: Client, request: PageRequest, operation: str, read: Callable[[PageRequest, Answer], T]
) -> tuple[Answer, T]:
    """Sends a request and reads its answer, again after what may pass, bounded in attempts and total time."""
    policy = client.spec.retry
    for attempt in stamina.retry_context(
        on=Patience(policy).backoff,
        attempts=policy.attempts,
        timeout=policy.total_seconds,
        wait_initial=0.5,
        wait_max=30,
    ):
        with attempt:
            answer = client.send(request, operation)
            try:
                return answer, read(request, answer)
            except ConnectorError as error:
                raise _located(error, request, answer) from error
    raise AssertionError("stamina re-raises the last error")  # pragma: no cover


@dataclass
class Patience:
    """Decides, for one request, whether an error is worth another attempt."""

    policy: RetryPolicy
    garbled: int = 0

    def backoff(self, error: Exception) -> bool | float:
        """No; yes, waiting as usual; or the seconds the vendor asked for.

        A vendor may ask for hours (Xero's day limit). Nobody sleeps that long: the run ends, saying when to come
        back. A page that cannot be read, or repeats another, is asked for again a few times: a gateway's error
        page or a cut-off answer passes, and a broken contract is still broken the third time.
        """
        if isinstance(error, ContractBroken) and error.status == httpx.codes.OK:
            self.garbled += 1
            return self.garbled <= self.policy.garbled_limit and not isinstance(error, TooManyPages)
        if not isinstance(error, Retriable):
            return False
        if isinstance(error, RateLimited) and error.retry_after_seconds is not None:
            wait_seconds = error.retry_after_seconds
            return wait_seconds if wait_seconds <= self.policy.longest_wait_seconds else False
        return True


def look_up(spec: ConnectorSpec, lookup: Lookup, client: Client, ids: Collection[str]) -> Iterator[Page]:
    """Reads customers or items by id: batched, several requests at once within the vendor's limit.

    Args:
        spec: The billing system.
        lookup: What to read.
        client: See `open_client`.
        ids: Ids, or names where `lookup.key` says so (then the whole list is read).

    Yields:
        Pages in the order in which answers arrive. Ids the vendor does not know are in none of them.

    Raises:
        ConnectorError: As `extract`.
    """
    if not ids:
        return
    found: set[str] = set()
    numbers = iter(range(1, spec.page_limit + 1))
    for page in _concurrently(spec, lookup, client, list(lookup.requests(client.connection, sorted(ids)))):
        found.update(lookup_ids(spec, lookup, page.body)[0])
        yield replace(page, page_no=next(numbers))
    if lookup.fallback is None:
        return
    single_requests = [lookup.fallback(client.connection, one) for one in sorted(set(ids) - found)]
    for page in _concurrently(spec, replace(lookup, paginate=None), client, single_requests, forgiving=True):
        yield replace(page, page_no=next(numbers))


def _concurrently(
    spec: ConnectorSpec,
    lookup: Lookup,
    client: Client,
    requests: list[PageRequest],
    *,
    forgiving: bool = False,
) -> Iterator[Page]:
    """Answers to all requests as they arrive; at most the vendor's number are under way."""
    waiting = iter(requests)
    with ThreadPoolExecutor(spec.rate.concurrency, thread_name_prefix=f"{spec.name}-{lookup.name}") as pool:
        running: set[Future[list[Page]]] = set()
        try:
            while True:
                for request in waiting:
                    running.add(pool.submit(_all_pages, spec, lookup, client, request, forgiving=forgiving))
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
    pages = (lookup.paginate or single)(first)
    request: PageRequest | None = next(pages)
    found: list[Page] = []
    seen: set[int] = set()
    while request is not None:
        try:
            answer, (ids, info) = patiently(
                client, request, lookup.name, lambda _, answer: lookup_ids(spec, lookup, answer.body)
            )
        except UnexpectedShape as error:
            if forgiving and error.status in (400, 404, 410, 422):
                return found  # the vendor no longer has it
            raise
        fingerprint = hash(tuple(ids))
        if ids and fingerprint in seen:
            raise PaginationLoop(spec.name, lookup.name, "two pages hold the same records", call=request.path)
        if len(seen) > spec.page_limit:
            raise TooManyPages(spec.name, lookup.name, f"more than {spec.page_limit} pages", call=request.path)
        seen.add(fingerprint)
        try:
            following: PageRequest | None = pages.send(PageView(len(ids), info, ids))
        except StopIteration:
            following = None
        found.append(_page(lookup.name, request, following, answer, len(ids)))
        request = following
    return found
