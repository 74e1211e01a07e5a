"""What analysts read and what is too much to compute at each question. The caller commits."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from sql import expiry, ledger
from sql.db import DbConnection
from sql.named_queries import query

#: Members whose expiries are computed at once, so that memory does not grow with their number.
MEMBERS_AT_ONCE: Final = 20_000
#: What expires in the months to come is computed once a day: it means reading every member.
EXPIRING_EVERY: Final = timedelta(hours=20)


def refresh(connection: DbConnection) -> str:
    """Makes all of it anew, as of one instant; says what it did in one line."""
    connection.rollback()
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    refresh_common_texts(connection)
    connection.execute(query("analytics", "clear_months"))
    connection.execute(query("analytics", "months"))
    refresh_expiring(connection)
    return "Sums per month and texts that analysts may read were made anew"


def refresh_common_texts(connection: DbConnection) -> None:
    """Finds anew which typed texts concern so many members that analysts may read them."""
    connection.execute(query("analytics", "common_texts"))


def refresh_expiring(connection: DbConnection, *, anew: bool = False) -> None:
    """Computes which points expire per month to come, unless that was done today.

    Args:
        connection: In a snapshot.
        anew: Also if it was.
    """
    programs = ledger.programs(connection)
    as_of = expiry.now(connection)
    row = connection.execute(query("analytics", "expiring_computed_at")).fetchone()
    done_at = row[0] if row else None
    if not anew and done_at is not None and done_at > as_of - EXPIRING_EVERY:
        return
    points: Counter[date] = Counter()
    members: Counter[date] = Counter()
    if any(program.expiry for program in programs):
        # (Also where nothing expires: it says when that was found.)
        points[expiry.month_of(as_of, programs)] += 0
        for numbers in _members(connection):
            for month, sum_of, count in expiry.per_month(connection, numbers, programs, as_of):
                points[month] += sum_of
                members[month] += count
    connection.execute(query("analytics", "clear_expiring"))
    for month in sorted(points):
        values = {"points": points[month], "members": members[month], "as_of": as_of}
        connection.execute(query("analytics", "add_expiring"), {"month": month, **values})


def _members(connection: DbConnection) -> Iterator[list[int]]:
    """All members, some at a time."""
    after = 0
    while True:
        which = {"after": after, "limit": MEMBERS_AT_ONCE}
        rows = connection.execute(query("analytics", "members_after"), which).fetchall()
        if not rows:
            return
        yield [number for (number,) in rows]
        after = rows[-1][0]
