"""Requests and paging of an API that an operator describes in a block."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import httpx

from connectors.kit.errors import PaginationLoop, UnexpectedShape
from connectors.kit.mapping.pointers import segments
from connectors.kit.pagination import single
from connectors.kit.spec import Connection, PageRequest, Pages, PageView, Window

PagingKind = Literal["none", "page number", "offset", "cursor", "next link in the body", "link header"]
SinceFormat = Literal["rfc3339", "date", "date and time", "unix seconds", "unix milliseconds", "not sent"]
#: What the page parameter is usually called.
USUAL_PARAM: Final[Mapping[PagingKind, str]] = {"page number": "page", "offset": "offset", "cursor": "cursor"}
_ENTRY = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r""";\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))""", re.IGNORECASE)


@dataclass(frozen=True)
class Paging:
    """How to get from a page to the next one; see `connectors.custom.CustomSettings`."""

    kind: PagingKind
    param: str
    first: int
    size: int
    short_page_is_last: bool


def put(request: PageRequest, name: str, value: str | int) -> PageRequest:
    """The request with a parameter set.

    Args:
        request: What is changed.
        name: In the query of a GET, in the body of a POST (`/a/b` lies deeper); `?name` is in the query in any case.
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


def first_request(template: PageRequest, window: Window, param: str, form: SinceFormat, zone: str) -> PageRequest:
    """The first request of a window. Without a window's start there is no bound."""
    if window.since is None or form == "not sent":
        return template
    return put(template, param, since_value(window.since, form, zone))


def paginate(paging: Paging, connection: Connection, system: str) -> Callable[[PageRequest], Pages]:
    """The generator that pages this API."""
    if paging.kind == "none":
        return single
    if paging.kind in ("page number", "offset"):
        return partial(_counted, paging=paging)
    return partial(_followed, paging=paging, connection=connection, system=system)


def _counted(first: PageRequest, *, paging: Paging) -> Pages:
    """By number or offset. Only what the server says, or an empty page, is the end: it may give less than asked."""
    position, request = _position(first, paging), first
    # What came before the page that a read is continued from is not known: then only an empty page is the end.
    seen = 0 if position == paging.first else None
    while True:
        view = yield request
        seen = None if seen is None else seen + view.record_count
        if _ended(view, paging, position, seen):
            return
        position += 1 if paging.kind == "page number" else view.record_count
        request = replace(put(request, paging.param, position), page_no=request.page_no + 1)


def _followed(first: PageRequest, *, paging: Paging, connection: Connection, system: str) -> Pages:
    """By cursor or address."""
    request, known = first, set[str]()
    while True:
        view = yield request
        following = _next(paging, view)
        if following is None:
            return
        if following in known:
            raise PaginationLoop(system, "invoices", "the same next page is named twice", call=request.path)
        known.add(following)
        if paging.kind == "cursor":
            request = replace(put(request, paging.param, following), page_no=request.page_no + 1)
        else:
            request = _moved(request, following, connection, system)


def _position(request: PageRequest, paging: Paging) -> int:
    """Where a request is in the list, also one that was stored and is continued."""
    name = paging.param
    if request.body is None or name.startswith("?"):
        return int(request.param(name.removeprefix("?")))
    place = json.loads(request.body)
    for part in segments(name) if name.startswith("/") else (name,):
        place = place[part]
    return int(place)


def _ended(view: PageView, paging: Paging, position: int, seen: int | None) -> bool:
    """Whether this was the last page: the server says so, or it is empty (or short, where that is a sign).

    A number beyond the last page is an error (404) at many APIs, so the records `seen` are held against the total.
    """
    if view.record_count == 0:
        return True
    more, pages, total = view.info.get("more"), view.number("pages"), view.number("total")
    if isinstance(more, bool | str):
        return str(more).lower() in ("false", "0", "no", "n", "")
    if pages is not None and paging.kind == "page number":
        return position - paging.first + 1 >= pages
    if total is not None and paging.kind == "offset":
        return position + view.record_count >= total
    if total is not None and seen is not None and seen >= total:
        return True
    return paging.short_page_is_last and view.record_count < paging.size


def _next(paging: Paging, view: PageView) -> str | None:
    """The cursor or address of the next page, None after the last one."""
    if paging.kind == "link header":
        return next_link(view.link)
    more, following = view.info.get("more"), view.info.get("next")
    if following is None or following is False or following == "" or more is False:
        return None
    return str(following)


def next_link(header: str) -> str | None:
    """The address with rel="next" of a Link header (RFC 8288), None where there is none."""
    for address, parameters in _ENTRY.findall(header):
        rel = _REL.search(parameters)
        if rel and "next" in (rel[1] or rel[2] or "").lower().split():
            return str(address).strip()
    return None


def _moved(request: PageRequest, address: str, connection: Connection, system: str) -> PageRequest:
    """The request of an address that a server named: of the same origin and below the base URL, or none at all.

    Credentials go with every request, so an address elsewhere would hand them to whoever it belongs to.
    """
    base = httpx.URL(connection.base_url.strip())
    try:
        # A relative address is relative to the page it is on.
        here = base.copy_with(path=base.path.rstrip("/") + "/" + request.path.lstrip("/"), query=None)
        url = here.join(address)
    except (httpx.InvalidURL, ValueError):
        raise UnexpectedShape(system, "invoices", "the next page's address is no URL", call=request.path) from None
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
