"""Requests and paging of an API that an operator describes in a block.

The settings are those of `connectors.kit.described.settings.CustomSettings`; what comes out are the
functions that a `Stream` wants: its first request, and the generator of the requests behind it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import httpx

from connectors.kit.errors import Misconfigured, PaginationLoop, UnexpectedShape
from connectors.kit.http.urls import join_url
from connectors.kit.mapping.pointers import segments
from connectors.kit.read.pagination import next_link
from connectors.kit.read.positions import Links, Numbers, Offsets, guarded
from connectors.kit.spec import (
    Account,
    ListMovedError,
    PageRequest,
    Pages,
    PageView,
    Special,
    Window,
)

#: How the next page is asked for.
PagingKind = Literal[
    "none", "page number", "offset", "cursor", "last id", "next link in the body", "link header"
]
#: How the lower bound of the time of change is written in a request.
SinceFormat = Literal[
    "rfc3339", "date", "date and time", "unix seconds", "unix milliseconds", "not sent"
]
#: What the page parameter is usually called.
USUAL_PARAM: Final[Mapping[PagingKind, str]] = {
    "page number": "page",
    "offset": "offset",
    "cursor": "cursor",
    "last id": "starting_after",
}
#: Parameters of an address that tell a position in a list.
_POSITIONS: Final = (
    "page", "p", "pg", "page_number", "pagenumber", "page[number]", "page[offset]", "offset",
    "skip", "start", "startat", "start_at", "startindex", "from", "pagina",
)  # fmt: skip
#: How APIs write that there is nothing more.
_NO: Final = ("false", "0", "no", "n", "")


@dataclass(frozen=True)
class Paging:
    """How to get from a page to the next one."""

    kind: PagingKind
    #: The parameter with the page number, the offset or the cursor; see `with_param` for where it
    #: goes.
    param: str
    #: The number of the first page, or the first offset.
    first: int
    #: Records per page, as they are asked for.
    size: int
    #: Whether a page with fewer records is the last one.
    short_page_is_last: bool
    #: The parameter with the page size; "": it is not sent.
    size_param: str = ""


def with_param(request: PageRequest, name: str, value: str | int) -> PageRequest:
    """The request with a parameter set.

    Args:
        request: What is changed.
        name: In the query of a GET, in the body of a POST (`/a/b` lies deeper); `?name` is in the
            query in any case.
        value: In a body a number stays one.
    """
    if request.body is None or name.startswith("?"):
        return replace(request, params={**request.params, name.removeprefix("?"): str(value)})
    body = json.loads(request.body)
    *above, last = segments(name) if name.startswith("/") else (name,)
    place = body
    for part in above:
        place = place.setdefault(part, {})
    place[last] = value
    return replace(request, body=json.dumps(body, ensure_ascii=False))


def since_value(since: datetime, form: SinceFormat, zone: str) -> str | int:
    """The lower bound as the API wants it; a day is the day before, for clocks in other places."""
    if form == "date":
        return (since.astimezone(ZoneInfo(zone)) - timedelta(days=1)).date().isoformat()
    if form == "date and time":
        return since.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
    if form.startswith("unix"):
        return int(since.timestamp()) * (1000 if form == "unix milliseconds" else 1)
    return since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def first_request(
    template: PageRequest, window: Window, param: str, form: SinceFormat, zone: str
) -> PageRequest:
    """The first request of a window; without a window's start it has no bound."""
    if window.since is None or form == "not sent":
        return template
    return with_param(template, param, since_value(window.since, form, zone))


def paginate(paging: Paging, account: Account, system: str) -> Callable[[PageRequest], Pages]:
    """The generator of requests that pages this API.

    Args:
        paging: How the API pages.
        account: Its base URL is the only one under which addresses of next pages are followed.
        system: Named in errors.
    """
    if paging.kind == "none":
        return partial(_only, system=system)
    if paging.kind in ("page number", "offset"):
        return partial(_counted, paging=paging)
    if paging.kind == "last id":
        return partial(_after_last, paging=paging, system=system)
    return partial(_followed, paging=paging, account=account, system=system)


def _only(first: PageRequest, *, system: str) -> Pages:
    """One answer, no pages.

    Raises:
        Misconfigured: The answer says that it is not all there is.
    """
    view = yield first
    if view.partial or _more(view):
        problem = (
            "is a part (206)" if view.partial else 'says that there are more pages ("More pages")'
        )
        detail = f'the answer {problem}, and "Paging" is none'
        raise Misconfigured(system, "invoices", detail, call=first.path)


def _counted(first: PageRequest, *, paging: Paging) -> Pages:
    """By number or offset.

    Only what the server says, or an empty page, is the end: it may give less than asked.
    """

    def ended(request: PageRequest, view: PageView, behind: int) -> bool:
        return _ended(view, paging, _position(request, paging), behind)

    if paging.kind == "offset":
        return guarded(
            first,
            Offsets(
                lambda request: (_position(request, paging), paging.size),
                lambda request, to: with_param(request, paging.param, to),
                ended,
            ),
        )
    sized = bool(paging.size_param)

    def place(request: PageRequest) -> tuple[int, int]:
        size = _number(request, paging.size_param) if sized else paging.size
        return _position(request, paging) - paging.first, size

    def at(request: PageRequest, number: int, size: int) -> PageRequest:
        request = with_param(request, paging.size_param, size) if sized else request
        return with_param(request, paging.param, number + paging.first)

    return guarded(first, Numbers(place, at, ended, sized=sized))


def _followed(first: PageRequest, *, paging: Paging, account: Account, system: str) -> Pages:
    """By cursor or address.

    An address that names a position moves with the list as any other position does.
    """

    def following(request: PageRequest, view: PageView) -> PageRequest | None:
        position = _next(paging, view, request, system)
        if position is None:
            return None
        if paging.kind == "cursor":
            return replace(with_param(request, paging.param, position), page_no=request.page_no + 1)
        onward = _request_of_address(request, position, account, system)
        place = _place(onward)
        if place == _place(request) or (view.record_count == 0 and place in hollow):
            raise PaginationLoop(
                system, "invoices", "the same next page is named twice", call=request.path
            )
        if view.record_count == 0:
            hollow.add(place)
        return onward

    # Addresses that were followed, and those that stood on a page without records. Pages with
    # records that come again are noticed by their records.
    followed, hollow = set[str](), set[str]()
    request, view = first, (yield first)
    while (onward := following(request, view)) is not None:
        if paging.kind != "cursor" and names_position(onward):
            yield from _positioned(Links(following, names_position), request, view)
            return
        place = _place(onward)
        if place in followed:
            raise PaginationLoop(
                system, "invoices", "the same next page is named twice", call=request.path
            )
        followed.add(place)
        request = onward
        view = yield request


def _place(request: PageRequest) -> str:
    """What tells requests of a list apart."""
    return json.dumps([request.path, dict(request.params), request.body], sort_keys=True)


def _positioned(steps: Links, request: PageRequest, view: PageView) -> Pages:
    """Goes on from a page that was read, guarded."""
    pages = guarded(request, steps)
    next(pages)
    asked: PageRequest | Special | None = _sent(pages, view)
    while asked is not None:
        asked = _sent(pages, (yield asked))


def _sent(pages: Pages, view: PageView) -> PageRequest | Special | None:
    try:
        return pages.send(view)
    except StopIteration:
        return None


def names_position(request: PageRequest) -> bool:
    """Whether an address says which page it is, or how many records come before it."""
    values = {name.lower().strip("$"): value for name, value in request.params.items()}
    return any(name in _POSITIONS and str(value).isdigit() for name, value in values.items())


def _after_last(first: PageRequest, *, paging: Paging, system: str) -> Pages:
    """By the id of a page's last record, as `starting_after` of some APIs."""
    request, seen = first, 0 if first.page_no == 1 else None
    while True:
        view = yield request
        seen = None if seen is None else seen + view.record_count
        if _ended(view, paging, 0, seen):
            return
        if not view.ids or view.ids[-1] is None:
            detail = (
                "the last record of a page has no id to go on from: correct the path of "
                'external_id in "Field mapping"'
            )
            raise Misconfigured(system, "invoices", detail, call=request.path)
        request = replace(
            with_param(request, paging.param, view.ids[-1]), page_no=request.page_no + 1
        )


def _position(request: PageRequest, paging: Paging) -> int:
    """The number or offset that a request asks for; it may be one that was stored."""
    return _number(request, paging.param)


def _number(request: PageRequest, name: str) -> int:
    """A whole number in a request, at the place where `with_param` puts it."""
    if request.body is None or name.startswith("?"):
        return int(request.param(name.removeprefix("?")))
    place = json.loads(request.body)
    for part in segments(name) if name.startswith("/") else (name,):
        place = place[part]
    return int(place)


def _ended(view: PageView, paging: Paging, position: int, seen: int | None) -> bool:
    """Whether this was the last page.

    It is the last if the server says so, or if it is empty (or short, where `short_page_is_last`).
    A number beyond the last page is an error (404) at many APIs, so the number of records `seen` is
    compared with the total.

    Raises:
        ListMovedError: The page is empty, and the server says that there are more.
    """
    more, pages, total = _more(view), view.number("pages"), view.number("total")
    if view.record_count == 0:
        announced = (
            pages is not None
            and paging.kind == "page number"
            and position - paging.first + 1 < pages
        )
        if more or announced:
            raise ListMovedError
        return True
    if more is not None:
        return not more
    if pages is not None and paging.kind == "page number":
        return position - paging.first + 1 >= pages
    if total is not None and paging.kind == "offset":
        return position + view.record_count >= total
    if total is not None and seen is not None and seen >= total:
        return True
    return paging.short_page_is_last and view.record_count < paging.size


def _more(view: PageView) -> bool | None:
    """Whether the answer says that there is more, in whatever way; None where it does not say."""
    more = view.info.get("more")
    return None if more is None else str(more).strip().lower() not in _NO


def _next(paging: Paging, view: PageView, request: PageRequest, system: str) -> str | None:
    """The cursor or address of the next page, None after the last one.

    Raises:
        Misconfigured: There is more, and nothing says where. To stop there would lose the rest.
    """
    link = paging.kind == "link header"
    more, following = _more(view), next_link(view.link) if link else view.info.get("next")
    if following not in (None, False, "") and (link or more is not False):
        return str(following)
    if more:
        place = "in the Link header" if link else 'at the path in "Next page"'
        detail = (
            'the answer says that there are more pages ("More pages"), and no next one is named '
            f"{place}"
        )
        raise Misconfigured(system, "invoices", detail, call=request.path)
    return None


def _request_of_address(
    request: PageRequest, address: str, account: Account, system: str
) -> PageRequest:
    """The request for an address that the server named as the next page.

    The address must have the origin of the base URL and lie below it. Credentials go with every
    request, so an address elsewhere would hand them to whoever it belongs to.

    Raises:
        UnexpectedShape: The address is no URL, or lies elsewhere.
    """
    base = httpx.URL(account.base_url.strip())
    try:
        # A relative address is relative to the page it is on, whose path may have the base URL's in
        # it or not.
        url = join_url(base, request.path).copy_with(query=None).join(address)
    except (httpx.InvalidURL, ValueError):
        raise UnexpectedShape(
            system, "invoices", "the next page's address is no URL", call=request.path
        ) from None
    # A server behind a proxy may not know that it is reached over https.
    if url.scheme == "http" and base.scheme == "https":
        url = url.copy_with(scheme="https")
    if _origin(url) != _origin(base) or url.userinfo:
        detail = "the next page's address is on another server; it was not followed"
        raise UnexpectedShape(system, "invoices", detail, call=request.path)
    prefix = base.path.rstrip("/")
    if not url.path.startswith(prefix + "/") or ".." in unquote(url.path).split("/"):
        detail = "the next page's address is not below the base URL; it was not followed"
        raise UnexpectedShape(system, "invoices", detail, call=request.path)
    params: dict[str, Any] = {}
    for name, value in url.params.multi_items():
        params[name] = [*params[name], value] if name in params else [value]
    plain = {name: values[0] if len(values) == 1 else values for name, values in params.items()}
    return replace(request, path=url.path, params=plain, page_no=request.page_no + 1)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
