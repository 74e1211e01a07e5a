"""A shop's day at PayPal, in the ledger: of its transactions, and of its invoices with webhooks."""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.kit.webhooks.scheme import (
    Refused,
    Verified,
    certificate_address,
    delivery_key,
    events,
    verify,
)
from connectors.registry import webhook_for
from simulator.deliveries import Delivery
from simulator.model import Document
from simulator.systems.paypal import certificate
from simulator.systems.paypal.books import PayPalBooks
from simulator.webhooks import Announcer, Disorder
from sql import webhooks as stored
from sql.db import connect
from sql.endpoints import NewEndpoint, create_endpoint
from sql.webhooks import NewEvent
from tasks.job import Job, Policy
from tasks.webhooks.listener import Pace, listen
from tasks.webhooks.process import Connections
from tests.support.vendors import credentials
from tests.sync.conftest import Shop, expected, run

WEBHOOK_ID = "4JH86294D6297924G"


@dataclass
class InvoiceShop:
    """A shop of which the invoices are read, and an address for its webhooks."""

    shop: Shop
    connections: list[str] = field(default_factory=list)

    def job(self, **request: Any) -> Job:
        options = credentials(self.shop.world, "paypal")["options"]
        late = {"reads": "invoices", "look_back_days": 40}
        with pytest.MonkeyPatch.context() as patched:
            own = {"options": options | late}
            patched.setattr(
                "tests.sync.conftest.credentials",
                lambda world, system, **_: credentials(world, system) | own,
            )
            return self.shop.job("paypal", policy=Policy(reject_percent_max=100), **request)

    def sync(self) -> Any:
        return run(self.job())

    def receive(self, deliveries: Iterable[Delivery], endpoint_no: int) -> int:
        """Verifies and stores, as the HTTP interface does; returns how many were new."""
        hook, new, now = webhook_for(self.job().vendor), 0, datetime.now(UTC)
        assert hook is not None
        with connect(self.shop.dsn) as connection:
            for one in deliveries:
                headers = one.headers(now)
                assert certificate_address(hook, headers, one.body) == certificate.ADDRESS
                outcome = verify(
                    hook, [SecretStr(WEBHOOK_ID)], headers, one.body, now,
                    certificate=certificate.pem(),
                )  # fmt: skip
                assert isinstance(outcome, Verified), outcome
                key = delivery_key(hook, headers, one.body, now)
                event = NewEvent(endpoint_no, key, "test", {}, one.body, None, now)
                new += stored.store_event(connection, event) is not None
            connection.commit()
        return new

    def endpoint(self) -> int:
        with connect(self.shop.dsn) as connection:
            made = create_endpoint(connection, NewEndpoint("paypal", "paypal"))
            connection.commit()
        return made.endpoint_no

    def process(self) -> None:
        connections = Connections(lambda _: self.job(pushed=True))
        listen(self.shop.dsn, "run-1", connections, self.shop.key, Pace(0, 60), lambda *_: None)

    def states(self) -> set[str]:
        with connect(self.shop.dsn) as connection:
            return {
                state for (state,) in connection.execute("SELECT state FROM billing.webhook_event")
            }


@pytest.fixture
def invoices(shop: Shop) -> InvoiceShop:
    return InvoiceShop(shop)


def due(books: PayPalBooks) -> dict[tuple[str, str], int]:
    """The points of invoices, in plain arithmetic: ten per unit of what was paid and not refunded."""
    points = {}
    for invoice in books.all("Invoice"):
        if invoice.deleted or not invoice.settled or invoice.customer.person.national is None:
            continue
        kept_minor = invoice.total_minor - invoice.refunded_minor
        if kept_minor:
            points["paypal", invoice.id] = kept_minor // 10
    return points


def books_of(shop: Shop) -> PayPalBooks:
    books = shop.world.books["paypal"]
    assert isinstance(books, PayPalBooks)
    return books


def a_day(shop: Shop) -> dict[str, Callable[[datetime], Any]]:
    """What happens, step by step; each step says whether it did."""
    books = books_of(shop)
    customer = next(buyer for buyer in books.customers.values() if buyer.person.national)
    water, gas = [product for product in books.products.values() if product.sku][:2]
    made: dict[str, Document] = {}

    def sold(name: str, entity: str, status: str = "open") -> Callable[[datetime], Any]:
        def act(at: datetime) -> None:
            rows = [(water, 4, water.unit_minor)]
            made[name] = books.record(entity, customer, rows, at, status=status)

        return act

    def exchanged(at: datetime) -> None:
        """PayPal knows no exchange: money is given back, and paid for other goods."""
        assert books.take_back(made["second"], [1], at)
        books.record("SalesReceipt", customer, [(gas, 1, gas.unit_minor)], at)

    def pay(name: str, minor: int | None = None) -> Callable[[datetime], Any]:
        return lambda at: books.pay(made[name], minor or made[name].balance_minor, at)

    return {
        "a payment": sold("first", "SalesReceipt"),
        "a part of it is refunded": lambda at: books.take_back(made["first"], [1], at),
        "another payment": sold("second", "SalesReceipt"),
        "an exchange": exchanged,
        "a pending payment": sold("pending", "SalesReceipt", "draft"),
        "it is completed": lambda at: books.approve(made["pending"], at),
        "all of it is refunded": lambda at: books.take_back(made["pending"], [4], at),
        "one more": sold("denied", "SalesReceipt", "draft"),
        "it is denied": lambda at: books.delete(made["denied"], at),
        "an invoice": sold("invoice", "Invoice"),
        "it is edited": lambda at: books.edit(made["invoice"], 0, 3, at),
        "a part of it is paid": pay("invoice", 100),
        "the rest is paid": pay("invoice"),
        "an invoice that is paid at once": sold("whole", "Invoice"),
        "it is paid": pay("whole"),
        "a part of that is refunded": lambda at: (
            made["whole"].number.endswith("5") or books.take_back(made["whole"], [2], at)
        ),
        "another invoice": sold("cancelled", "Invoice"),
        "it is cancelled": lambda at: books.void(made["cancelled"], at),
        "a draft": sold("draft", "Invoice", "draft"),
        "it is deleted": lambda at: books.delete(made["draft"], at),
    }


def test_a_shops_day_of_transactions(shop: Shop) -> None:
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=4)
    shop.sync("paypal")
    assert shop.points() == expected(shop.world, "paypal")
    for number, (name, act) in enumerate(a_day(shop).items()):
        assert act(begun + timedelta(seconds=number)) is not False, name
        shop.sync("paypal")
        assert shop.points() == expected(shop.world, "paypal"), name
    _, loaded, awarded = shop.sync("paypal")  # and nothing counts twice
    assert (loaded.stored.new, awarded.entries) == (0, 0)


def test_a_shops_day_of_invoices(invoices: InvoiceShop) -> None:
    shop = invoices.shop
    begun = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=4)
    invoices.sync()
    assert shop.points() == due(books_of(shop))
    assert shop.points()
    for number, (name, act) in enumerate(a_day(shop).items()):
        assert act(begun + timedelta(seconds=number)) is not False, name
        if "invoice" in name or "paid" in name or "that" in name or "cancelled" in name:
            invoices.sync()
            assert shop.points() == due(books_of(shop)), name
    invoices.sync()
    assert shop.points() == due(books_of(shop))
    _, _, awarded = invoices.sync()
    assert awarded.entries == 0


def test_what_paypal_shows_late_is_read_when_it_is_shown(shop: Shop) -> None:
    """Three hours late: a sale of now is in no run before, and in the first one after."""
    books = books_of(shop)
    shop.sync("paypal")
    books.delay = timedelta(hours=3)
    customer = next(buyer for buyer in books.customers.values() if buyer.person.national)
    water = next(product for product in books.products.values() if product.sku)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    sale = books.record("SalesReceipt", customer, [(water, 1, water.unit_minor)], at)
    shop.sync("paypal")
    assert ("paypal", sale.id) not in shop.points()
    books.delay = timedelta(hours=1)
    shop.sync("paypal")
    assert shop.points() == expected(shop.world, "paypal")


def test_announced_invoices_are_in_the_ledger_as_if_they_had_been_polled(
    invoices: InvoiceShop,
) -> None:
    """Any order, some twice: each asks for its invoice; a poll then finds nothing to correct."""
    shop, endpoint_no = invoices.shop, invoices.endpoint()
    invoices.sync()
    announcer = Announcer(
        shop.world, {"paypal": WEBHOOK_ID}, disorder=Disorder(seed=3, repeated=0.3, overtaken=0.5)
    )
    for _ in range(2):
        for _ in range(25):
            shop.world._activity["paypal"].step(datetime.now(UTC).replace(microsecond=0))
        made = announcer.changes()
        new = invoices.receive(made, endpoint_no)
        assert 0 < new < len(made)
        invoices.process()
        assert shop.points() == due(books_of(shop))
    assert invoices.states() == {"done"}
    _, _, awarded = invoices.sync()
    assert awarded.entries == 0


def test_where_transactions_are_read_events_are_ignored(shop: Shop) -> None:
    """A paid invoice is a transaction already: it must not count twice."""
    hook = webhook_for(shop.job("paypal").vendor)
    assert hook is not None
    announcer = Announcer(shop.world, {"paypal": WEBHOOK_ID})
    for _ in range(20):
        shop.world._activity["paypal"].step(datetime.now(UTC).replace(microsecond=0))
    made = announcer.changes()
    assert any(b"INVOICING" in delivery.body for delivery in made)
    assert {event.kind for one in made for event in events(hook, one.body)} == {"ignored"}


def test_a_body_of_another_is_asked_for_and_not_believed(invoices: InvoiceShop) -> None:
    """A CRC-32 is easily met: what such a body says of an amount does not matter."""
    hook = webhook_for(invoices.job().vendor)
    assert hook is not None
    announcer = Announcer(invoices.shop.world, {"paypal": WEBHOOK_ID})
    books = books_of(invoices.shop)
    invoice = next(one for one in books.all("Invoice") if one.settled)
    (delivery,) = announcer.about("paypal", [(invoice, "updated")])
    headers, now = delivery.headers(datetime.now(UTC)), datetime.now(UTC)
    forged = met(delivery.body.replace(b"PAID", b"PAYD"), delivery.body)
    outcome = verify(
        hook, [SecretStr(WEBHOOK_ID)], headers, forged, now, certificate=certificate.pem()
    )
    assert isinstance(outcome, Verified)  # as PayPal's own library would say
    (event,) = events(hook, delivery.body)
    assert (event.record, event.external_ids) == (None, (invoice.id,))
    other = verify(
        hook, [SecretStr(WEBHOOK_ID)], headers, delivery.body + b" ", now,
        certificate=certificate.pem(),
    )  # fmt: skip
    assert isinstance(other, Refused)


def met(body: bytes, other: bytes) -> bytes:
    """The body with four bytes behind it that give it the CRC-32 of another one."""
    table = [0] * 256
    for number in range(256):
        value = number
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
        table[number] = value
    wanted, found = zlib.crc32(other) ^ 0xFFFFFFFF, zlib.crc32(body) ^ 0xFFFFFFFF
    indices = []
    for _ in range(4):
        index = next(number for number in range(256) if table[number] >> 24 == wanted >> 24)
        indices.append(index)
        wanted = ((wanted ^ table[index]) << 8) & 0xFFFFFFFF
    tail = b""
    for index in reversed(indices):
        tail += bytes([index ^ (found & 0xFF)])
        found = (found >> 8) ^ table[index]
    return body + tail
