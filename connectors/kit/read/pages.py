"""Reads a list page by page; `look_up` reads a set of ids batch by batch.

Nothing else sends requests.
"""

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import polars as pl

from connectors.kit.errors import (
    ListedTooFew,
    PaginationLoop,
    TooManyPages,
    UnexpectedShape,
)
from connectors.kit.http.client import Client
from connectors.kit.http.responses import Answer, fault_code, page_of
from connectors.kit.http.retry import send_with_retry
from connectors.kit.mapping.joined import with_details
from connectors.kit.mapping.reader import view
from connectors.kit.read.beside import accompanied
from connectors.kit.read.hydrate import completed
from connectors.kit.read.look_up import concurrently
from connectors.kit.read.moving import READ_AGAIN_LIMIT, SeenPages, moves_too_fast
from connectors.kit.read.rest import with_whole_lists
from connectors.kit.spec import (
    ConnectorSpec,
    ListMovedError,
    Page,
    PageRequest,
    Pages,
    PageView,
    Resume,
    Special,
    Stream,
    Window,
    WindowRefusedError,
)

log = logging.getLogger(__name__)

#: Statuses by which servers refuse a page that begins elsewhere than their own pages do.
REFUSED = (400, 416, 422)


def extract(
    spec: ConnectorSpec,
    stream: Stream,
    client: Client,
    window: Window,
    *,
    resume: Resume | None = None,
) -> Iterator[Page]:
    """Reads a list, page by page; each page is to be stored before the next is asked for.

    Args:
        spec: The billing system.
        stream: The list.
        client: See `open_client`.
        window: Changes to read. Only `since` is sent to the vendor: an upper bound would let
            records leave the list while it is paged, and others be skipped.
        resume: Where an interrupted read stopped.

    Yields:
        Pages as received. Records may come twice, never less than once.

    Raises:
        ConnectorError: After the retries a Retriable; NeedsOperator; ContractBroken.
    """
    beginning = stream.first(client.account, window, client.timing.now())
    if beginning is None:
        return
    seen = _Seen(spec, stream, resumed=resume is not None)
    reading = _Reading(stream, client, seen, window.since)
    reading.begin(beginning)
    if resume is not None:
        reading.resume(beginning, resume)
    for _ in range(READ_AGAIN_LIMIT + 1):
        moved = False
        try:
            yield from reading.pages()
        except ListMovedError:
            moved = True
        if not moved and not seen.incomplete():
            return
        log.warning(
            "%s %s: records left the list while it was read, or are missing; it is read again",
            spec.name,
            stream.name,
        )
        last, seen = seen, _Seen(spec, stream)
        reading = _Reading(stream, client, seen, window.since)
        reading.begin(replace(beginning, page_no=last.last_page_no + 1))
    if moved:
        raise moves_too_fast(spec.name, stream.name)
    _accept_incomplete(last)


def _accept_incomplete(last: "_Seen") -> None:
    """Says that fewer records were listed than the answers say there are, in every reading.

    Raises:
        ListedTooFew: The stream has an advice for it, so its total is not known to be wrong.
    """
    spec, stream = last.spec, last.stream
    if stream.total_advice and last.listed < last.largest_total:
        detail = (
            f"{last.listed} records were listed, and the answers say that there are "
            f"{last.largest_total}"
        )
        raise ListedTooFew(spec.name, stream.name, f"{detail}: {stream.total_advice}")
    log.warning(
        "%s %s: %s records less than the answers say were listed three times; taken as they are",
        spec.name,
        stream.name,
        max(last.largest_total - last.listed, 0),
    )


class _Reading:
    """One reading of a list, from its beginning or from where another one stopped.

    It drives the stream's generator: asks for the page it wants, and sends it what came back.
    """

    def __init__(
        self, stream: Stream, client: Client, seen: "_Seen", since: datetime | None
    ) -> None:
        self._stream, self._client, self._seen, self._since = stream, client, seen, since
        #: Requests that `Stream.split` made of one, each read from its beginning.
        self._todo: list[PageRequest] = []
        self._steps: Pages | None = None
        self._asked: PageRequest | Special | None = None

    def begin(self, first: PageRequest) -> None:
        """Starts the reading at this request."""
        self._steps = self._stream.paginate(first)
        self._asked = next(self._steps)

    def resume(self, beginning: PageRequest, resume: Resume) -> None:
        """Goes on behind the last page stored, if that page still holds the same records.

        If it does not, or is refused, the list is read from its beginning: documents have left it
        meanwhile, and later ones have moved up onto pages that would not be read again.
        """
        if not self._stream.shrinks:
            self.begin(resume.following)
            return
        stored = view(self._seen.spec, self._stream, resume.body).ids
        looked: PageView | None = None
        try:
            looked = self._look(resume.request)
        except UnexpectedShape as error:
            if error.status not in REFUSED:  # else its cursor ended meanwhile
                raise
        if looked is not None and list(looked.ids) == list(stored):
            self._seen.note_total(looked)
            self._seen.last_page_no = resume.request.page_no
            self.begin(resume.request)
            self._asked = self._following(looked)
        else:
            self._seen.resumed = False
            self.begin(replace(beginning, page_no=resume.following.page_no))

    def pages(self) -> Iterator[Page]:
        """The pages, as received."""
        stream, client, seen = self._stream, self._client, self._seen
        while self._asked is not None or self._todo:
            if self._asked is None:
                self.begin(self._todo.pop(0))
                continue
            asked = self._asked
            request = asked.request if isinstance(asked, Special) else asked
            purpose = asked.purpose if isinstance(asked, Special) else ""
            read = partial(seen.read, purpose=purpose)
            try:
                answer, seen_page = send_with_retry(client, request, stream.name, read)
            except UnexpectedShape as error:
                self._asked = self._refused(error)
                continue
            if answer.status == httpx.codes.NOT_MODIFIED:
                self._asked = None
                continue
            parts = stream.split(request, seen_page) if stream.split else ()
            self._todo.extend(parts)
            self._asked = None if parts else self._following(seen_page)
            if isinstance(self._asked, Special) and self._asked.purpose == "again":
                continue  # it does not fit to the page before, to which the reading goes back
            seen.note(seen_page)
            body = self._completed(answer.body, seen_page.ids)
            following = self._asked.request if isinstance(self._asked, Special) else self._asked
            yield page_of(
                stream.name,
                request,
                following or next(iter(self._todo), None),
                replace(answer, body=body),
                seen_page.record_count,
            )

    def _completed(self, body: bytes, ids: Sequence[Any]) -> bytes:
        """A page, with what the list leaves out of its documents, where the stream says so."""
        spec, stream, client = self._seen.spec, self._stream, self._client
        if stream.details is not None and ids:
            lookup = stream.details.lookup
            requests = list(lookup.requests(client.account, list(map(str, ids))))
            details = concurrently(spec, lookup, client, requests)
            body = with_details(body, [page.body for page in details])
        if stream.incomplete and ids:
            since = self._since if stream.windowed else None
            body = completed(spec, stream, client, body, ids, since)
        if not ids:
            return body
        return with_whole_lists(spec, stream, client, accompanied(spec, stream, client, body))

    def _following(self, page: PageView) -> PageRequest | Special | None:
        """What to ask for after a page; None after the last page.

        Pages that are only to be compared are asked for here.
        """
        if self._steps is None:
            return None
        try:
            asked = self._steps.send(page)
            while isinstance(asked, Special) and asked.purpose == "look back":
                asked = self._steps.send(self._look(asked.request))
        except StopIteration:
            return None
        return asked

    def _look(self, request: PageRequest) -> PageView:
        """A page that was read before, only to compare it."""
        spec, stream = self._seen.spec, self._stream

        def looked(_: PageRequest, answer: Answer) -> PageView:
            is_partial = answer.status == httpx.codes.PARTIAL_CONTENT
            return replace(view(spec, stream, answer.body), link=answer.link, partial=is_partial)

        return send_with_retry(self._client, request, stream.name, looked)[1]

    def _refused(self, error: UnexpectedShape) -> PageRequest | Special | None:
        """What to ask for instead of a page that begins elsewhere than the server's own pages do.

        Nothing, where the vendor's version has no such list. Any other error is raised again.
        """
        if self._is_absent(error):
            log.info("%s %s: this version has no such list", error.system, self._stream.name)
            return None
        overlap = isinstance(self._asked, Special) and self._asked.purpose == "overlap"
        if self._steps is None or not overlap or error.status not in REFUSED:
            raise error
        try:
            return self._steps.throw(WindowRefusedError())
        except StopIteration:
            return None

    def _is_absent(self, error: UnexpectedShape) -> bool:
        """Whether the answer says that there is no such list in this version (`Stream.absent`)."""
        if not self._stream.absent or self._seen.count:
            return False
        return fault_code(self._seen.spec, error.body or b"") in self._stream.absent


@dataclass
class _Seen:
    """What one reading of a list has seen.

    Pages are remembered to notice loops, records (as 8-byte hashes) to compare them with the total.
    """

    spec: ConnectorSpec
    stream: Stream
    #: The reading did not begin at the beginning, so its records cannot be counted.
    resumed: bool = False
    #: Pages against loops.
    pages: SeenPages = field(default_factory=SeenPages)
    #: A hash of the id of every record kept, if the answers name a total.
    records: "array[int]" = field(default_factory=lambda: array("q"))
    #: The vendor's total, as the latest page says, and the largest of all pages.
    total: int | None = None
    largest_total: int = 0
    last_page_no: int = 0
    #: Pages read, also those that are not kept.
    count: int = 0
    #: Records kept.
    listed: int = 0

    def read(self, request: PageRequest, answer: Answer, *, purpose: str) -> PageView:
        """Views a page and remembers it.

        Args:
            request: What was asked for.
            answer: The page.
            purpose: As `Special.purpose`, "" for the next page; see `SeenPages.repeats`.

        Raises:
            ContractBroken: If it cannot be read, holds the records of an earlier page, or is one
                too many.
        """
        if answer.status == httpx.codes.NOT_MODIFIED and not purpose:
            return PageView(0)
        page = view(self.spec, self.stream, answer.body)
        if self.pages.repeats(page.ids, answer.body, purpose):
            detail = f"page {request.page_no} holds the same records as an earlier one"
            raise PaginationLoop(self.spec.name, self.stream.name, detail)
        if self.count >= self.spec.page_limit:
            raise TooManyPages(
                self.spec.name, self.stream.name, f"more than {self.spec.page_limit} pages"
            )
        self.count += 1
        self.last_page_no = request.page_no
        is_partial = answer.status == httpx.codes.PARTIAL_CONTENT
        return replace(page, link=answer.link, partial=is_partial)

    def note(self, page: PageView) -> None:
        """Remembers the records of a page that is kept."""
        self.listed += page.record_count
        self.note_total(page)
        if self.total is not None:
            self.records.extend(map(hash, map(str, page.ids)))

    def note_total(self, page: PageView) -> None:
        """Remembers the vendor's total, and the largest there was."""
        self.total = page.number("total")
        self.largest_total = max(self.largest_total, self.total or 0)

    def incomplete(self) -> bool:
        """Whether a record is missing.

        Counted against the largest total: a record that left the list was seen, and hid another one
        from us.
        """
        if self.total is None:
            return False
        if self.resumed:
            return self.total < self.largest_total
        return self.largest_total > pl.Series(self.records, dtype=pl.Int64).n_unique()
