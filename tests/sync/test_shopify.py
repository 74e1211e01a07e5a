"""A day at a shop of Shopify: the ledger is right after everything that happens to an order, polled or announced."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from simulator.model import Document
from simulator.webhooks import Announcer
from sql.db import connect
from tests.sync.conftest import Shop, expected
from tests.sync.test_webhooks import SECRETS, Mailbox


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def reasons(shop: Shop, order: Document) -> list[tuple[str, int]]:
    """Why points were posted for an order, and how many."""
    with connect(shop.dsn) as connection:
        return connection.execute(
            "SELECT reason, points FROM loyalty.award_entry WHERE external_id = %s ORDER BY entry_no",
            (order.id,),
        ).fetchall()


@pytest.fixture(params=["polled", "announced"])
def tell(shop: Shop, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Lets us know what happened since: by a poll, or by webhooks alone."""
    box = Mailbox(shop)
    announcer = Announcer(shop.world, {"shopify": SECRETS["shopify"]})

    def told() -> None:
        if request.param == "polled":
            shop.sync("shopify")
            return
        box.receive(announcer.changes())
        box.run()

    return told


def test_a_shops_day(shop: Shop, tell: Callable[[], None]) -> None:
    shop.sync("shopify")
    books = shop.world.books["shopify"]
    buyer = next(one for one in books.customers.values() if one.phone_slot == 0 and one.phone and one.person.national)  # fmt: skip
    water, big, gas = (item for item in list(books.products.values())[:3])

    def sell(*rows: Any) -> Document:
        order = books.record("Invoice", buyer, rows, now(), tax_bps=0)
        tell()
        return order

    def points(order: Document) -> int:
        assert shop.points() == expected(shop.world, "shopify")
        return shop.points().get(("shopify", order.id), 0)

    order = sell((water, 2, 10_000), (big, 1, 30_000))
    assert points(order) == 5000
    assert books.edit(order, 0, 3, now())
    tell()
    assert points(order) == 6000
    assert books.pay(order, order.balance_minor, now())
    tell()
    assert points(order) == 6000
    assert books.take_back(order, [1, 0], now())
    tell()
    assert points(order) == 5000
    assert reasons(shop, order) == [("award", 5000), ("edit", 1000), ("refund", -1000)]

    swapped = sell((water, 1, 10_000))
    assert books.pay(swapped, swapped.balance_minor, now())
    assert books.exchange(swapped, 0, gas, 1 + 10_000 // gas.unit_minor, now())
    tell()
    assert points(swapped) == swapped.total_minor // 10
    with connect(shop.dsn) as connection:
        skus = connection.execute(
            "SELECT l.sku FROM billing.invoice i JOIN billing.invoice_line l USING (page_id, record_no)"
            " WHERE i.external_id = %s",
            (swapped.id,),
        ).fetchall()
    assert skus == [(gas.sku,)]

    cancelled = sell((water, 5, 10_000))
    assert books.pay(cancelled, cancelled.balance_minor, now())
    assert books.void(cancelled, now())
    tell()
    assert points(cancelled) == 0
    assert reasons(shop, cancelled) == [("award", 5000), ("void", -5000)]

    deleted = sell((water, 1, 10_000))
    assert books.delete(deleted, now())
    tell()
    assert points(deleted) == 0

    guest = books.record("GuestOrder", buyer, [(water, 1, 10_000)], now())
    test = books.record("TestOrder", buyer, [(water, 1, 10_000)], now())
    tell()
    assert points(guest) == points(test) == 0
    with connect(shop.dsn) as connection:
        stored = connection.execute(
            "SELECT count(*) FROM billing.invoice WHERE external_id = ANY(%s)",
            ([guest.id, test.id],),
        ).fetchone()
    assert stored == (0,)
    # Whatever told of it: the other way finds nothing to correct.
    assert shop.sync("shopify")[2].entries == 0


def test_guests_are_counted_and_not_rejected(shop: Shop) -> None:
    _, loaded, _ = shop.sync("shopify")
    guests = list(shop.world.books["shopify"].all("GuestOrder"))
    assert loaded.walk_ins == len([one for one in guests if not one.deleted]) > 0
