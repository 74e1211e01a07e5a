"""The seeded world: the same seed and clock give the same customers, sales and changes, byte for byte."""

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from threading import RLock
from typing import Final

import httpx

from simulator.activity import Activity
from simulator.books import Books
from simulator.callbacks import Callbacks
from simulator.catalog import EXAMPLE_NATIONAL, make_people, write_phone
from simulator.clock import Now, Sleep, system_now, system_sleep
from simulator.consent import Decision
from simulator.faults import FaultPlan, Faults
from simulator.limits import Limits
from simulator.model import ACCOUNTS, SYSTEMS, Customer, Person
from simulator.oauth import Grants
from simulator.registry import books_class
from simulator.shared import HAPPENED, SharedSales
from simulator.subscriptions import SubscriptionBook
from simulator.truth import Truth, truth_of

EXAMPLE_AT: Final = datetime(2024, 1, 15, 14, 30, tzinfo=UTC)
_ILLEGIBLE: Final = ("s/n", "sem telefone", "-")
#: How long a vendor waits for a client's server.
_OUTSIDE_SECONDS: Final = 5.0


def _send(request: httpx.Request) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=_OUTSIDE_SECONDS) as client:
        return client.send(request)


class World:
    """Three companies' books, with the clock, the tokens, the limits and the faults that their APIs share.

    Args:
        seed: Everything random is drawn from it.
        customers: Customers per system; about half of them are customers in several systems.
        invoices: Sales per system in the past; credits, refunds, payments and Xero's bills come on
            top.
        start: First instant of the past; `days` before its end when left out.
        until: Last instant of the past; now when left out.
        now: The clock; the machine's when left out.
        days: Length of the past when `start` is left out.
        faults: What goes wrong on the wire; nothing by default.
        limit_scale: Times the vendors' rate limits; 0, the default, does not enforce any.
        access_token_seconds: Life of access tokens per system, where it should differ from the
            vendor's.
        example: Whether the product documentation's INV-001 is in QuickBooks.
        sleep: What slow answers wait with.
        consent: What the vendors' consent pages do: "ask" with two links, or "allow" or "deny" at
            once.
        accounts: More accounts per system than the one of `ACCOUNTS`; they show the same books.
        sales_max: Most sales in the past per system, where it should have fewer than `invoices`.
        systems: The systems with a past; the books of the others are empty.
        shared_sales: Sales of the past that several systems tell (`shared.py`); with any, some of
            what happens from then on is one as well.
    """

    def __init__(
        self,
        seed: int = 1,
        customers: int = 200,
        invoices: int = 1000,
        *,
        start: datetime | None = None,
        until: datetime | None = None,
        now: Now | None = None,
        days: float = 120,
        faults: Faults | None = None,
        limit_scale: float = 0,
        access_token_seconds: Mapping[str, float] | None = None,
        example: bool = True,
        sleep: Sleep = system_sleep,
        consent: Decision = "ask",
        accounts: Mapping[str, Sequence[str]] | None = None,
        sales_max: Mapping[str, int] | None = None,
        systems: Collection[str] = SYSTEMS,
        shared_sales: int = 0,
    ) -> None:
        self.seed, self.now, self.sleep, self.lock = seed, now or system_now, sleep, RLock()
        self.consent: Decision = consent
        self.accounts = {
            name: (ACCOUNTS[name], *(accounts or {}).get(name, ())) for name in SYSTEMS
        }
        self.anchor = (until or self.now()).astimezone(UTC).replace(microsecond=0)
        self.faults = FaultPlan(faults or Faults())
        lives = access_token_seconds or {}
        self.grants = {name: Grants(name, seed, self.now, lives.get(name)) for name in SYSTEMS}
        self.limits = {name: Limits(name, self.now, limit_scale) for name in SYSTEMS}
        self.books: dict[str, Books] = {
            name: (books_class(name) or Books)(name, Random(f"{seed}/ids/{name}"))
            for name in SYSTEMS
        }
        self.subscriptions = {name: SubscriptionBook(name, seed, self.now) for name in SYSTEMS}
        #: Sends what a vendor asks of a client's server at once, e.g. for a handshake.
        self.outside: Callable[[httpx.Request], httpx.Response] = _send
        book = self.subscriptions["freshbooks"]
        self.freshbooks_callbacks = Callbacks(book, lambda: self.outside)
        self._activity: dict[str, Activity] = {}
        self._evolving = Random(f"{seed}/evolve")
        self._people = make_people(Random(f"{seed}/people"), max(2 * customers, 1))
        self._taken = {person.national for person in self._people if person.national} | {
            EXAMPLE_NATIONAL
        }
        start = start or self.anchor - timedelta(days=days)
        for name in (name for name in SYSTEMS if name in systems):
            sales = min(invoices, (sales_max or {}).get(name, invoices))
            self._populate(name, customers, sales, min(start, self.anchor), example=example)
        self._shared = SharedSales(self.books, self._people, seed) if shared_sales else None
        for _ in range(shared_sales if self._shared else 0):
            self._sell_shared(self.anchor, systems)

    def _sell_shared(self, at: datetime, systems: Collection[str]) -> str:
        """Makes a sale that several of these systems tell; "": none does."""
        return self._shared.sell(at, systems) if self._shared is not None else ""

    def _populate(
        self, system: str, customers: int, invoices: int, start: datetime, *, example: bool
    ) -> None:
        books, random = self.books[system], Random(f"{self.seed}/{system}")
        if example and system == "quickbooks":
            self._record_example(books)
        chosen = random.sample(self._people, min(customers, len(self._people)))
        buyers = [self._enter(books, random, person, start) for person in chosen]
        if system == "xero":
            for name in (
                "Plásticos de Luanda",
                "Transportes Kwanza",
                "Energia do Sul",
                "Filtros & Bombas",
            ):
                person = Person("Contas", name, name, None)
                books.add_customer(person, None, start - timedelta(days=90), supplier=True)
        activity = Activity(books, random, buyers, self._taken)
        self._activity[system] = activity
        if buyers:
            self._live_through(activity, random, invoices, start)

    def _enter(self, books: Books, random: Random, person: Person, start: datetime) -> Customer:
        phone = random.choice((None, None, "", random.choice(_ILLEGIBLE)))
        if person.national is not None:
            phone = write_phone(random, person.national)
        at = start - timedelta(days=random.uniform(1, 400))
        slot = random.choice((0, 0, 0, 0, 1, 2))
        # FreshBooks documents no way to list its deleted clients, so all of them stay active there.
        active = books.system == "freshbooks" or random.random() > 0.01
        return books.add_customer(
            person, phone, at.replace(microsecond=0), slot=slot, active=active
        )

    def _record_example(self, books: Books) -> None:
        person = Person("Maria", "Exemplo", None, EXAMPLE_NATIONAL)
        customer = books.add_customer(person, "+244 923 456 789", EXAMPLE_AT - timedelta(days=1))
        product = next(item for item in books.products.values() if item.sku == "ATW-5L")
        books.record(
            "Invoice", customer, [(product, 3, 5_000)], EXAMPLE_AT, number="INV-001", tax_bps=0
        )

    def _live_through(
        self, activity: Activity, random: Random, invoices: int, start: datetime
    ) -> None:
        """Plays the past in the order it happened, so that ids and stamps grow with time."""
        tie, span = count(), (self.anchor - start).total_seconds()
        agenda: list[tuple[datetime, int, Callable[[datetime], object]]] = []

        def plan(at: datetime, act: Callable[[datetime], object]) -> None:
            if at <= self.anchor:
                heapq.heappush(agenda, (at, next(tie), act))

        def sell(at: datetime) -> None:
            document = activity.sale(at)
            for delay, act in activity.follow_ups(document):
                plan((at + delay).replace(microsecond=0), act)

        for _ in range(invoices):
            plan(start + timedelta(seconds=int(random.uniform(0, span))), sell)
        for _ in range(invoices // 12):
            plan(start + timedelta(seconds=int(random.uniform(0, span))), activity.bill)
        for _ in range(len(activity.buyers) // 50):
            plan(start + timedelta(seconds=int(random.uniform(0, span))), activity.change_phone)
        while agenda:
            at, _, act = heapq.heappop(agenda)
            act(at)

    def evolve(
        self,
        steps: int = 1,
        *,
        at: datetime | None = None,
        systems: Collection[str] = SYSTEMS,
    ) -> list[tuple[str, str]]:
        """Lets things happen, now or at an instant: sales, edits, voids, refunds, payments, new numbers.

        Args:
            steps: How many things.
            at: When; now when left out.
            systems: Where; in all systems when left out.

        Returns:
            (system, what happened) for each step.
        """
        with self.lock:
            instant = (at or self.now()).astimezone(UTC).replace(microsecond=0)
            living = [
                name
                for name, activity in self._activity.items()
                if name in systems and activity.buyers
            ]
            done = []
            for _ in range(steps if living else 0):
                is_shared = self._shared is not None and self._shared.is_due()
                if is_shared and (shop := self._sell_shared(instant, living)):
                    done.append((shop, HAPPENED))
                    continue
                system = self._evolving.choice(living)
                done.append((system, self._activity[system].step(instant)))
            return done

    def truth(self) -> list[Truth]:
        """What is in the books, sale by sale, not read from any vendor's payload: the oracle of the tests."""
        with self.lock:
            return [row for books in self.books.values() for row in truth_of(books)]
