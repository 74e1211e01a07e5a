"""A day of a Magento shop, through the whole synchronisation: the ledger is right after each thing that happens."""

from datetime import UTC, datetime

import pytest

from simulator.books import Books
from simulator.model import Customer, Document, Product
from sql.policy import Wanted
from tasks.job import Policy
from tests.sync.conftest import Shop


class Day:
    """One customer of the simulated shop, and what they buy."""

    def __init__(self, shop: Shop, policy: Policy | None = None) -> None:
        self.shop, self.policy = shop, policy
        shop.sync("magento", policy=policy)
        self.books: Books = shop.world.books["magento"]
        customers = self.books.customers.values()
        self.customer: Customer = next(
            one
            for one in customers
            if int(one.id) % 5 and one.phone and one.person.national and one.phone_slot == 0
        )
        self.water: Product = next(
            one for one in self.books.products.values() if one.sku == "ATW-5L"
        )

    def order(self, quantity: int) -> Document:
        """Placed, and not invoiced yet; 57.00 a piece with tax."""
        lines = [(self.water, quantity, 5_000)]
        return self.books.record("Invoice", self.customer, lines, self.now, status="draft")

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def points(self, *orders: Document) -> list[int]:
        """Reads the shop; the points of these orders."""
        self.shop.sync("magento", policy=self.policy)
        found = self.shop.points()
        return [found.get(("magento", order.id), 0) for order in orders]


@pytest.fixture
def day(shop: Shop) -> Day:
    return Day(shop)


def test_order_invoice_partial_refund_and_the_rest(day: Day) -> None:
    order = day.order(4)
    assert day.points(order) == [0]
    assert day.books.approve(order, day.now)  # it is invoiced
    assert day.points(order) == [2280]
    assert day.books.pay(order, order.balance_minor, day.now)
    assert day.points(order) == [2280]
    assert day.books.take_back(order, [1], day.now)
    assert day.points(order) == [1710]
    assert day.points(order) == [1710]  # read again: nothing changes


def test_an_exchange_is_a_refund_and_a_new_order(day: Day) -> None:
    order = day.order(2)
    day.books.approve(order, day.now)
    day.books.pay(order, order.balance_minor, day.now)
    assert day.points(order) == [1140]
    assert day.books.take_back(order, [2], day.now)
    other = day.order(3)
    assert day.points(order, other) == [0, 0]
    day.books.approve(other, day.now)
    assert day.points(order, other) == [0, 1710]


def test_cancelled_before_and_after_it_was_invoiced(day: Day) -> None:
    first, second = day.order(2), day.order(3)
    day.books.approve(second, day.now)
    assert day.points(first, second) == [0, 1710]
    assert day.books.void(first, day.now)
    assert day.books.void(second, day.now)
    assert day.points(first, second) == [0, 0]


def test_an_edit_cancels_the_order_and_places_another(day: Day) -> None:
    order = day.order(2)
    assert day.points(order) == [0]
    assert day.books.edit(order, 0, 5, day.now)
    (other,) = [one for one in day.books.all("Invoice") if one.number == f"{order.number}-1"]
    assert day.points(order, other) == [0, 2850]


def test_awarded_when_paid(shop: Shop) -> None:
    day = Day(shop, Policy(award=Wanted("paid")))
    order = day.order(2)
    day.books.approve(order, day.now)
    assert day.points(order) == [0]
    day.books.pay(order, order.balance_minor, day.now)
    assert day.points(order) == [1140]
