"""A shop's day at Business Central, polled and announced: the ledger is right after each step."""

from datetime import UTC, datetime
from typing import Any

import pytest

import simulator
from simulator.model import Customer, Document
from simulator.webhooks import Announcer, Disorder
from tests.support.database import databases
from tests.support.database import emptied as dsn
from tests.sync.conftest import START, Shop, expected
from tests.sync.test_webhooks import SECRETS, Mailbox

__all__ = ["databases", "dsn"]
SYSTEM = "business_central"
STATE = "a client state nobody can guess"


class Day:
    """One shop: what happens there, and what the ledger says of it after the next poll."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.books = shop, shop.world.books[SYSTEM]
        shop.sync(SYSTEM)

    @property
    def at(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    def buyer(self) -> Customer:
        return next(
            one for one in self.books.customers.values() if one.phone and one.person.national
        )

    def sale(self, *quantities: int, status: str = "open") -> Document:
        products = [product for product in self.books.products.values() if product.sku]
        rows = [(products[at], count, 10_000) for at, count in enumerate(quantities)]
        return self.books.record("Invoice", self.buyer(), rows, self.at, tax_bps=0, status=status)

    def points(self, *documents: Document) -> list[int]:
        """The points of these documents after a poll that finds everything, and agrees with the books."""
        self.shop.sync(SYSTEM)
        ledger = self.shop.points()
        assert ledger == expected(self.shop.world, SYSTEM)
        keys = (one.id if one.entity == "Invoice" else f"credit_note/{one.id}" for one in documents)
        return [ledger.get((SYSTEM, key), 0) for key in keys]


@pytest.fixture
def day(shop: Shop) -> Day:
    return Day(shop)


def test_a_shops_day(day: Day) -> None:
    draft = day.sale(3, status="draft")
    sold = day.sale(3, 2)
    assert day.points(draft, sold) == [0, 5000]

    assert day.books.approve(draft, day.at)  # posted, under the same id
    assert day.points(draft) == [3000]

    returned = day.books.take_back(sold, [1, 0], day.at)
    assert returned is not None
    assert day.points(sold, returned) == [5000, -1000]

    # An exchange: a credit memo, and another invoice.
    first = day.sale(2)
    back, other = day.books.take_back(first, [2], day.at), day.sale(0, 2)
    assert back is not None
    assert day.points(first, back, other) == [2000, -2000, 2000]

    # Cancelling posts a credit memo over the whole; both count nothing.
    wrong = day.sale(4)
    assert day.points(wrong) == [4000]
    assert day.books.void(wrong, day.at)
    assert day.points(wrong) == [0]

    # A credit memo that is cancelled takes nothing any more.
    rash = day.books.take_back(other, [0, 1], day.at)
    assert rash is not None
    assert day.points(rash) == [-1000]
    assert day.books.void(rash, day.at)
    assert day.points(rash, other) == [0, 2000]


def test_an_edit_of_a_draft_and_a_deletion(day: Day) -> None:
    changed = day.sale(1, status="draft")
    assert day.books.edit(changed, 0, 5, day.at)
    assert day.books.approve(changed, day.at)
    assert day.points(changed) == [5000]
    assert day.books.delete(changed, day.at)
    assert day.points(changed) == [0]


def test_a_payment_changes_no_points(day: Day) -> None:
    sold = day.sale(1)
    assert day.books.pay(sold, sold.total_minor, day.at)
    assert day.points(sold) == [1000]


@pytest.fixture
def box(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    monkeypatch.setitem(SECRETS, SYSTEM, STATE)
    shop.world = simulator.World(seed=11, customers=15, invoices=20, start=START)
    return Mailbox(shop)


def announced(box: Mailbox, **options: Any) -> Announcer:
    return Announcer(box.shop.world, {SYSTEM: STATE}, **options)


def test_announced_sales_are_in_the_ledger_as_if_they_had_been_polled(box: Mailbox) -> None:
    announcer = announced(box, disorder=Disorder(seed=3, repeated=0.3, overtaken=0.5))
    announcer._seen.clear()
    box.receive(announcer.changes())
    box.run()
    assert box.shop.points() == expected(box.shop.world, SYSTEM)
    _, loaded, awarded = box.shop.sync(SYSTEM)
    assert (loaded.stored.new, awarded.entries) == (0, 0)
    assert {state for state, _, _ in box.states()} == {"done"}


def test_changes_are_announced_and_deletions_left_to_the_next_poll(box: Mailbox) -> None:
    box.shop.sync(SYSTEM)
    announcer, books = announced(box), box.shop.world.books[SYSTEM]
    at = datetime.now(UTC).replace(microsecond=0)
    sale, other = [
        one
        for one in books.all("Invoice")
        if one.status == "open" and not one.paid_minor and not one.taken_back and not one.deleted
        and (SYSTEM, one.id) in box.shop.points()
    ][:2]  # fmt: skip
    assert books.void(sale, at)
    assert books.delete(other, at)
    box.receive(announcer.changes())
    box.run()
    assert (SYSTEM, sale.id) not in box.shop.points()
    assert (SYSTEM, other.id) in box.shop.points()
    box.shop.sync(SYSTEM)
    assert box.shop.points() == expected(box.shop.world, SYSTEM)
    assert {state for state, _, _ in box.states()} == {"done"}
