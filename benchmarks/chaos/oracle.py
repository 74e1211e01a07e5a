"""What the ledger must hold, in plain arithmetic from the simulator's own books."""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from simulator import World
from simulator.state import relive

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


class Oracle:
    """The simulator's world, rebuilt beside it from the file in which it keeps what happened.

    The world follows from its seed and from when something happened, so the file is enough.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._world: World | None = None
        self._steps = 0
        self._phones: defaultdict[Key, set[str]] = defaultdict(set)

    def expected(self) -> dict[Key, Expected]:
        """Every document that is in the books now. Raises OSError while there is no file."""
        world = self._follow()
        return {
            (row.system, row.external_id): Expected(
                points_due(row.kind, row.status, row.total, row.refunded)
                if row.phone_e164 is not None
                else 0,
                frozenset(self._phones[row.system, row.customer_id]),
            )
            for row in world.truth()
        }

    def _follow(self) -> World:
        values = json.loads(self._state.read_text())
        if self._world is None:
            seed, customers, invoices, days = values["shape"]
            anchor = datetime.fromisoformat(values["anchor"])
            fewer = values["sales_max"]
            self._world = World(seed, customers, invoices, until=anchor, days=days, sales_max=fewer)
            self._note_phones(self._world)
        for event in values["evolved"][self._steps :]:
            relive(self._world, event)
            self._steps += 1
            self._note_phones(self._world)
        return self._world

    def _note_phones(self, world: World) -> None:
        for system, books in world.books.items():
            for customer in books.customers.values():
                if customer.person.national is not None:
                    self._phones[system, customer.id].add(f"+244{customer.person.national}")


def points_due(kind: str, status: str, total: str, refunded: str) -> int:
    """Points of a document: ten per unit of what is left of it, rounded toward zero."""
    if status in ("draft", "void"):
        return 0
    points = int((Decimal(total) - Decimal(refunded)) * POINTS_PER_UNIT)
    return -points if kind in ("credit_note", "refund") else points
