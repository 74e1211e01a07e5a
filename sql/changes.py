"""What changed for members, in one order: the feed that the loyalty app reads.

Whoever changes something notes it in its own transaction: `loyalty.note_change` in the database,
called by triggers on the ledger's tables. `publish` gives the notes their numbers afterwards. A
number is visible only when every lower one is, so a reader who goes on after the last number it
saw misses nothing, in whatever order transactions commit.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from sql.db import DbConnection
from sql.named_queries import query

#: Every kind of change, and what it says. Another ledger adds its kinds here, and notes them with
#: `loyalty.note_change`.
KINDS: Final = {
    "points.changed": "A member's points changed: a sale, a correction, an adjustment, an expiry, spending.",
    "points.expiring": "Points of a member expire soon.",
    "tier.changed": "A member has another tier.",
    "redemption.reversed": "Points that a member had spent came back.",
    "member.merged": "A member's sales and points count for another one now.",
    "member.unmerged": "A member's sales and points count for themselves again.",
    "member.erased": "A member's personal data was removed.",
}
#: Changes that get their numbers in one transaction.
PUBLISHED_AT_ONCE: Final = 1_000


def publish(connection: DbConnection, limit: int = PUBLISHED_AT_ONCE) -> int:
    """Publishes noted changes, in a transaction of its own, which it commits.

    Returns how many; 0: none is due, or somebody else publishes at this moment.
    """
    row = connection.execute(query("changes", "publish"), {"limit": limit}).fetchone()
    connection.commit()
    return int(row[0]) if row else 0


def skip_numbers(connection: DbConnection) -> None:
    """Leaves out many numbers: the database was restored, and the original had gone on.

    So no number is given to two changes, and whoever read on in the original is told. The caller
    commits.
    """
    connection.execute(query("changes", "skip_numbers"))


def noticed_until(connection: DbConnection) -> datetime | None:
    """Up to which instant expiries have been announced; None: none yet."""
    row = connection.execute(query("changes", "noticed")).fetchone()
    noticed: datetime | None = row[0] if row else None
    return noticed


def keep_noticed(connection: DbConnection, now: datetime, until: datetime) -> None:
    """Expiries are announced up to `until`. The caller commits."""
    connection.execute(query("changes", "notice"), {"now": now, "until": until})


def announce_expiries(connection: DbConnection, expiring: pl.DataFrame, run_id: str) -> None:
    """Tells of points that expire soon (EXPIRED), once for each member and instant.

    The caller commits.
    """
    if expiring.is_empty():
        return
    columns: Sequence[str] = ("member_id", "expires_at", "due")
    members, instants, points = (expiring[name].to_list() for name in columns)
    connection.execute(
        query("changes", "announce_expiries"),
        {"members": members, "instants": instants, "points": points, "run_id": run_id},
    )
