"""How long each kind of data is kept in the ledger database, and the removal of what is older.

Sales, entries and the audit log are kept for good: points are recomputed from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from sql import audit
from sql.db import DbConnection
from sql.holds import Hold, in_force
from sql.named_queries import query

__all__ = ["KINDS", "Removed", "reach", "remove_old"]
#: The kinds of data in the ledger database that have a retention, and what is removed of each.
KINDS: Final[Mapping[str, str]] = {
    "raw_pages": "bodies of stored pages",
    "webhooks": "bodies and senders of webhooks",
    "attempts": "months of the log of requests",
    "erased_members": "customer numbers at sales of erased members",
}
#: Those that a legal hold keeps.
_HELD: Final = ("raw_pages", "webhooks", "erased_members")
#: Kinds of which some may still be needed.
_NEEDED: Final = ("raw_pages", "webhooks")
#: Rows changed by one transaction.
_AT_ONCE: Final = 5_000


@dataclass
class Removed:
    """What was removed; in a dry run, what would be."""

    #: Per kind, how many.
    counts: dict[str, int] = field(default_factory=dict)
    #: Per kind, how many are older and still needed: by open rejects, or as waiting webhooks.
    needed: dict[str, int] = field(default_factory=dict)
    #: The legal holds that kept the rest.
    holds: list[Hold] = field(default_factory=list)
    #: Since when pages can be replayed; None: all can.
    reach: datetime | None = None

    def to_text(self) -> str:
        """One line; "" where nothing was to be done."""
        parts = [f"{count} {KINDS[kind]}" for kind, count in self.counts.items() if count]
        text = f"{', '.join(parts)} removed" if parts else ""
        if self.holds:
            text += f"{'; ' if text else ''}legal holds keep the rest: " + ", ".join(
                str(hold.hold_no) for hold in self.holds
            )
        for kind, count in self.needed.items():
            if count:
                text += f"{'; ' if text else ''}{count} older {KINDS[kind]} are still needed"
        if self.reach is not None:
            text += f"{'; ' if text else ''}a replay reaches back to {self.reach:%Y-%m-%d}"
        return text


def remove_old(
    connection: DbConnection, days: Mapping[str, int | None], run_id: str, *, dry_run: bool
) -> Removed:
    """Removes what is older than its retention, some thousand rows at a time; commits.

    Args:
        connection: To the ledger.
        days: Per kind of KINDS, for how many days it is kept; None: for good.
        run_id: Prefect flow run, for the audit log.
        dry_run: Only count.
    """
    removed = Removed(holds=in_force(connection))
    for kind in KINDS:
        period_days = days.get(kind)
        if period_days is None or (removed.holds and kind in _HELD):
            continue
        before = datetime.now(UTC) - timedelta(days=period_days)
        removed.counts[kind] = _remove(connection, kind, before, run_id, dry_run=dry_run)
        if kind in _NEEDED:
            parameters = {"before": before}
            row = connection.execute(query("retention", f"needed_{kind}"), parameters).fetchone()
            removed.needed[kind] = row[0] if row else 0
    removed.holds = removed.holds if any(days.get(kind) is not None for kind in _HELD) else []
    removed.reach = reach(connection)
    connection.rollback()
    return removed


def _remove(
    connection: DbConnection, kind: str, before: datetime, run_id: str, *, dry_run: bool
) -> int:
    parameters = {"before": before, "limit": _AT_ONCE}
    row = connection.execute(query("retention", f"count_{kind}"), parameters).fetchone()
    expected = int(row[0]) if row else 0
    if dry_run or not expected:
        connection.rollback()
        return expected
    audit.record(
        connection, "retention", kind, records=expected, run_id=run_id,
        details={"before": before.isoformat()},
    )  # fmt: skip
    count = 0
    while True:
        cursor = connection.execute(query("retention", kind), parameters)
        count += cursor.rowcount
        connection.commit()
        if kind == "attempts" or cursor.rowcount < _AT_ONCE:
            return expected if kind == "attempts" else count


def reach(connection: DbConnection) -> datetime | None:
    """Since when stored pages can be replayed; None: all of them can."""
    row = connection.execute(query("retention", "reach")).fetchone()
    return None if row is None else row[0]
