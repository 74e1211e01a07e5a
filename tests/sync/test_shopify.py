"""A day at a shop of Shopify: the ledger is right after everything that happens to an order, polled or announced."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from panel.blocks import BLOCKS
from panel.connect.check import check_connection
from simulator.model import Document
from simulator.webhooks import Announcer
from sql.db import connect
from tests.support.served_vendors import served_vendors
from tests.sync.conftest import Shop, expected
from tests.sync.test_webhooks import SECRETS, Mailbox


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Day:
    """A day at the shop; `tell` lets us know what happened since."""

    shop: Shop
    tell: Callable[[], None]

    def __post_init__(self) -> None:
        self.shop.sync("shopify")
        self.books = self.shop.world.books["shopify"]
        self.buyer = next(
            one
            for one in self.books.customers.values()
            if one.phone_slot == 0 and one.phone and one.person.national
        )
        self.water, self.big, self.gas = list(self.books.products.values())[:3]

    def sell(self, *rows: Any, paid: bool = True) -> Document:
        """An order of (product, quantity, unit price), told by itself."""
        order = self.books.record("Invoice", self.buyer, rows, now(), tax_bps=0)
        if paid:
            assert self.books.pay(order, order.balance_minor, now())
        self.tell()
        return order

    def points(self, order: Document) -> int:
        """What it gave, after it was told what happened."""
        self.tell()
        assert self.shop.points() == expected(self.shop.world, "shopify")
        return self.shop.points().get(("shopify", order.id), 0)

    def reasons(self, order: Document) -> list[tuple[Any, ...]]:
        """Why points were posted, and how many."""
        return self.rows(
            "SELECT reason, points FROM loyalty.award_entry WHERE external_id = %s"
            " ORDER BY entry_no",
            order.id,
        )

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with connect(self.shop.dsn) as connection:
            return connection.execute(statement.encode(), values).fetchall()


@pytest.fixture(params=["polled", "announced"])
def day(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Day]:
    """What happens is told by a poll, or by webhooks alone; then the other way has nothing to say."""
    box = Mailbox(shop)
    announcer = Announcer(shop.world, {"shopify": SECRETS["shopify"]})

    def tell() -> None:
        if request.param == "polled":
            shop.sync("shopify")
            return
        box.receive(announcer.changes())
        box.run()

    yield Day(shop, tell)
    assert shop.sync("shopify")[2].entries == 0


def test_an_order_is_edited_paid_and_partly_given_back(day: Day) -> None:
    order = day.sell((day.water, 2, 10_000), (day.big, 1, 30_000), paid=False)
    assert day.points(order) == 5000
    assert day.books.edit(order, 0, 3, now())
    assert day.points(order) == 6000
    assert day.books.pay(order, order.balance_minor, now())
    assert day.points(order) == 6000
    assert day.books.take_back(order, [1, 0], now())
    assert day.points(order) == 5000
    assert day.reasons(order) == [("award", 5000), ("edit", 1000), ("refund", -1000)]


def test_an_exchange_leaves_what_was_taken_instead(day: Day) -> None:
    order = day.sell((day.water, 1, 10_000))
    assert day.books.exchange(order, 0, day.gas, 1 + 10_000 // day.gas.unit_minor, now())
    assert day.points(order) == order.total_minor // 10
    skus = day.rows(
        "SELECT l.sku FROM billing.invoice i JOIN billing.invoice_line l"
        " USING (page_id, record_no) WHERE i.external_id = %s",
        order.id,
    )
    assert skus == [(day.gas.sku,)]


def test_cancelled_and_deleted_orders_give_nothing(day: Day) -> None:
    cancelled, deleted = day.sell((day.water, 5, 10_000)), day.sell((day.big, 1, 10_000), paid=False)  # fmt: skip
    assert day.books.void(cancelled, now())
    assert day.books.delete(deleted, now())
    assert day.points(cancelled) == day.points(deleted) == 0
    assert day.reasons(cancelled) == [("award", 5000), ("void", -5000)]
    assert day.reasons(deleted) == [("award", 1000), ("void", -1000)]


def test_guests_and_tests_are_not_stored(day: Day) -> None:
    others = [
        day.books.record(entity, day.buyer, [(day.water, 1, 10_000)], now())
        for entity in ("GuestOrder", "TestOrder")
    ]
    assert [day.points(order) for order in others] == [0, 0]
    ids = [order.id for order in others]
    stored = "SELECT count(*) FROM billing.invoice WHERE external_id = ANY(%s)"
    assert day.rows(stored, ids) == [(0,)]


def test_guests_are_counted_and_not_rejected(shop: Shop) -> None:
    _, loaded, _ = shop.sync("shopify")
    guests = list(shop.world.books["shopify"].all("GuestOrder"))
    assert loaded.walk_ins == len([one for one in guests if not one.deleted]) > 0


def test_test_connection_names_who_must_act(shop: Shop) -> None:
    """Wrong credentials: whoever edits the block. A missing scope: whoever administers the shop."""
    with served_vendors(shop.world) as address:
        url = f"{address}/shopify"
        values = {
            "shop": "agua-twezah",
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "base_url": url,
            "token_url": f"{url}/admin/oauth/access_token",
        }

        def failed(**changes: str) -> dict[str, tuple[str, str]]:
            block = BLOCKS["shopify"](**(values | changes))
            checks = check_connection(block, dsn=shop.dsn, key=shop.key).checks
            return {check.check: (check.detail, check.who) for check in checks if not check.ok}

        assert failed() == {}
        refused = failed(client_secret="wrong")
        assert refused["credentials"][1] == "operator: the block"
        shop.world.grants["shopify"].scope = "write_orders,read_customers"
        assert set(cut_short := failed()) == {"scopes"}
        assert "the application lacks read_all_orders:" in cut_short["scopes"][0]
        assert cut_short["scopes"][1].startswith("administrator at the vendor")
        shop.world.grants["shopify"].scope = "read_orders,read_all_orders"
        denied = failed()["read orders"]
        assert "ACCESS_DENIED" in denied[0]
        assert denied[1].startswith("administrator at the vendor")
