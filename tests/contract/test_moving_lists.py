"""Lists that move while they are read: whatever is edited, deleted or added between two requests, no sale is lost.

What changes while a list is read is in the next run's window. Everything else has to be in this
one.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from connectors.custom.connector import spec_from
from connectors.kit.errors import ListedTooFew, PaginationLoop, Transient
from connectors.kit.http.client import Client, Timing, open_client
from connectors.kit.read.pages import extract
from connectors.kit.spec import Account, ConnectorSpec, Page, PageRequest, Resume, Window
from simulator import ManualClock
from tests.contract.conftest import MemoryTokens

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
SIZE = 5
SEEDS = 3


@dataclass
class Moving:
    """A list of documents behind an API, in one of four orders, that changes when it is told to."""

    order: str
    random: Random
    rows: dict[int, datetime] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    now: datetime = BEGIN
    size_limit: int = 100
    #: Something happens before every so many requests.
    every: int = 1
    requests: list[httpx.Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Forty documents, changed in an order of their own."""
        for number in self.random.sample(range(1, 41), 40):
            self.rows[number] = self._later()

    def _later(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def change(self) -> None:
        """One to three things happen."""
        for _ in range(self.random.randint(1, 3)):
            what = self.random.choice(("edit", "edit", "delete", "delete", "add"))
            if what == "add":
                number = max(self.rows, default=0) + 1
                self.rows[number] = self._later()
                self.touched.add(number)
            elif self.rows:
                number = self.random.choice(sorted(self.rows))
                self.touched.add(number)
                if what == "edit":
                    self.rows[number] = self._later()
                else:
                    del self.rows[number]

    def listed(self) -> list[dict[str, Any]]:
        """All documents, in the order of the API."""
        by, _, direction = self.order.partition(" ")
        key: Callable[[int], Any] = self.rows.__getitem__ if by == "updated" else int
        ordered = sorted(self.rows, key=lambda one: (key(one), one), reverse=direction == "desc")
        return [
            {
                "id": one, "customer_phone": "923456789", "total": "10.00", "currency": "AOA",
                "sale_date": "2026-05-01", "updated_at": self.rows[one].isoformat(),
            }
            for one in ordered
        ]  # fmt: skip

    def lost(self, read: set[int]) -> set[int]:
        """What is there, was not touched, and was not read."""
        return set(self.rows) - self.touched - read


Answer = Callable[[Moving, httpx.QueryParams], httpx.Response]


def by_number(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    page, size = int(params["page"]), min(int(params["limit"]), moving.size_limit)
    rows = moving.listed()[(page - 1) * size : page * size]
    return httpx.Response(200, json={"data": rows, "pages": -(-len(moving.rows) // size)})


def by_number_of_its_own_size(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    rows = moving.listed()[(int(params["page"]) - 1) * SIZE : int(params["page"]) * SIZE]
    return httpx.Response(200, json={"data": rows})


def by_number_of_fixed_sizes(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    if params["limit"] != str(SIZE):
        return httpx.Response(422, json={"title": "limit", "status": 422})
    return by_number(moving, params)


def by_offset(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    start = int(params["offset"])
    return httpx.Response(200, json={"data": moving.listed()[start : start + SIZE]})


def by_offset_of_pages(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    if int(params["offset"]) % SIZE:
        return httpx.Response(400, json={"title": "offset", "status": 400})
    return by_offset(moving, params)


def by_link(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    page = int(params.get("page", 1))
    rows = moving.listed()
    more = page * SIZE < len(rows)
    headers = {"link": f'</invoices?page={page + 1}>; rel="next"'} if more else {}
    return httpx.Response(
        200, json={"data": rows[(page - 1) * SIZE : page * SIZE]}, headers=headers
    )


def by_link_in_the_body(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
    start, rows = int(params.get("offset", 0)), moving.listed()
    following = f"/invoices?offset={start + SIZE}" if start + SIZE < len(rows) else None
    return httpx.Response(200, json={"data": rows[start : start + SIZE], "next": following})


LINK = {"paging": "next link in the body", "next_path": "/next"}
APIS: dict[str, tuple[Answer, dict[str, Any]]] = {
    "page number": (by_number, {"paging": "page number", "pages_path": "/pages"}),
    "page number, nothing said": (by_number, {"paging": "page number"}),
    "page number, size ignored": (by_number_of_its_own_size, {"paging": "page number"}),
    "page number, size not sent": (
        by_number_of_its_own_size,
        {"paging": "page number", "size_param": ""},
    ),
    "page number, other sizes refused": (by_number_of_fixed_sizes, {"paging": "page number"}),
    "offset": (by_offset, {"paging": "offset"}),
    "offset, multiples only": (by_offset_of_pages, {"paging": "offset"}),
    "link header": (by_link, {"paging": "link header"}),
    "link in the body": (by_link_in_the_body, LINK),
}
#: Pages that cannot begin with the record before: the page before is looked at again, so that it
#: takes two moves that cancel each other out within two requests to lose something.
FIXED = (
    "page number, nothing said",
    "page number, size ignored",
    "page number, size not sent",
    "page number, other sizes refused",
)
FIXED += ("offset, multiples only", "link header", "link in the body")
ORDERS = ("id asc", "id desc", "updated asc", "updated desc")


@dataclass
class Desk:
    """A connection to such an API; something happens before every request but the first."""

    api: str
    moving: Moving
    still: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def connection(self) -> Account:
        options = {
            "authentication": "none",
            "params": {},
            "more_path": "",
            **APIS[self.api][1],
            **self.options,
        }
        return Account(
            "custom", "loja", "https://erp.test", "", "", SecretStr(""), SecretStr(""),
            page_size=SIZE, options=options,
        )  # fmt: skip

    @property
    def spec(self) -> ConnectorSpec:
        return spec_from(self.connection)

    @contextmanager
    def client(self) -> Iterator[Client]:
        def answer(request: httpx.Request) -> httpx.Response:
            if (
                self.moving.requests
                and not self.still
                and len(self.moving.requests) % self.moving.every == 0
            ):
                self.moving.change()
            self.moving.requests.append(request)
            return APIS[self.api][0](self.moving, request.url.params)

        clock = ManualClock(BEGIN)
        timing = Timing(monotonic=lambda: clock().timestamp(), sleep=clock.sleep, now=clock)
        transport = httpx.MockTransport(answer)
        with open_client(
            self.connection, self.spec, MemoryTokens(), transport=transport, timing=timing
        ) as client:
            yield client

    def read(self, pages: list[Page]) -> set[int]:
        return {row["id"] for page in pages for row in json.loads(page.body)["data"]}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("api", APIS)
def test_nothing_is_lost_whatever_moves(api: str, order: str) -> None:
    finished = 0
    for seed in range(SEEDS):
        desk = Desk(
            api, Moving(order, Random(f"{api}/{order}/{seed}"), every=3 if api in FIXED else 1)
        )
        with desk.client() as client:
            try:
                pages = list(extract(desk.spec, desk.spec.streams[0], client, Window()))
            except Transient:  # said aloud, and read again by the next run
                continue
        finished += 1
        assert not desk.moving.lost(desk.read(pages)), (api, order, seed)
        assert [page.page_no for page in pages] == sorted({page.page_no for page in pages})
    # A list of eight pages that changes all the time is read all the same, but for the order that
    # loses most.
    assert finished or order == "updated asc"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("api", APIS)
def test_nothing_is_lost_where_a_read_was_interrupted(api: str, order: str) -> None:
    finished = 0
    for seed in range(SEEDS):
        desk = Desk(
            api, Moving(order, Random(f"{api}/{order}/{seed}/cut"), every=3 if api in FIXED else 1)
        )
        with desk.client() as client:
            try:
                reading = extract(desk.spec, desk.spec.streams[0], client, Window())
                pages = [next(reading) for _ in range(2)]
                if pages[-1].next_request is None:
                    continue
                for _ in range(3):
                    desk.moving.change()
                pages += extract(
                    desk.spec, desk.spec.streams[0], client, Window(), resume=stopped(pages[-1])
                )
            except (Transient, StopIteration):
                continue
        finished += 1
        assert not desk.moving.lost(desk.read(pages)), (api, order, seed)
    assert finished or order == "updated asc"


def stopped(page: Page) -> Resume:
    request, following = (
        PageRequest.from_json(json.loads(json.dumps(one.to_json())))
        for one in (page.request, page.next_request)
        if one
    )
    return Resume(request, page.body, following)


@pytest.mark.parametrize("api", APIS)
def test_a_list_that_stands_still_is_read_once(api: str) -> None:
    """Two requests a page at the worst, where a page cannot begin with the record before it."""
    desk = Desk(api, Moving("id asc", Random(1)), still=True)
    with desk.client() as client:
        pages = list(extract(desk.spec, desk.spec.streams[0], client, Window()))
    assert desk.read(pages) == set(desk.moving.rows)
    assert len(desk.moving.requests) <= 2 * (40 // SIZE) + 5
    assert sum(page.record_count for page in pages) <= 40 + len(pages) + SIZE


@pytest.mark.parametrize("api", ["page number", "offset", "link in the body"])
def test_a_server_that_knows_no_pages_is_a_loop(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records again are not the end of the list."""
    desk = Desk(api, Moving("id asc", Random(1)), still=True)

    def first_page(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
        following = int(params.get("offset", 0)) + SIZE
        return httpx.Response(
            200, json={"data": moving.listed()[:SIZE], "next": f"/invoices?offset={following}"}
        )

    monkeypatch.setitem(
        APIS, api, (first_page, {k: v for k, v in APIS[api][1].items() if k != "pages_path"})
    )
    with desk.client() as client, pytest.raises(PaginationLoop):
        list(extract(desk.spec, desk.spec.streams[0], client, Window()))


@pytest.mark.parametrize(
    ("api", "beside", "options"),
    [
        ("page number", {"pages": 8}, {}),
        ("page number", {"more": True}, {"pages_path": "", "more_path": "/more"}),
        ("offset", {"more": "yes"}, {"more_path": "/more"}),
        ("offset", {"count": 40}, {"total_path": "/count"}),
    ],
)
def test_an_empty_page_in_the_middle_is_not_the_end(
    api: str, beside: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says that there is more and gives nothing: the run fails, instead of taking a part for the whole."""

    def hollow(moving: Moving, params: httpx.QueryParams) -> httpx.Response:
        first = params.get("page") == "1" or params.get("offset") == "0"
        return httpx.Response(200, json={"data": moving.listed()[:SIZE] if first else [], **beside})

    desk = Desk(api, Moving("id asc", Random(1)), still=True, options=options)
    monkeypatch.setitem(APIS, api, (hollow, APIS[api][1]))
    with desk.client() as client, pytest.raises((Transient, ListedTooFew)):
        list(extract(desk.spec, desk.spec.streams[0], client, Window()))
