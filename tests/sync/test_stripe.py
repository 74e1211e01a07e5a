"""A shop's day at Stripe: after each thing that happens, the ledger is what the books say."""

from datetime import UTC, datetime
from typing import Any

import pytest

import simulator
from simulator.systems.stripe.books import StripeBooks
from tests.sync.conftest import START, Shop, expected


class Day:
    """One customer, and one product of 100.00."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        books = shop.world.books["stripe"]
        assert isinstance(books, StripeBooks)
        self.books = books
        self.customer = next(
            row for row in books.customers.values() if row.person.national and row.phone
        )
        self.product = next(item for item in books.products.values() if item.sku == "ATW-5L")
        shop.sync("stripe")

    def later(self) -> datetime:
        """Now: the vendor tells seconds, and several things may happen in one."""
        return datetime.now(UTC).replace(microsecond=0)

    def sell(self, entity: str = "Invoice", **more: Any) -> Any:
        rows = [(self.product, 10, 10_000)]
        return self.books.record(entity, self.customer, rows, self.later(), tax_bps=0, **more)

    def points(self, document: Any) -> int:
        """After a poll, which agrees with the books in everything."""
        extracted, _, _ = self.shop.sync("stripe")
        # An event of another kind is no change of the vendor's records.
        assert {change.path for change in extracted.changes} <= {
            "/data/*/document/webhooks_delivered_at"
        }
        assert self.shop.points() == expected(self.shop.world, "stripe")
        return self.shop.points().get(("stripe", document.id), 0)


@pytest.fixture
def day(shop: Shop) -> Day:
    """After a first read, so that only what happens today is asked for."""
    shop.world = simulator.World(seed=11, customers=12, invoices=10, start=START)
    return Day(shop)


def test_an_invoices_life(day: Day) -> None:
    """Draft, edit, finalized, paid, refunded in part without a credit note."""
    sale = day.sell(status="draft")
    assert day.points(sale) == 0
    assert day.books.edit(sale, 0, 12, day.later())
    assert day.points(sale) == 0
    assert day.books.approve(sale, day.later())
    assert day.points(sale) == 12_000
    assert not day.books.edit(sale, 0, 1, day.later())
    assert day.books.pay(sale, sale.balance_minor, day.later())
    assert day.points(sale) == 12_000


@pytest.mark.parametrize("way", ["note and refund", "note to balance", "refund"])
def test_a_paid_invoice_is_given_back_in_part(day: Day, way: str, monkeypatch: Any) -> None:
    sale = day.sell()
    assert day.books.pay(sale, sale.balance_minor, day.later())
    assert day.points(sale) == 10_000
    monkeypatch.setattr(day.books._random, "choice", lambda _: way)
    assert day.books.take_back(sale, [3], day.later()) is not None
    assert day.points(sale) == 7_000


def test_an_unpaid_invoice_is_credited_and_another_cancelled(day: Day) -> None:
    sale, other = day.sell(), day.sell()
    assert day.points(sale) == 10_000
    assert day.books.take_back(sale, [4], day.later()) is not None
    assert day.books.void(other, day.later())
    assert (day.points(sale), day.points(other)) == (6_000, 0)
    assert day.books.pay(sale, sale.balance_minor, day.later())
    assert day.points(sale) == 6_000


def test_an_invoice_that_is_given_up(day: Day) -> None:
    sale = day.sell()
    assert day.points(sale) == 10_000
    assert day.books.archive(sale, day.later())
    assert day.points(sale) == 0


def test_a_payment_and_its_exchange(day: Day) -> None:
    """Returned against another bottle: a refund, and a sale of its own."""
    sale = day.sell("Charge")
    assert day.points(sale) == 10_000
    assert day.books.take_back(sale, [10], day.later()) is not None
    other = day.sell("Charge")
    assert (day.points(sale), day.points(other)) == (0, 10_000)


def test_a_draft_that_is_deleted(day: Day) -> None:
    sale = day.sell(status="draft")
    assert day.points(sale) == 0
    assert day.books.delete(sale, day.later())
    assert day.points(sale) == 0
