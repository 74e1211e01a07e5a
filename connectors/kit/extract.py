"""Reads a list page by page; `look_up` reads a set of ids batch by batch. Nothing else sends requests."""

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import httpx
import polars as pl

from connectors.kit.answers import Answer, page_of
from connectors.kit.client import Client
from connectors.kit.complete import completed
from connectors.kit.errors import (
    ListedTooFew,
    PaginationLoop,
    TooManyPages,
    Transient,
)
from connectors.kit.look_up import concurrently
from connectors.kit.mapping.joined import with_details
from connectors.kit.mapping.reader import view
from connectors.kit.patience import patiently
from connectors.kit.spec import (
    ConnectorSpec,
    ListMovedError,
    Page,
    PageRequest,
    PageView,
    Resume,
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
        last, seen = seen, _Seen(spec, stream)
    if moved:
        raise Transient(spec.name, stream.name, "documents are being deleted faster than the list can be read")
    if stream.total_advice and last.listed < last.largest_total:
        detail = f"{last.listed} records were listed, and the answers say that there are {last.largest_total}"
        raise ListedTooFew(spec.name, stream.name, f"{detail}: {stream.total_advice}")


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
            if answer.status == httpx.codes.NOT_MODIFIED:
                break
            if stream.details is not None and found.ids:
                about = list(stream.details.lookup.requests(client.connection, list(map(str, found.ids))))
                details = concurrently(seen.spec, stream.details.lookup, client, about)
                answer = replace(answer, body=with_details(answer.body, [page.body for page in details]))
            if stream.incomplete and found.ids:
                answer = replace(answer, body=completed(seen.spec, stream, client, answer.body, found.ids))
            parts = stream.split(request, found) if stream.split else ()
            todo.extend(parts)
            try:
                following = None if parts else pages.send(found)
            except StopIteration:
                following = None
            yield page_of(stream.name, request, following or next(iter(todo), None), answer, found.record_count)
            request = following


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
    listed: int = 0

    def read(self, request: PageRequest, answer: Answer) -> PageView:
        """Views a page and remembers it.

        Raises:
            ContractBroken: If it cannot be read, holds the records of an earlier page, or is one too many.
        """
        if answer.status == httpx.codes.NOT_MODIFIED:
            return PageView(0)
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
        self.listed += found.record_count
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
