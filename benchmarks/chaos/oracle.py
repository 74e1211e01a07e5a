"""What the ledger must hold, in plain arithmetic from the simulator's own books."""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from simulator import World
from simulator.books import Books
from simulator.shared import systems_of
from simulator.state import relive
from simulator.truth import Truth, truth_of

#: (system, external_id) of a document.
Key = tuple[str, str]

#: The program as shipped: so many points per currency unit, everybody in the entry tier.
POINTS_PER_UNIT: Final = 10


@dataclass(frozen=True, slots=True)
class Expected:
    """One document of the books."""

    #: Points due; 0 for drafts, void documents and customers whose phone nobody knows.
    points: int
    #: Every number the customer had since the world began: a sale counts for any one of them.
    phones: frozenset[str]
    #: A posted sale that moves to a customer without a phone is refused, and keeps what it gave:
    #: what each of its versions with a phone was worth.
    earlier: frozenset[int] = frozenset()


class Oracle:
    """The simulator's world, rebuilt beside it from the file in which it keeps what happened.

    The world follows from its seed and from when something happened, so the file is enough.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._world: World | None = None
        self._steps = 0
        self._phones: defaultdict[Key, set[str]] = defaultdict(set)
        self._worth: defaultdict[Key, set[int]] = defaultdict(set)

    def expected(self) -> dict[Key, Expected]:
        """Every document that is in the books now. Raises OSError while there is no file."""
        return {_key(row): self._expected(row) for row in self._follow().truth()}

    def _expected(self, row: Truth) -> Expected:
        if row.phone_e164 is None:
            return Expected(0, frozenset(), frozenset(self._worth[_key(row)]))
        return Expected(_due(row), frozenset(self._phones[row.system, row.customer_id]))

    def _follow(self) -> World:
        values = json.loads(self._state.read_text())
        if self._world is None:
            seed, customers, invoices, days = values["shape"]
            anchor = datetime.fromisoformat(values["anchor"])
            fewer = values["sales_max"]
            shared = values.get("shared_sales", 0)
            self._world = World(
                seed, customers, invoices, until=anchor, days=days, sales_max=fewer,
                shared_sales=shared,
            )  # fmt: skip
            for books in self._world.books.values():
                self._note(books)
        for event in values["evolved"][self._steps :]:
            for happened in relive(self._world, event):
                for system in systems_of(*happened):
                    self._note(self._world.books[system])
            self._steps += 1
        return self._world

    def _note(self, books: Books) -> None:
        for customer in books.customers.values():
            if customer.person.national is not None:
                self._phones[books.system, customer.id].add(f"+244{customer.person.national}")
        for row in truth_of(books):
            if row.phone_e164 is not None:
                self._worth[_key(row)].add(_due(row))


def _key(row: Truth) -> Key:
    return row.system, row.external_id


def _due(row: Truth) -> int:
    return points_due(row.kind, row.status, row.total, row.refunded)


def points_due(kind: str, status: str, total: str, refunded: str) -> int:
    """Points of a document: ten per unit of what is left of it, rounded toward zero."""
    if status in ("draft", "void"):
        return 0
    points = int((Decimal(total) - Decimal(refunded)) * POINTS_PER_UNIT)
    return -points if kind in ("credit_note", "refund") else points
