"""Ways of paging, as generators: they yield requests, are sent what came back, and return after the last page.

Every list is ordered by a stable id, where the vendor can, with only a lower bound on the time of
change. Ordered by time of change, a record edited half-way jumps to the end, all later ones move up
by one, and the first of the next page is never seen. Ordered by id, an edit can only bring a record
into the list: it is seen twice at worst, and never lost. What leaves a list moves the rest up in
any order: `positions` guards against that.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from connectors.kit.read.positions import Numbers, Offsets, guarded
from connectors.kit.spec import ListMovedError, PageRequest, Pages, PageView

_POSITION = re.compile(r" STARTPOSITION (\d+) MAXRESULTS (\d+)$")


def single(first: PageRequest) -> Pages:
    """One answer, no pages."""
    yield first


def by_start_position(first: PageRequest, *, short_is_last: bool = True) -> Pages:
    """QuickBooks: `...

    STARTPOSITION n MAXRESULTS m` at the end of the statement in `query`, n from 1.

    The answer's `maxResults` is the number returned and `totalCount` is not always there, so a
    short page ends the list unless a total says otherwise. Deleted documents leave the list, so
    each page begins with the last record of the one before: if another is found there, records
    moved up unseen. Where a missing record would count as deleted, a short page is not taken for
    the last (`short_is_last`).

    Raises:
        ListMovedError: The list must be read again.
    """
    request, last = first, None
    while True:
        statement = request.param("query")
        found = _POSITION.search(statement)
        if found is None:
            raise ValueError("the statement does not end with STARTPOSITION and MAXRESULTS")
        position, size = int(found[1]), int(found[2])
        view = yield request
        if last is not None and (not view.ids or view.ids[0] != last):
            raise ListMovedError
        following = position + view.record_count
        more = view.record_count >= size or following <= (view.number("total") or 0)
        more = more or not (short_is_last or (last is not None and view.record_count == 1))
        if view.record_count == 0 or not more:
            return
        last = view.ids[-1] if view.ids and view.record_count > 1 else None
        following -= last is not None
        request = request.turn(
            query=f"{statement[: found.start()]} STARTPOSITION {following} MAXRESULTS {size}"
        )


def by_page(first: PageRequest, *, size_param: str, vendor_size: int, more: str = "") -> Pages:
    """Xero, FreshBooks: `page` from 1, with or without the number of pages in the answer.

    Where the answer says whether there is `more` (the name in `info`), that counts instead. Without
    either, an empty page or one shorter than the page size ends the list. A server may ignore
    the size asked for and give its own (`vendor_size`), so a page is short only if it is shorter
    than the smallest of them. See `positions` for lists that move.

    Raises:
        ListMovedError: The list must be read again.
    """

    def place(request: PageRequest) -> tuple[int, int]:
        return int(request.param("page")) - 1, int(request.param(size_param))

    def at(request: PageRequest, number: int, size: int) -> PageRequest:
        return request.turn(page=str(number + 1), **{size_param: str(size)})

    def ended(request: PageRequest, view: PageView, _behind: int) -> bool:
        page, size = int(request.param("page")), int(request.param(size_param))
        said = view.info.get(more)
        if isinstance(said, bool):
            if said and view.record_count == 0:
                raise ListMovedError  # it says that there are more
            return not said
        pages = view.number("pages")
        if view.record_count == 0 and pages is not None and page < pages:
            raise ListMovedError  # it says that there are more
        short = view.record_count < min(size, view.number("size") or size, vendor_size)
        return view.record_count == 0 or (page >= pages if pages is not None else short)

    return guarded(first, Numbers(place, at, ended))


def by_cursor(first: PageRequest, *, param: str, following: str) -> Pages:
    """The answer holds what to ask the next page with: a cursor, or the number of the next page.

    Args:
        first: The first request.
        param: The parameter that takes the cursor.
        following: The name in `info` under which the answer gives it; nothing there: the last page.
    """
    request = first
    while True:
        view = yield request
        cursor = view.info.get(following)
        if cursor is None or cursor == "":
            return
        request = request.turn(**{param: str(cursor)})


def by_offset(first: PageRequest, *, more: str) -> Pages:
    """NetSuite: `limit` and `offset`, the offset a multiple of the limit; the answer says whether there is `more`.

    Raises:
        ListMovedError: The list must be read again.
    """

    def place(request: PageRequest) -> tuple[int, int]:
        return int(request.param("offset")), int(request.param("limit"))

    def ended(request: PageRequest, view: PageView, _behind: int) -> bool:
        return not _goes_on(request, view, more)

    return guarded(
        first, Offsets(place, lambda request, to: request.turn(offset=str(to)), ended, free=False)
    )


def by_last_id(
    first: PageRequest, after: Callable[[PageRequest, str], PageRequest], *, more: str
) -> Pages:
    """NetSuite: every page starts behind the last id of the one before, however many rows the list has.

    `after` builds the request from the one before and the last id, and raises where that is no id.
    """
    request = first
    while True:
        view = yield request
        if not _goes_on(request, view, more):
            return
        request = replace(after(request, str(view.ids[-1])), page_no=request.page_no + 1)


def _goes_on(request: PageRequest, view: PageView, more: str) -> bool:
    """As the vendor says; where it does not, a full page is followed by another."""
    said = view.info.get(more)
    if said is True and view.record_count == 0:
        raise ListMovedError  # it says that there are more
    full = view.record_count >= int(request.param("limit"))
    return view.record_count > 0 and (said if isinstance(said, bool) else full)
