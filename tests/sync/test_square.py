"""A shop's day at Square, in the ledger: it is right after each thing that happens."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.model import Customer, Document
from tests.sync.conftest import Shop, expected


def test_a_shops_day(shop: Shop) -> None:
    books = shop.world.books["square"]
    customer = next(buyer for buyer in books.customers.values() if buyer.person.national)
    water, gas = [product for product in books.products.values() if product.sku][:2]
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=4)
    made: dict[str, Document] = {}

    def sold(name: str, entity: str, quantity: int) -> Callable[[datetime], Any]:
        def act(at: datetime) -> None:
            made[name] = books.record(entity, customer, [(water, quantity, water.unit_minor)], at)

        return act

    def exchanged(at: datetime) -> None:
        brought = books.take_back(made["second"], [1], at)
        assert brought is not None
        made["taken"] = books.sell_with(brought, [(gas, 1, gas.unit_minor)], at) or made["second"]

    steps: dict[str, Callable[[datetime], Any]] = {
        "an order": sold("first", "SalesReceipt", 4),
        "a part of it comes back": lambda at: books.take_back(made["first"], [1], at),
        "another order": sold("second", "SalesReceipt", 2),
        "an exchange": exchanged,
        "what was exchanged comes back": lambda at: books.take_back(made["taken"], [1], at),
        "an invoice": sold("invoice", "Invoice", 1),
        "it is edited": lambda at: books.edit(made["invoice"], 0, 3, at),
        "a part of it is paid": lambda at: books.pay(made["invoice"], 100, at),
        "the rest is paid": lambda at: books.pay(
            made["invoice"], made["invoice"].balance_minor, at
        ),
        "all of it comes back": lambda at: books.take_back(made["invoice"], [3], at),
        "another invoice": sold("cancelled", "Invoice", 1),
        "it is cancelled": lambda at: books.void(made["cancelled"], at),
    }
    shop.sync("square")
    assert shop.points() == expected(shop.world, "square")
    before = balance(shop, customer)
    for number, (name, act) in enumerate(steps.items()):
        assert act(begun + timedelta(seconds=number)) is not False, name
        shop.sync("square")
        assert shop.points() == expected(shop.world, "square"), name
    kept_minor = 3 * water.unit_minor + water.unit_minor
    kept_minor += sum(made[name].tax_minor for name in ("first", "second")) - sum(
        document.tax_minor
        for document in books.all("RefundReceipt")
        if document.source in (made["first"], made["second"])
    )
    assert abs(balance(shop, customer) - before - kept_minor // 10) <= 5  # rounded per document
    shop.sync("square")  # and nothing counts twice
    assert shop.points() == expected(shop.world, "square")


def balance(shop: Shop, customer: Customer) -> int:
    """The points of a customer's phone."""
    phone = f"+244{customer.person.national}"
    return sum(points for _, _, _, owner, points in shop.ledger() if owner == phone)


def test_every_run_brings_in_what_happened_since(shop: Shop) -> None:
    """Orders, refunds, exchanges and invoices, each once."""
    shop.sync("square")
    for _ in range(3):
        shop.world.evolve(steps=60)
        shop.sync("square")
        assert shop.points() == expected(shop.world, "square")
    _, _, awarded = shop.sync("square")
    assert awarded.entries == 0
