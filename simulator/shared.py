"""Sales that several systems tell: the order of a shop, its payment, its invoice in the books.

Each document names the one before it as the vendors pass it on: a payment at Stripe has the order's
id in its metadata, an invoice of QuickBooks the order's number in its note, an order of WooCommerce
the id of its payment, and a payment at PayPal the order's number.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Final

from simulator.books import Books
from simulator.model import Customer, Document, Order, Person, Product

#: The systems that tell one sale, the shop first, and what the sale is there.
CHAINS: Final = (
    (("shopify", "Invoice"), ("stripe", "Charge"), ("quickbooks", "Invoice")),
    (("woocommerce", "Invoice"), ("paypal", "SalesReceipt")),
)
#: One of so many things that happen is such a sale.
EVERY: Final = 10
#: What has happened then, as `World.evolve` says it.
HAPPENED: Final = "sale in several systems"
_QUANTITIES: Final = (1, 2, 3, 6, 12)


def systems_of(system: str, happened: str) -> tuple[str, ...]:
    """The systems in whose books something stands, from what `World.evolve` says of it."""
    if happened != HAPPENED:
        return (system,)
    return next(
        names for chain in CHAINS if (names := tuple(name for name, _ in chain))[0] == system
    )


class SharedSales:
    """Makes such sales, of people whose phone is known in every system."""

    def __init__(self, books: Mapping[str, Books], people: Sequence[Person], seed: int) -> None:
        self._books, self._random = books, Random(f"{seed}/shared")
        self._people = [person for person in people if person.national is not None]
        self._customers: dict[tuple[str, str], Customer] = {}
        self._count = 0

    def sell(self, at: datetime, systems: Collection[str]) -> str:
        """Makes one whose systems are all among these.

        Returns its shop; "" where no such sale can be.
        """
        chains = [chain for chain in CHAINS if {name for name, _ in chain} <= {*systems}]
        if not chains or not self._people:
            return ""
        self._count += 1
        (shop, _), *others = chain = chains[self._count % len(chains)]
        person = self._random.choice(self._people)
        basket = self._basket(shop)
        order = self._record(*chain[0], person, basket, at, None)
        self._books[shop].pay(order, order.total_minor, at)
        for name, entity in others:
            told = self._record(
                name, entity, person, basket, at, Order(shop, order.id, order.number)
            )
            if name == "paypal":
                order.payment_id = told.id
        return shop

    def is_due(self) -> bool:
        """Whether the next thing that happens is such a sale."""
        return self._random.randrange(EVERY) == 0

    def _basket(self, shop: str) -> list[tuple[str, int, int]]:
        """SKU, quantity and unit price of one to three products."""
        items = [item for item in self._books[shop].products.values() if item.sku]
        picked = self._random.sample(items, self._random.choice((1, 2, 3)))
        return [
            (item.sku, self._random.choice(_QUANTITIES), item.unit_minor)
            for item in picked
            if item.sku
        ]

    def _record(
        self, name: str, entity: str, person: Person, basket: Sequence[tuple[str, int, int]],
        at: datetime, order: Order | None,
    ) -> Document:  # fmt: skip
        books = self._books[name]
        products: dict[str | None, Product] = {item.sku: item for item in books.products.values()}
        rows = [(products[sku], quantity, unit_minor) for sku, quantity, unit_minor in basket]
        # PayPal's number of a payment is what the shop passes on.
        number = order.number if order is not None and name == "paypal" else None
        customer = self._customer(name, person, at)
        return books.record_for(order, entity, customer, rows, at, number=number)

    def _customer(self, name: str, person: Person, at: datetime) -> Customer:
        key = (name, person.national or "")
        if key not in self._customers:
            phone = f"+244 {person.national}"
            self._customers[key] = self._books[name].add_customer(person, phone, at)
        return self._customers[key]
