"""What came of webhooks, counted for each connection and for a batch."""

from collections import Counter
from dataclasses import dataclass, field

from tasks.award.members import Awarded
from tasks.load.invoices import Loaded


@dataclass
class Counts:
    """What came of the events of one connection, or of all."""

    deliveries: int = 0
    done: int = 0
    failed: int = 0
    parked: int = 0
    new: int = 0
    changed: int = 0
    rejected: int = 0
    entries: int = 0
    points: int = 0
    records: int = 0
    older: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, loaded: Loaded, awarded: Awarded) -> None:
        """Counts a batch in."""
        self.records += loaded.records
        self.new += loaded.stored.new
        self.changed += loaded.stored.changed + loaded.stored.voided
        self.rejected += loaded.rejected + awarded.rejected
        self.older += loaded.stored.older
        self.entries += awarded.entries
        self.points += awarded.points
        self.reasons += loaded.reasons + awarded.reasons
        self.notes += loaded.notes

    def summary(self) -> dict[str, object]:
        """As kept in billing.sync_run."""
        names = ("new", "changed", "older", "rejected", "entries", "points")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        return counts | {
            "fetched": self.records,
            "events": self.deliveries,
            "reasons": dict(self.reasons),
        }
