"""What customers and bookkeepers do, drawn from a seeded stream, in the past and from now on."""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from simulator.books import Books
from simulator.catalog import make_number, write_phone
from simulator.model import Customer, Document, Person, Product

_QUANTITIES = (1, 1, 1, 2, 2, 3, 4, 5, 6, 10, 12, 24)
_DISCOUNTS_BPS = (500, 1000, 1250)


class Activity:
    """Draws sales and changes for one set of books."""

    def __init__(
        self, books: Books, random: Random, buyers: list[Customer], taken: set[str]
    ) -> None:
        self.books, self.random, self.buyers, self._taken = books, random, buyers, taken
        self._suppliers = [customer for customer in books.customers.values() if customer.supplier]
        self._recent: list[Document] = []
        self._draws = self._weighted()
        self._draws += ["exchange"] * books.exchange_weight

    def sale(self, at: datetime) -> Document:
        """A new sale of one to four lines."""
        books = self.books
        entity, status = books.new_sale(self.random.random())
        discount_bps = self.random.choice(_DISCOUNTS_BPS) if self.random.random() < 0.06 else 0
        document = books.record(
            entity,
            self.random.choice(self.buyers),
            self._rows(),
            at,
            status=status,
            discount_bps=discount_bps,
        )
        self._recent.append(document)
        return document

    def bill(self, at: datetime) -> Document | None:
        """A supplier's bill: what a sales connector must leave alone."""
        if self.books.system != "xero":
            return None
        document = self.books.record("Bill", self.random.choice(self._suppliers), self._rows(), at)
        self._recent.append(document)
        return document

    def _rows(self) -> list[tuple[Product, int, int]]:
        picked = self.random.sample(
            list(self.books.products.values()), self.random.choice((1, 1, 2, 2, 3, 4))
        )
        return [
            (item, 1 if item.sku is None else self.random.choice(_QUANTITIES), item.unit_minor)
            for item in picked
        ]

    def follow_ups(
        self, document: Document
    ) -> list[tuple[timedelta, Callable[[datetime], object]]]:
        """What will happen to a new document, and how long after it."""
        random, plan = self.random, list[tuple[timedelta, Callable[[datetime], object]]]()

        def later(days: float, act: Callable[[Document, datetime], object]) -> None:
            plan.append((timedelta(days=random.uniform(0.01, days)), lambda at: act(document, at)))

        if document.status in ("draft", "submitted"):
            later(5, self.books.approve if random.random() < 0.6 else self.books.delete)
        for odds, days, act in (
            (0.06, 2, self.edit),
            (0.015, 3, self.reassign),
            (0.04, 6, self.books.void),
            (0.02, 6, self.books.delete),
            (0.15, 8, self.pay_part),
            (0.6, 15, self.pay),
            (self.books.take_back_odds, 20, self.take_back),
            (0.02, 25, self.books.archive),
        ):
            if random.random() < odds:
                later(days, act)
        return plan

    def pay(self, document: Document, at: datetime) -> bool:
        """Pays what is due."""
        return self.books.pay(document, document.balance_minor, at)

    def pay_part(self, document: Document, at: datetime) -> bool:
        """Pays between a tenth and nine tenths of what is due."""
        return self.books.pay(
            document, document.balance_minor * self.random.randint(1, 9) // 10, at
        )

    def edit(self, document: Document, at: datetime) -> bool:
        """Corrects a quantity; never of a credit, which must not outgrow what it takes back."""
        if document.source is not None:
            return False
        line_no = self.random.randrange(len(document.lines))
        return self.books.edit(document, line_no, self.random.choice(_QUANTITIES), at)

    def reassign(self, document: Document, at: datetime) -> bool:
        """Moves a sale to another buyer."""
        if document.entity == "Bill" or document.source is not None:
            return False
        return self.books.reassign(document, self.random.choice(self.buyers), at)

    def take_back(self, document: Document, at: datetime) -> bool:
        """Credits or refunds all of it or a part; credits are applied at once, in part, or not at all."""
        whole = self.random.random() < 0.4
        quantities = [
            line.quantity if whole else self.random.randint(0, line.quantity)
            for line in document.lines
        ]
        credit = self.books.take_back(document, quantities, at)
        if credit is None:
            return False
        if credit in document.refunds:  # a part of the sale, that nothing else happens to
            return True
        self._recent.append(credit)
        resale_odds = self.books.resale_odds
        if resale_odds and self.random.random() < resale_odds:
            self._recent.append(self.books.sell_with(credit, self._rows(), at))
        if credit.entity != "RefundReceipt" and self.random.random() < 0.8:
            share = self.random.choice((100, 100, 50))
            self.books.pay(document, credit.balance_minor * share // 100, at, credit=credit)
        if self.books.system == "netsuite" and self.random.random() < 0.5:
            self.books.pay_out(credit, at)
        return True

    def exchange(self, document: Document, at: datetime) -> bool:
        """Swaps a line for another product; only shops do."""
        line_no = self.random.randrange(len(document.lines))
        product = self.random.choice(list(self.books.products.values()))
        quantity = self.random.choice(_QUANTITIES)
        return self.books.exchange(document, line_no, product, quantity, at)

    def allocate(self, document: Document, at: datetime) -> bool:
        """Applies what is left of a credit to the invoice it came from."""
        source = document.source
        if (
            source is None
            or document.entity == "RefundReceipt"
            or document.status != "open"
            or document.deleted
        ):
            return False
        return self.books.pay(source, document.balance_minor, at, credit=document)

    def unpay(self, document: Document, at: datetime) -> bool:
        """Deletes the first payment of a document."""
        return bool(document.payments) and self.books.unpay(document.payments[0], at)

    def change_phone(self, at: datetime) -> bool:
        """A buyer gets a new number, or the same one is written differently."""
        customer = self.random.choice(self.buyers)
        person: Person = customer.person
        if self.random.random() < 0.3:
            person = customer.person = Person(
                person.first, person.last, person.company, make_number(self.random, self._taken)
            )
        if person.national is None:
            return False
        return self.books.change_phone(customer, write_phone(self.random, person.national), at)

    def step(self, at: datetime) -> str:
        """One change at an instant; returns what was done."""
        while True:
            name = self.random.choice(self._draws)
            if name == "sale":
                self.sale(at)
                return name
            if name == "change_phone":
                done = self.change_phone(at)
            elif name == "bill":
                done = self.bill(at) is not None
            else:
                done = self._on_document(name, at)
            if done:
                return name

    def _on_document(self, name: str, at: datetime) -> bool:
        act = getattr(self, name, None) or getattr(self.books, name)
        pool = list(self.books.all()) if name in ("allocate", "undelete") else self._recent[-400:]
        candidates = self.random.sample(pool, min(len(pool), 25))
        return any(act(document, at) for document in candidates)

    @staticmethod
    def _weighted() -> list[str]:
        weights = {
            "sale": 40,
            "pay": 18,
            "pay_part": 5,
            "edit": 8,
            "reassign": 2,
            "void": 5,
            "delete": 4,
            "take_back": 7,
        }
        weights |= {
            "allocate": 3,
            "unpay": 2,
            "approve": 3,
            "undelete": 1,
            "archive": 1,
            "change_phone": 3,
            "bill": 2,
        }
        return [name for name, weight in weights.items() for _ in range(weight)]
