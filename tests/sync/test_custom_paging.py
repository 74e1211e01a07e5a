"""Ways of paging of systems described by options: nothing is left out in silence, and what is set up wrongly is named."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors.custom.connector import spec_from
from connectors.kit.errors import ListedTooFew, Misconfigured
from sql.db import connect
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import run
from tests.sync.test_custom import connection, job, no_waiting, sales

__all__ = ["databases", "dsn", "no_waiting"]
ROWS = [
    {"id": n, "customer_phone": "923456789", "total": "10.00", "sale_date": "2026-05-01"}
    for n in range(1, 8)
]
SIZE = 2
Page = Callable[[list[dict[str, Any]], int], dict[str, Any]]


class Server:
    """Answers at one path only, as servers do; a page begins at the record that `said` names, in a parameter or a link."""

    def __init__(
        self,
        page: Page,
        param: str = "cursor",
        headers: Callable[[int], dict[str, str]] | None = None,
    ) -> None:
        self._page, self._param, self._headers = page, param, headers
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/invoices":
            return httpx.Response(404)
        start = request.url.params.get(self._param, "0")
        self.asked.append(start)
        after = int(start) + SIZE
        headers = self._headers(after) if self._headers and after < len(ROWS) else {}
        return httpx.Response(
            200, json=self._page(ROWS[int(start) : after], after), headers=headers
        )


def with_cursor(more: Callable[[bool], Any]) -> Page:
    """Pages with a cursor that is there also on the last one, and `more` in the API's own way."""
    return lambda rows, after: {
        "data": rows,
        "next_cursor": after,
        "has_more": more(after < len(ROWS)),
    }


@pytest.mark.parametrize(
    "more",
    [
        bool,
        int,
        lambda more: str(more).lower(),
        lambda more: "yes" if more else "no",
        lambda more: "Y" if more else "N",
    ],
    ids=["boolean", "number", "text", "yes", "Y"],
)
def test_no_more_is_understood_however_it_is_written(dsn: str, more: Callable[[bool], Any]) -> None:
    server = Server(with_cursor(more))
    run(job(dsn, connection({}), server))
    assert server.asked == ["0", "2", "4", "6"]
    assert len(sales(dsn)) == len(ROWS)


@pytest.mark.parametrize(
    ("options", "page", "said"),
    [
        (
            {},
            lambda rows, after: {"data": rows, "paging": {"next": after}, "has_more": True},
            '"Next page"',
        ),
        (
            {"paging": "next link in the body"},
            lambda rows, _: {"data": rows, "next_cursor": None, "has_more": "true"},
            '"Next page"',
        ),
        ({"paging": "link header"}, lambda rows, _: {"data": rows, "has_more": 1}, "Link header"),
        ({"paging": "none"}, lambda rows, _: {"data": rows, "has_more": True}, '"Paging" is none'),
    ],
    ids=["cursor", "link", "header", "none"],
)
def test_more_pages_that_nothing_leads_to_are_an_error(
    dsn: str, options: dict[str, Any], page: Page, said: str
) -> None:
    """The first page alone would look like everything there is."""
    for _ in range(2):  # a second run is not continued behind what could not be read
        with pytest.raises(Misconfigured, match=said) as stopped:
            run(job(dsn, connection(options), Server(page)))
        assert 'Correct it in the block "custom"' in str(stopped.value)
    assert sales(dsn) == {}


@pytest.mark.parametrize(
    "link", ["?cursor={at}", "invoices?cursor={at}", "/api/v1/invoices?cursor={at}"]
)
@pytest.mark.parametrize("place", ["header", "body"])
def test_relative_addresses_below_a_base_url_with_a_path(dsn: str, link: str, place: str) -> None:
    """The second hop starts from an address that has the base URL's path in it already."""
    server = Server(
        lambda rows, after: {
            "data": rows,
            "next": link.format(at=after) if after < len(ROWS) else None,
        },
        headers=lambda after: {"link": f'<{link.format(at=after)}>; rel="next"'},
    )
    body = {"paging": "next link in the body", "next_path": "/next"}
    run(job(dsn, connection({"paging": "link header"} if place == "header" else body), server))
    assert server.asked == ["0", "2", "4", "6"]
    assert len(sales(dsn)) == len(ROWS)


def test_a_server_that_does_not_know_of_its_proxy_is_asked_over_tls(dsn: str) -> None:
    seen: list[str] = []

    def page(rows: list[dict[str, Any]], after: int) -> dict[str, Any]:
        link = f"http://erp.test/api/v1/invoices?cursor={after}"
        return {"data": rows, "next": link if after < len(ROWS) else ""}

    server = Server(page)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.scheme)
        return server(request)

    run(job(dsn, connection({"paging": "next link in the body", "next_path": "/next"}), answer))
    assert seen == ["https"] * 4
    assert len(sales(dsn)) == len(ROWS)


@pytest.mark.parametrize("said", ["more", "total", "nothing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_api_that_goes_on_from_the_last_id(dsn: str, said: str, method: str) -> None:
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        place = json.loads(request.content) if method == "POST" else dict(request.url.params)
        asked.append(place.get("starting_after"))
        last = int(place.get("starting_after") or 0)
        rows = [row for row in ROWS if row["id"] > last][:SIZE]
        beside = {
            "more": {"has_more": bool(rows) and rows[-1] != ROWS[-1]},
            "total": {"count": len(ROWS)},
            "nothing": {},
        }
        return httpx.Response(200, json={"data": rows} | beside[said])

    options = {"paging": "last id", "total_path": "/count", "method": method}
    run(job(dsn, connection(options), answer))
    expected = [None, 2, 4, 6] + ([7] if said == "nothing" else [])
    assert [one if one is None else int(one) for one in asked] == expected
    assert len(sales(dsn)) == len(ROWS)


def test_a_last_record_without_an_id_is_named(dsn: str) -> None:
    with pytest.raises(Misconfigured, match="no id to go on from"):
        run(
            job(
                dsn,
                connection({"paging": "last id"}),
                Server(lambda _rows, _: {"data": [{"total": "1.00"}], "has_more": 1}),
            )
        )


def test_a_next_page_inside_the_records_is_refused() -> None:
    with pytest.raises(Misconfigured, match='"last id"'):
        spec_from(connection({"next_path": "/data/-1/id"}))


def test_a_total_that_is_never_reached_stops_the_run_and_is_counted_again(dsn: str) -> None:
    """Paging that is set up wrongly shows only by the number beside the records."""
    wrong = Server(lambda rows, _: {"data": rows, "count": len(ROWS)})
    for _ in range(2):
        with pytest.raises(
            ListedTooFew, match=r'2 records were listed, .* there are 7: check "Paging"'
        ):
            run(job(dsn, connection({"total_path": "/count"}), wrong))
    with connect(dsn) as opened:
        states = opened.execute("SELECT DISTINCT state FROM billing.sync_run").fetchall()
    assert (states, sales(dsn)) == ([("abandoned",)], {})
    right = Server(
        lambda rows, after: {
            "data": rows,
            "count": len(ROWS),
            "next_cursor": after if rows else None,
        }
    )
    run(job(dsn, connection({"total_path": "/count"}), right))
    assert len(sales(dsn)) == len(ROWS)
