"""A shop's day with WooCommerce: after each thing that happens, the ledger is right."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import simulator
from simulator.model import Customer, Document, Person
from simulator.systems.woocommerce.books import WooCommerceBooks
from tests.sync.conftest import START, Shop
from tests.sync.test_pipeline import rows_of

SYSTEM = "woocommerce"


class Counter:
    """What happens at the counter of a small shop, and the points that are in the ledger then."""

    def __init__(self, shop: Shop) -> None:
        shop.world = simulator.World(seed=5, customers=3, invoices=0, start=START, example=False)
        books = shop.world.books[SYSTEM]
        assert isinstance(books, WooCommerceBooks)
        self.shop, self.books = shop, books
        self.product = next(one for one in self.books.products.values() if one.sku == "ATW-5L")
        self.buyer = self.someone("923 000 001")
        self._opened = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
        self._seconds = 0

    def someone(self, phone: str) -> Customer:
        person = Person("Ana", "Neto", None, phone.replace(" ", ""))
        return self.books.add_customer(person, phone, START)

    def now(self) -> datetime:
        """A second later than the last time, whatever the clock says."""
        self._seconds += 1
        return self._opened + timedelta(seconds=self._seconds)

    def sell(self, quantity: int, buyer: Customer | None = None, *, paid: bool = True) -> Document:
        """A sale of so many bottles at 50.00, without tax: 500 points each."""
        at = self.now()
        rows = [(self.product, quantity, 5_000)]
        sold = self.books.record("Invoice", buyer or self.buyer, rows, at, tax_bps=0)
        if paid:
            assert self.books.pay(sold, sold.total_minor, at)
        return sold

    def give_back(self, sold: Document, quantity: int = 0, **more: Any) -> None:
        rows = [(self.product, quantity, 5_000)] if quantity else []
        assert self.books.refund(sold, rows, self.now(), **more)

    def points(self) -> dict[str, int]:
        """Points by order after a synchronisation; a second one changes nothing."""
        self.shop.sync(SYSTEM)
        points = {key: count for (_, key), count in self.shop.points().items()}
        assert self.shop.sync(SYSTEM)[2].entries == 0
        return points


@pytest.fixture
def counter(shop: Shop) -> Counter:
    return Counter(shop)


def test_a_shops_day(counter: Counter) -> None:
    first = counter.sell(3)
    assert counter.points() == {first.id: 1500}
    waiting = counter.sell(2, paid=False)  # cash on delivery: the shop works on it
    assert counter.points() == {first.id: 1500, waiting.id: 1000}

    counter.give_back(first, 1)
    assert counter.points() == {first.id: 1000, waiting.id: 1000}
    # An exchange: the rest comes back, and something else goes out.
    counter.give_back(first, 2)
    other = counter.sell(4)
    assert counter.points() == {waiting.id: 1000, other.id: 2000}

    assert counter.books.edit(waiting, 0, 5, counter.now())
    assert counter.points() == {waiting.id: 2500, other.id: 2000}
    assert counter.books.void(waiting, counter.now())
    assert counter.points() == {other.id: 2000}

    binned = counter.sell(1, paid=False)
    assert counter.points() == {other.id: 2000, binned.id: 500}
    assert counter.books.delete(binned, counter.now())
    assert counter.points() == {other.id: 2000}


def test_a_refund_that_leaves_the_order_as_it_was(counter: Counter) -> None:
    """As in the published order 723: its last change is older than its refunds."""
    sold = counter.sell(3)
    assert counter.points() == {sold.id: 1500}
    counter.give_back(sold, amount_minor=2_000, moves=False)
    assert counter.points() == {sold.id: 1300}
    counter.give_back(sold, 1, moves=False)
    assert counter.points() == {sold.id: 800}


def test_an_order_deleted_for_good_is_missed_and_void(counter: Counter) -> None:
    kept, gone = counter.sell(3), counter.sell(2, paid=False)
    assert counter.points() == {kept.id: 1500, gone.id: 1000}
    assert counter.books.delete(gone, counter.now())
    gone.archived = True  # the bin was emptied before anybody looked
    assert counter.points() == {kept.id: 1500}


def test_an_order_in_the_bin_comes_back(counter: Counter) -> None:
    sold = counter.sell(3, paid=False)
    assert counter.points() == {sold.id: 1500}
    assert counter.books.delete(sold, counter.now())
    assert counter.points() == {}
    sold.deleted = False
    sold.touch(counter.now())
    assert counter.points() == {sold.id: 1500}


def test_guests_with_a_phone_are_members_and_others_are_counted(counter: Counter) -> None:
    named, nobody = (
        Customer("0", Person("Eva", "", None, number), number, 0, START, START)
        for number in ("923000009", None)
    )
    orders = [counter.sell(1, buyer) for buyer in (named, nobody) for _ in range(2)]
    _, loaded, _ = counter.shop.sync(SYSTEM)
    assert (loaded.walk_ins, loaded.rejected) == (2, 0)
    assert {key for _, key in counter.shop.points()} == {order.id for order in orders[:2]}
    phones = rows_of(counter.shop, "SELECT phone FROM loyalty.member")
    assert phones == [("+244923000009",)]


def test_a_reject_is_closed_once_its_order_is_a_sale_to_nobody(counter: Counter) -> None:
    """And another version of it that is refused opens it again."""
    opened = "SELECT external_id FROM billing.reject WHERE resolved_at IS NULL"
    guest = Customer("0", Person("Eva", "", None, None), "s/n", 0, START, START)
    order, other = counter.sell(1, guest), counter.sell(1, guest)
    _, loaded, _ = counter.shop.sync(SYSTEM)
    assert (loaded.walk_ins, loaded.rejected) == (0, 2)
    for phone, counted, still_open in (
        (None, 1, [(other.id,)]),
        ("s/n", 0, [(other.id,), (order.id,)]),
    ):
        order.customer = Customer("0", guest.person, phone, 0, START, START)
        order.touch(counter.now())
        _, loaded, _ = counter.shop.sync(SYSTEM)
        assert (loaded.walk_ins, loaded.resolved) == (counted, counted)
        assert sorted(rows_of(counter.shop, opened)) == sorted(still_open)
