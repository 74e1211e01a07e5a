"""What came of webhooks, counted for each connection and for a batch."""

from collections import Counter
from dataclasses import dataclass, field

from tasks.award.members import Awarded
from tasks.load.invoices import Loaded


@dataclass
class Counts:
    """What came of the events of one connection, or of all."""

    #: Deliveries claimed.
    deliveries: int = 0
    #: Deliveries that are finished with.
    done: int = 0
    #: Deliveries that are tried again.
    failed: int = 0
    #: Deliveries that an operator must look at.
    parked: int = 0
    #: Invoices that were not stored before.
    new: int = 0
    #: Invoices that are other now, or void.
    changed: int = 0
    #: Records, and sales without points, that could not be used.
    rejected: int = 0
    #: Entries appended to the ledger for sales of the connection.
    entries: int = 0
    #: Their sum.
    points: int = 0
    #: Records on the pages that were made of events.
    records: int = 0
    #: Versions that are older than what is stored.
    older: int = 0
    #: Why records were rejected, and how often.
    reasons: Counter[str] = field(default_factory=Counter)
    #: What was completed or read differently from what the events say, and how often.
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, loaded: Loaded, awarded: Awarded) -> None:
        """Counts a batch in; what was posted for its account is counted with the account."""
        self.records += loaded.records
        self.new += loaded.stored.new
        self.changed += loaded.stored.changed + loaded.stored.voided
        self.rejected += loaded.rejected + awarded.rejected
        self.older += loaded.stored.older
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
