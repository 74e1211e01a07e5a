"""A shop's day at SAP S/4HANA: the ledger is right after each step."""

from datetime import UTC, datetime

import pytest

from simulator.model import Document
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import Shop, expected

__all__ = ["databases", "dsn"]
SYSTEM = "sap_s4hana"


class Day:
    """One shop: what happens there, and what the ledger says of it after the next poll."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.books = shop, shop.world.books[SYSTEM]
        shop.sync(SYSTEM)

    @property
    def at(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    def sale(self, *quantities: int) -> Document:
        known = self.books.customers.values()
        buyer = next(one for one in known if one.phone and one.person.national)
        products = [product for product in self.books.products.values() if product.sku]
        rows = [(products[at], count, 10_000) for at, count in enumerate(quantities)]
        return self.books.record("Invoice", buyer, rows, self.at, tax_bps=0)

    def points(self, *documents: Document) -> list[int]:
        """The points of these documents after a poll that finds everything, and agrees with the books."""
        self.shop.sync(SYSTEM)
        ledger = self.shop.points()
        assert ledger == expected(self.shop.world, SYSTEM)
        return [ledger.get((SYSTEM, one.id), 0) for one in documents]


@pytest.fixture
def day(shop: Shop) -> Day:
    return Day(shop)


def test_a_shops_day(day: Day) -> None:
    sold = day.sale(3, 2)
    assert day.points(sold) == [5000]
    returned = day.books.take_back(sold, [1, 0], day.at)
    assert returned is not None
    assert day.points(sold, returned) == [5000, -1000]

    # An exchange: a credit memo, and another invoice.
    first = day.sale(2)
    back, other = day.books.take_back(first, [2], day.at), day.sale(0, 2)
    assert back is not None
    assert day.points(first, back, other) == [2000, -2000, 2000]

    # What cancels a document is a document of its own; both count nothing.
    wrong = day.sale(4)
    assert day.points(wrong) == [4000]
    assert day.books.void(wrong, day.at)
    assert day.points(wrong) == [0]
    rash = day.books.take_back(other, [0, 1], day.at)
    assert rash is not None and day.books.void(rash, day.at)
    assert day.points(rash, other) == [0, 2000]


def test_edits_and_payments(day: Day) -> None:
    sold = day.sale(1)
    assert day.books.edit(sold, 0, 5, day.at)
    assert day.points(sold) == [5000]
    assert day.books.pay(sold, sold.total_minor, day.at)
    assert day.points(sold) == [5000]
