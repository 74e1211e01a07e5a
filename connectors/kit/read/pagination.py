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
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from connectors.kit.read.positions import Numbers, Offsets, guarded
from connectors.kit.spec import ListMovedError, PageRequest, Pages, PageView, Param

#: One address of a Link header with its parameters, and the `rel` among those.
_ENTRY = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r""";\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))""", re.IGNORECASE)
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


def by_page(
    first: PageRequest,
    *,
    size_param: str,
    vendor_size: int,
    more: str = "",
    read_more: Callable[[Any], Any] = lambda value: value,
    short_is_last: bool = True,
    link: bool = False,
) -> Pages:
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
        read_more: Reads that out of the value under `more`, where it is not true or false itself;
            anything else: the answer does not say so.
        short_is_last: Whether a short page ends the list. Not where a missing record would count as
            deleted, or where the vendor hides records of a page.
        link: Whether the answers have a Link header: where that names a next page, there is one.

    Raises:
        ListMovedError: The list must be read again.
    """

    def place(request: PageRequest) -> tuple[int, int]:
        return int(request.param("page")) - 1, int(request.param(size_param))

    def at(request: PageRequest, number: int, size: int) -> PageRequest:
        return request.turn(page=str(number + 1), **{size_param: str(size)})

    def ended(request: PageRequest, view: PageView, _behind: int) -> bool:
        page, size = int(request.param("page")), int(request.param(size_param))
        has_more = read_more(view.info.get(more))
        if isinstance(has_more, bool):
            if has_more and view.record_count == 0:
                raise ListMovedError  # it says that there are more
            return not has_more
        pages = view.number("pages")
        if view.record_count == 0 and pages is not None and page < pages:
            raise ListMovedError  # it says that there are more
        if link and next_link(view.link) is not None:
            return False
        short = view.record_count < min(size, view.number("size") or size, vendor_size)
        short = short and short_is_last
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


def by_next_link(
    first: PageRequest, *, following: str = "next", size_param: str = "", skip_param: str = ""
) -> Pages:
    """The answer holds the address of the next page (`@odata.nextLink` and `__next` of OData).

    The query of that address is sent as it came. Host, path and headers stay those of the first
    request, so that an address in an answer cannot send the credentials elsewhere.

    Args:
        first: The first request.
        following: The name in `info` under which the answer gives the address; nothing there: the
            last page.
        size_param: The parameter with the number of records wanted (`$top`), where the last
            address leads to that number of records and not to the end. Then the next ones are asked
            for by how many came before.
        skip_param: The parameter that says how many come before (`$skip`); the first request has it
            too.

    Raises:
        ListMovedError: The address is that of the page it stands on; or a reading that went on
            behind an address cannot tell how many records came before, so it must begin again.
    """
    counted = skip_param in first.params and not any("skiptoken" in name for name in first.params)
    request, behind, received = first, int(first.param(skip_param)) if counted else 0, 0
    while True:
        view = yield request
        received += view.record_count
        address = view.info.get(following)
        if isinstance(address, str) and address:
            query = parse_qs(urlsplit(address).query, keep_blank_values=True)
            params = {name: _one_or_all(values) for name, values in query.items()}
        elif not size_param or (counted and received < int(first.param(size_param))):
            return
        elif not counted:
            raise ListMovedError
        else:
            behind, received = behind + received, 0
            params = {**first.params, skip_param: str(behind)}
        if params == dict(request.params):
            raise ListMovedError
        request = replace(request, params=params, page_no=request.page_no + 1)


def _one_or_all(values: Sequence[str]) -> Param:
    return values[0] if len(values) == 1 else values


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
    first: PageRequest,
    after: Callable[[PageRequest, str], PageRequest],
    *,
    more: str = "",
    left: str = "",
    size_param: str = "limit",
) -> Pages:
    """Every page starts behind the last id of the page before, however many rows the list has.

    Args:
        first: The first request.
        after: Builds the next request from the one before and the last id; raises an error where
            that is no id.
        more: The info that says whether there are more rows.
        left: The info that says how many rows are left, those of the page included.
        size_param: The parameter with the page size; without `more` and `left`, a short page ends
            the list.

    Raises:
        ListMovedError: The answer says that there are more rows, and holds none.
    """
    request = first
    while True:
        view = yield request
        rows_left = view.number(left)
        if rows_left is not None:
            view = replace(view, info={**view.info, more: rows_left > view.record_count})
        if not _goes_on(request, view, more, size_param):
            return
        request = replace(after(request, str(view.ids[-1])), page_no=request.page_no + 1)


def _goes_on(request: PageRequest, view: PageView, more: str, size_param: str = "limit") -> bool:
    """Whether another page follows, as the vendor says.

    Where it does not say, a full page is followed by another.
    """
    has_more = view.info.get(more)
    if has_more is True and view.record_count == 0:
        raise ListMovedError  # it says that there are more
    if isinstance(has_more, bool):
        return has_more
    return view.record_count > 0 and view.record_count >= int(request.param(size_param))


def next_link(header: str) -> str | None:
    """The address with rel="next" of a Link header (RFC 8288), None where there is none."""
    for address, parameters in _ENTRY.findall(header):
        rel = _REL.search(parameters)
        if rel and "next" in (rel[1] or rel[2] or "").lower().split():
            return str(address).strip()
    return None
