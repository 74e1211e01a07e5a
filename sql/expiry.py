"""Expired points in and out. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.calendar import local
from loyalty.expiry import (
    EXPIRY_ENTRY,
    FOREVER,
    MOVES,
    POSTED,
    difference,
    earned_before,
    expired,
    expiring,
    expiring_next,
    notice,
    sale_moves,
)
from loyalty.program import Program
from sql import changes, ledger
from sql.copying import copy_in
from sql.db import DbConnection, read_frame
from sql.named_queries import query

#: Sales older than any: where a watch begins.
_EVER = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Outlook:
    """What the award step has not posted yet of a member's expiries, and what comes next."""

    #: Points whose time is over, not posted as expired yet.
    overdue_points: int
    #: When points expire next; None: none do.
    next_at: datetime | None
    #: How many expire then, if nothing moves until then.
    next_points: int


def now(connection: DbConnection) -> datetime:
    """The database's clock."""
    row = connection.execute(query("expiry", "now")).fetchone()
    assert row
    at: datetime = row[0]
    return at.astimezone(UTC)


def newly_expired(
    connection: DbConnection, programs: Sequence[Program], as_of: datetime
) -> set[int]:
    """Members of whose points some may have expired since this was asked last.

    Remembers that it was asked.
    """
    until = earned_before(programs, as_of)
    if until is None:
        return set()
    row = connection.execute(query("expiry", "watched")).fetchone()
    watched = row[0] if row else None
    if watched is not None and watched >= as_of - timedelta(hours=1):
        return set()
    connection.execute(query("expiry", "watch"), {"until": as_of})
    # What a hold reserved did not expire; once it has ended by itself, it does.
    looked = {"since": (watched or _EVER) - timedelta(days=2), "until": as_of}
    released = connection.execute(query("expiry", "members_of_ended_holds"), looked).fetchall()
    return _earned_between(connection, programs, watched, until) | {row[0] for row in released}


def newly_expiring(
    connection: DbConnection, programs: Sequence[Program], as_of: datetime
) -> set[int]:
    """Members of whose points some may begin to be about to expire since this was asked last.

    Remembers that it was asked.
    """
    ahead = as_of + notice(programs)
    until = earned_before(programs, ahead)
    if until is None or ahead == as_of:
        return set()
    noticed = changes.noticed_until(connection)
    if noticed is not None and noticed >= ahead - timedelta(hours=1):
        return set()
    changes.keep_noticed(connection, as_of, ahead)
    return _earned_between(connection, programs, noticed, until)


def _earned_between(
    connection: DbConnection,
    programs: Sequence[Program],
    watched: datetime | None,
    until: datetime,
) -> set[int]:
    """Members who earned what had not expired at `watched` (None: ever), and before `until`."""
    since = (
        _EVER
        if watched is None
        else min(filter(None, (earned_before([p], watched) for p in programs)), default=_EVER)
    )
    # A day more on both sides: the last look may have ended in the middle of a day.
    parameters = {"since": since - timedelta(days=2), "until": until}
    earned = connection.execute(query("expiry", "members_who_earned"), parameters).fetchall()
    return {member for (member,) in earned}


def post(
    connection: DbConnection,
    members: Sequence[int],
    due: pl.DataFrame,
    programs: Sequence[Program],
    as_of: datetime,
    run_id: str,
) -> int:
    """Appends what expired of the members' points until `as_of`, or came back.

    Returns the points that this adds to their balances.

    `due` is what `loyalty.award` says: points that could not be computed do not expire.
    """
    missing = entries(connection, members, due, programs, as_of)
    copy_in(
        connection, "loyalty.expiry_entry", missing.with_columns(pl.lit(run_id).alias("run_id"))
    )
    return int(missing["points"].sum() or 0)


def entries(
    connection: DbConnection,
    members: Sequence[int],
    due: pl.DataFrame,
    programs: Sequence[Program],
    as_of: datetime,
    events: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What `post` appends (EXPIRY_ENTRY).

    `events` are MOVES of events instead of those that are posted; None: those are right.
    """
    if not any(p.expiry for p in programs):
        return EXPIRY_ENTRY.to_frame()
    posted = read_frame(connection, query("expiry", "expired"), {"members": list(members)}, POSTED)
    moves = _moves(connection, members, sale_moves(due, programs), events)
    return difference(expired(moves, programs, as_of), posted)


def announce(
    connection: DbConnection,
    members: Sequence[int],
    due: pl.DataFrame,
    programs: Sequence[Program],
    as_of: datetime,
    run_id: str,
) -> None:
    """Tells, once, of points of the members that expire within the program's notice."""
    ahead = as_of + notice(programs)
    if ahead > as_of:
        soon = expiring(
            _moves(connection, members, sale_moves(due, programs)), programs, as_of, ahead
        )
        changes.announce_expiries(connection, soon, run_id)


def gone(
    connection: DbConnection,
    members: Sequence[int],
    due: pl.DataFrame,
    programs: Sequence[Program],
    as_of: datetime,
    events: pl.DataFrame,
) -> pl.DataFrame:
    """member_id, expired: what would have expired until `as_of` by these versions of the program.

    `events` are MOVES of events by these versions. Nothing is posted.
    """
    if not any(p.expiry for p in programs):
        return pl.DataFrame(schema={"member_id": pl.Int64, "expired": pl.Int64})
    moves = _moves(connection, members, sale_moves(due, programs), events)
    expiries = expired(moves, programs, as_of)
    return expiries.group_by("member_id").agg(pl.col("due").sum().alias("expired"))


def outlook(connection: DbConnection, member_id: int) -> Outlook:
    """What of the member's points is over and not posted as expired yet, and what expires next.

    Computed from what is posted for the member's sales.
    """
    which, programs, as_of = {"members": [member_id]}, ledger.programs(connection), now(connection)
    sales = read_frame(connection, query("expiry", "posted_sales"), which, MOVES)
    moves = _moves(connection, [member_id], sales)
    posted = read_frame(connection, query("expiry", "expired"), which, POSTED)
    overdue = difference(expired(moves, programs, as_of), posted)["points"].sum()
    upcoming = expiring_next(moves, programs, as_of)
    return Outlook(max(0, -int(overdue or 0)), *(upcoming or (None, 0)))


def per_month(
    connection: DbConnection, members: Sequence[int], programs: Sequence[Program], as_of: datetime
) -> list[tuple[date, int, int]]:
    """What of the members' points expires after `as_of`, if nothing moves until then.

    Returns rows of: the month of the last day on which they can be spent, points, members.
    Computed from what is posted for the members' sales.
    """
    sales = read_frame(
        connection, query("expiry", "posted_sales"), {"members": list(members)}, MOVES
    )
    to_come = expiring(_moves(connection, members, sales), programs, as_of, FOREVER)
    last = local(pl.col("expires_at") - pl.duration(microseconds=1), _zone(programs))
    months = to_come.group_by(last.dt.date().dt.truncate("1mo").alias("month")).agg(
        pl.col("due").sum(), pl.col("member_id").n_unique()
    )
    return [(month, points, count) for month, points, count in months.iter_rows()]


def month_of(at: datetime, programs: Sequence[Program]) -> date:
    """The month of an instant, by the clock of the latest version of the program."""
    return at.astimezone(ZoneInfo(_zone(programs))).date().replace(day=1)


def _zone(programs: Sequence[Program]) -> str:
    return max(programs, key=lambda program: program.version).timezone


def _moves(
    connection: DbConnection,
    members: Sequence[int],
    sales: pl.DataFrame,
    events: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """`sales` with everything else that moved the members' balances (MOVES).

    `events` instead of those that are posted; None: those.
    """
    which = {"members": list(members), "events_too": events is None}
    return pl.concat(
        [
            sales,
            *([] if events is None else [events.select(MOVES.names())]),
            *(
                read_frame(connection, query("expiry", name), which, MOVES)
                for name in ("adjustments", "redemptions")
            ),
        ]
    )
