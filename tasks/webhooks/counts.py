"""What came of webhooks, counted for each connection and for a batch."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.award.members import Awarded
from tasks.load.invoices import Loaded


@dataclass
class Counts:
    """What came of the events of one connection, or of all."""

    #: Per delivery, by its number, how its last attempt ended: done, failed (it is tried again) or
    #: parked (an operator must look at it).
    states: dict[int, str] = field(default_factory=dict)
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
    #: Points of events of members (registrations and the like) that were posted with them.
    points_by_event: Counter[str] = field(default_factory=Counter)
    #: Points of the same members that expired, less what came back.
    expired_points: int = 0
    #: Records on the pages that were made of events.
    records: int = 0
    #: Versions that are older than what is stored.
    older: int = 0
    #: Why records were rejected, and how often.
    reasons: Counter[str] = field(default_factory=Counter)
    #: What was completed or read differently from what the events say, and how often.
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def deliveries(self) -> int:
        """Deliveries that were taken up, each once, however often it was tried."""
        return len(self.states)

    @property
    def done(self) -> int:
        """Those that are finished with."""
        return self._in("done")

    @property
    def failed(self) -> int:
        """Those that are tried again."""
        return self._in("failed")

    @property
    def parked(self) -> int:
        """Those that an operator must look at."""
        return self._in("parked")

    def _in(self, state: str) -> int:
        return sum(ended == state for ended in self.states.values())

    def ended(self, event_nos: Iterable[int], state: str) -> None:
        """Counts attempts that ended so; the last one of a delivery counts."""
        self.states |= dict.fromkeys(event_nos, state)

    def add(self, loaded: Loaded, awarded: Awarded) -> None:
        """Counts a batch in; what was posted for its account is counted with the account."""
        self.records += loaded.records
        self.new += loaded.stored.new
        self.changed += loaded.stored.changed + loaded.stored.voided
        self.rejected += loaded.rejected + awarded.rejected
        self.older += loaded.stored.older
        self.reasons += loaded.reasons + awarded.reasons
        self.notes += loaded.notes
        self.add_beside_sales(awarded.event_points, awarded.expired)

    def add_beside_sales(self, points_by_event: Counter[str], expired_points: int) -> None:
        """Counts points in that are of no sale."""
        # (Not by +=, which forgets what is not above 0.)
        self.points_by_event.update(points_by_event)
        self.expired_points += expired_points

    def summary(self) -> dict[str, object]:
        """As kept in billing.sync_run."""
        names = ("new", "changed", "older", "rejected", "entries", "points")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        return counts | {
            "fetched": self.records,
            "events": self.deliveries,
            "reasons": dict(self.reasons),
            "points_by_event": dict(self.points_by_event),
            "expired_points": self.expired_points,
        }
