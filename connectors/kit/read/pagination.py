"""Ways of paging, as generators.

They yield requests, are sent what came back, and return after the last page.

Every list is ordered by a stable id, where the vendor can do that, with only a lower bound on the
time of change. In a list ordered by time of change, a record that is edited while the list is read
jumps to the end. All later ones move up by one, and the first record of the next page is never
seen. In a list ordered by id, an edit can only bring a record into the list: it is seen twice at
worst, and never lost. A record that leaves the list moves the later ones up in any order:
`positions` guards against that.
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
    """A statement in `query` that ends with `STARTPOSITION n MAXRESULTS m`, n from 1 (QuickBooks).

    The answer does not always name a total, so a short page ends the list unless a total says
    otherwise. Deleted documents leave the list, so each page begins with the last record of the
    page before: if another record stands there, records moved up unseen.

    Args:
        first: The first request.
        short_is_last: Whether a short page ends the list. Not where a missing record would count as
            deleted.

    Raises:
        ListMovedError: The list must be read again.
    """
    request, last = first, None
    while True:
        statement = request.param("query")
        match = _POSITION.search(statement)
        if match is None:
            raise ValueError("the statement does not end with STARTPOSITION and MAXRESULTS")
        position, size = int(match[1]), int(match[2])
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
            query=f"{statement[: match.start()]} STARTPOSITION {following} MAXRESULTS {size}"
        )


def by_page(first: PageRequest, *, size_param: str, vendor_size: int, more: str = "") -> Pages:
    """The parameter `page` from 1, with or without the number of pages in the answer.

    Without that number, an empty page or a short one ends the list. Lists that move are guarded by
    `positions`.

    Args:
        first: The first request.
        size_param: The parameter with the page size.
        vendor_size: The page size of a server that ignores the one asked for. A page is short only
            if it is shorter than both.
        more: The name in `info` under which the answer says whether there are more pages; where it
            says so, that counts instead.

    Raises:
        ListMovedError: The list must be read again.
    """

    def place(request: PageRequest) -> tuple[int, int]:
        return int(request.param("page")) - 1, int(request.param(size_param))

    def at(request: PageRequest, number: int, size: int) -> PageRequest:
        return request.turn(page=str(number + 1), **{size_param: str(size)})

    def ended(request: PageRequest, view: PageView, _behind: int) -> bool:
        page, size = int(request.param("page")), int(request.param(size_param))
        has_more = view.info.get(more)
        if isinstance(has_more, bool):
            if has_more and view.record_count == 0:
                raise ListMovedError  # it says that there are more
            return not has_more
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


def by_change(
    first: PageRequest,
    *,
    since: Callable[[PageRequest, str], PageRequest],
    follow: Callable[[PageRequest, str], PageRequest],
    following: str = "next",
) -> Pages:
    """A list in the order of change, oldest first, of a vendor that knows no other order.

    Each page begins at the time of change of the last record before it, not at the vendor's
    cursor: an edited record moves to the end of the list, and a cursor that counts records would
    then step over another one. Records of that very moment come twice. Only a page whose records
    were all changed at one moment is followed by the cursor.

    The stream says `shrinks=True`, since its pages change.

    Args:
        first: The first request, with a lower bound on the time of change.
        since: Builds the request that begins at a time of change, as the vendor writes it.
        follow: Builds the request for the page that a cursor names.
        following: The name in `info` of the cursor; nothing there: the last page.
    """
    request = first
    while True:
        view = yield request
        cursor = view.info.get(following)
        if cursor is None or cursor == "":
            return
        times = [str(time) for time in view.versions if time]
        moves_on = len(times) > 1 and times[0] != times[-1]
        asked = since(request, times[-1]) if moves_on else follow(request, str(cursor))
        request = replace(asked, page_no=request.page_no + 1)


def by_offset(first: PageRequest, *, more: str) -> Pages:
    """The parameters `limit` and `offset`, where the offset is a multiple of the limit.

    The answer says in its info `more` whether there are more rows.

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
    """Every page starts behind the last id of the page before, however many rows the list has.

    Args:
        first: The first request.
        after: Builds the next request from the one before and the last id; raises an error where
            that is no id.
        more: The info that says whether there are more rows.

    Raises:
        ListMovedError: The answer says that there are more rows, and holds none.
    """
    request = first
    while True:
        view = yield request
        if not _goes_on(request, view, more):
            return
        request = replace(after(request, str(view.ids[-1])), page_no=request.page_no + 1)


def _goes_on(request: PageRequest, view: PageView, more: str) -> bool:
    """Whether another page follows, as the vendor says.

    Where it does not say, a full page is followed by another.
    """
    has_more = view.info.get(more)
    if has_more is True and view.record_count == 0:
        raise ListMovedError  # it says that there are more
    full = view.record_count >= int(request.param("limit"))
    return view.record_count > 0 and (has_more if isinstance(has_more, bool) else full)
