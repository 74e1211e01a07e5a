"""Deletions that nobody tells (Sage Intacct): everything is listed, and what is stored and not listed is void."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from connectors.kit.errors import Transient
from sql import sync
from sql.db import connect
from tasks.job import Policy
from tasks.load.invoices import SightLostError
from tests.sync.conftest import Shop, expected

SYSTEM = "sage_intacct"


def delete_one(shop: Shop) -> str:
    """Deletes a sale that has points at the vendor, and returns its id."""
    books, points = shop.world.books[SYSTEM], shop.points()
    return next(
        one.id
        for one in books.all("Invoice")
        if (SYSTEM, one.id) in points
        and books.delete(one, datetime.now(UTC).replace(microsecond=0))
    )


def is_census(request: httpx.Request, kind: str) -> bool:
    if "query" not in request.url.path:
        return False
    body = json.loads(request.content)
    return body["object"] == f"accounts-receivable/{kind}" and "state" not in body["fields"]


def answers(
    kind: str, response: Callable[[], httpx.Response]
) -> Callable[[httpx.Request], httpx.Response | None]:
    return lambda request: response() if is_census(request, kind) else None


def cursors(shop: Shop) -> list[tuple[str, datetime]]:
    with connect(shop.dsn) as connection:
        return connection.execute(
            "SELECT stream, cursor_at FROM billing.sync_cursor ORDER BY 1"
        ).fetchall()


def test_what_is_not_listed_any_more_is_void(shop: Shop) -> None:
    shop.sync(SYSTEM)
    gone = delete_one(shop)
    _, loaded, awarded = shop.sync(SYSTEM)
    assert loaded.stored.voided == 1
    assert awarded.points < 0
    assert (SYSTEM, gone) not in shop.points()
    assert shop.points() == expected(shop.world, SYSTEM)
    assert shop.sync(SYSTEM)[1].stored.voided == 0


def test_a_first_read_compares_with_nothing(shop: Shop) -> None:
    shop.sync(SYSTEM)
    assert not [request for request in shop.requests if is_census(request, "invoice")]


def test_a_dry_run_says_what_would_be_void_and_voids_nothing(shop: Shop) -> None:
    shop.sync(SYSTEM)
    before, _ = shop.points(), delete_one(shop)
    _, loaded, awarded = shop.sync(SYSTEM, dry_run=True)
    assert (loaded.stored.voided, awarded.entries) == (1, 1)
    assert shop.points() == before


def test_who_sees_less_than_before_deletes_nothing(shop: Shop) -> None:
    """Another role or entity hides documents without a word: the run stops, nothing moves, the next good one goes on."""
    shop.sync(SYSTEM)
    before, moved = shop.points(), cursors(shop)
    empty = {
        "ia::result": [],
        "ia::meta": {"totalCount": 0, "start": 1, "pageSize": 100, "next": None},
    }
    shop.before = answers("invoice", lambda: httpx.Response(200, json=empty))
    with pytest.raises(
        SightLostError,
        match=r"documents are not listed any more.*block 'sage-intacct'.*another role",
    ):
        shop.sync(SYSTEM)
    assert (shop.points(), cursors(shop)) == (before, moved)
    sync.fail(
        shop.dsn, "test", "SightLostError: ..."
    )  # as the flow does with every run that ended badly
    shop.before = lambda _: None
    shop.sync(SYSTEM)
    assert shop.points() == expected(shop.world, SYSTEM)


def test_the_limit_is_the_operators(shop: Shop) -> None:
    shop.sync(SYSTEM)
    for document in shop.world.books[SYSTEM].all("Invoice"):
        shop.world.books[SYSTEM].delete(document, datetime.now(UTC).replace(microsecond=0))
    with pytest.raises(SightLostError):
        shop.sync(SYSTEM, policy=Policy(reject_percent_max=1))
    shop.sync(SYSTEM, policy=Policy(reject_percent_max=100))
    assert shop.points() == expected(shop.world, SYSTEM)


@pytest.mark.parametrize("kind", ["invoice", "adjustment"])
def test_half_a_census_says_nothing(shop: Shop, kind: str) -> None:
    """A read that was interrupted between its lists goes on, and only then compares."""
    shop.sync(SYSTEM)
    before, gone = shop.points(), delete_one(shop)
    shop.before = answers(kind, lambda: httpx.Response(503))
    with pytest.raises(Transient):
        shop.sync(SYSTEM)
    assert shop.points() == before
    shop.before = lambda _: None
    extracted, loaded, _ = shop.sync(SYSTEM)
    assert extracted.resumed
    assert loaded.stored.voided == 1
    assert (SYSTEM, gone) not in shop.points()
    assert shop.points() == expected(shop.world, SYSTEM)


def test_a_replay_of_older_pages_does_not_bring_it_back(shop: Shop) -> None:
    """A document that a census found gone counts as changed when that census began."""
    shop.sync(SYSTEM)
    gone = delete_one(shop)
    shop.sync(SYSTEM)
    _, loaded, awarded = shop.sync(SYSTEM, replay=True)
    assert (loaded.stored.changed, loaded.stored.voided, awarded.entries) == (0, 0, 0)
    assert (SYSTEM, gone) not in shop.points()
