"""A shop's day at Oracle Fusion: the ledger is right after each step, whatever the pod can tell."""

from datetime import UTC, datetime
from typing import Any

import pytest

from simulator.model import Document
from simulator.systems.oracle_fusion.books import OracleBooks
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.support.vendors import OWN
from tests.sync.conftest import Shop, expected

__all__ = ["databases", "dsn"]
SYSTEM = "oracle_fusion"


class Day:
    """One shop: what happens there, and what the ledger says of it after the next poll."""

    def __init__(self, shop: Shop) -> None:
        books = shop.world.books[SYSTEM]
        assert isinstance(books, OracleBooks)
        self.shop, self.books = shop, books
        shop.sync(SYSTEM)

    @property
    def at(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    def sale(self, *quantities: int, status: str = "open") -> Document:
        known = self.books.customers.values()
        buyer = next(one for one in known if one.phone and one.person.national)
        products = [product for product in self.books.products.values() if product.sku]
        rows = [(products[at], count, 10_000) for at, count in enumerate(quantities)]
        return self.books.record("Invoice", buyer, rows, self.at, tax_bps=0, status=status)

    def points(self, *documents: Document) -> list[int]:
        """The points of these documents after a poll that finds all, and agrees with the books."""
        self.shop.sync(SYSTEM)
        ledger = self.shop.points()
        assert ledger == expected(self.shop.world, SYSTEM)
        return [ledger.get((SYSTEM, one.id), 0) for one in documents]


@pytest.fixture(params=["by change", "by creation"])
def day(request: pytest.FixtureRequest, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Day:
    """At a pod that tells changes, and at one that tells when a document was made and no more."""
    if request.param == "by creation":
        monkeypatch.setattr("simulator.systems.oracle_fusion.api.TELLS_CHANGES", False)
        options: dict[str, Any] = OWN[SYSTEM]["options"]
        monkeypatch.setitem(options, "changed_by", "CreationDate")
        monkeypatch.setitem(options, "reread_days", 31)
    return Day(shop)


def test_a_shops_day(day: Day) -> None:
    draft, sold = day.sale(3, status="submitted"), day.sale(3, 2)
    assert day.points(draft, sold) == [0, 5000]
    assert day.books.approve(draft, day.at)
    assert day.points(draft) == [3000]

    returned = day.books.take_back(sold, [1, 0], day.at)
    assert returned is not None
    assert day.points(sold, returned) == [5000, -1000]

    # An exchange: a credit memo, and another invoice.
    first = day.sale(2)
    back, other = day.books.take_back(first, [2], day.at), day.sale(0, 2)
    assert back is not None
    assert day.points(first, back, other) == [2000, -2000, 2000]

    # A cancellation: credited in full.
    wrong = day.sale(4)
    assert day.points(wrong) == [4000]
    assert day.books.void(wrong, day.at)
    credit = next(one for one in day.books.all("CreditMemo") if one.source is wrong)
    assert day.points(wrong, credit) == [4000, -4000]


def test_edits_and_payments(day: Day) -> None:
    sold = day.sale(1)
    assert day.points(sold) == [1000]
    assert day.books.edit(sold, 0, 5, day.at)
    assert day.points(sold) == [5000]
    assert day.books.pay(sold, sold.total_minor, day.at)
    assert day.points(sold) == [5000]


def test_an_invoice_that_is_made_incomplete_and_deleted(day: Day) -> None:
    """Also where no poll sees it incomplete."""
    sold, rash = day.sale(2), day.sale(3)
    assert day.points(sold, rash) == [2000, 3000]
    assert day.books.reopen(sold, day.at)
    assert day.points(sold) == [0]
    assert day.books.approve(sold, day.at)
    assert day.points(sold) == [2000]
    assert day.books.reopen(rash, day.at) and day.books.delete(rash, day.at)
    assert day.points(sold, rash) == [2000, 0]


def test_whatever_happens(day: Day) -> None:
    for _ in range(2):
        day.shop.world.evolve(steps=8, systems=(SYSTEM,))
        day.points()
