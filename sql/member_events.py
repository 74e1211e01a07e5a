"""What members do beside buying: stored once, and what is posted for it. The caller commits.

Points of events are adjustments of the kind `event`. Only the award step posts them, as it does
those of sales: what is due now against what is posted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.corrections import Decision
from loyalty.expiry import MOVES
from loyalty.member_events import (
    AHEAD_MAX,
    BIRTHDAY,
    EARLIEST,
    EVENTS,
    OWN,
    SIGN_UP,
    AppEvent,
    Birthday,
    EventId,
    begins,
    due,
    is_a_day,
)
from loyalty.program import Program, program_at
from loyalty.schema import UTC_US
from loyalty.types import HOME_ZONE, EventName
from sql import audit, consent, expiry, ledger
from sql.actor import acting_as, actor
from sql.corrections import CorrectionRefusedError, find_member, refuse_erased
from sql.db import DbConnection, read_frame
from sql.named_queries import query

__all__ = [
    "BIRTHDAY",
    "SIGN_UP",
    "AppEvent",
    "Birthday",
    "BirthdayByHand",
    "BirthdayEntered",
    "EventByHand",
    "EventEntered",
    "EventId",
    "EventInFutureError",
    "EventName",
    "EventReusedError",
    "EventTooOldError",
    "NoBirthdayError",
    "OwnEventError",
    "add",
    "add_by_hand",
    "birthday",
    "changes",
    "count_birthdays",
    "due_moves",
    "forget_birthdays",
    "note_birthdays",
    "note_sign_up",
    "post",
    "set_birthday",
    "set_birthday_by_hand",
]  # fmt: skip
#: Birthdays noted in one statement.
_AT_ONCE: Final = 5_000
#: What is posted for an event.
_POSTED: Final = pl.Schema(
    {
        "event_no": pl.Int64(),
        #: Who has the points.
        "member_id": pl.Int64(),
        "at": UTC_US,
        #: The sum of all that was posted.
        "posted": pl.Int64(),
        #: The latest adjustment that gives points.
        "adjustment_id": pl.Int64(),
        #: How many of these there were.
        "given": pl.Int64(),
    }
)


class OwnEventError(CorrectionRefusedError):
    """The program notes events of this name by itself."""


class EventInFutureError(CorrectionRefusedError):
    """The event has not happened yet."""


class EventTooOldError(CorrectionRefusedError):
    """The event is said to have happened before there was any program."""


class EventReusedError(CorrectionRefusedError):
    """The app's id was used for another event."""


class NoBirthdayError(CorrectionRefusedError):
    """No month has that day."""


@dataclass(frozen=True)
class EventEntered:
    """An event as it is stored; `repeated`: it was here already, and nothing was added."""

    event_no: int
    #: The member as named in the request.
    member_id: int
    name: str
    #: The app's own id of it; None: the program noted it by itself.
    event_id: str | None
    happened_at: datetime
    #: When it became known.
    recorded_at: datetime
    #: What is posted for it so far.
    points: int
    repeated: bool = False


@dataclass(frozen=True)
class EventByHand:
    """An event that a person entered; `repeated`: it was here already, and nothing was added."""

    event_no: int
    member_id: int
    name: str
    #: Names of events for which the rules of its time give points.
    in_rules: tuple[str, ...]
    repeated: bool

    def to_text(self) -> str:
        """One line."""
        text = f"Event {self.name} of member {self.member_id} is entered (number {self.event_no})"
        text += "; it was so before" if self.repeated else ""
        if self.name in self.in_rules:
            return text
        known = f": they name {', '.join(self.in_rules)}" if self.in_rules else " for any"
        return f"{text}; the rules of its time give no points for it{known}"


@dataclass(frozen=True)
class BirthdayEntered:
    """A member's birthday now; None: none is kept."""

    member_id: int
    birthday: Birthday | None
    #: It was so already, and nothing was changed.
    repeated: bool = False


@dataclass(frozen=True)
class BirthdayByHand:
    """That a person entered or removed a birthday, and never which: runs and logs keep this."""

    member_id: int
    #: Whether one is kept now.
    kept: bool
    #: It was so already, and nothing was changed.
    repeated: bool

    def to_text(self) -> str:
        """One line, without the day."""
        text = f"The birthday of member {self.member_id} is {'entered' if self.kept else 'removed'}"
        return text + ("; it was so before" if self.repeated else "")


@dataclass(frozen=True)
class Posted:
    """What the award step posted for events."""

    #: Entries by the name of the event.
    entries: Counter[str] = field(default_factory=Counter)
    #: Their points; less than 0 where more was taken back than given.
    points: Counter[str] = field(default_factory=Counter)


def add(connection: DbConnection, event: AppEvent, run_id: str) -> EventEntered:
    """Enters what the loyalty app tells, once for each id.

    Raises CorrectionRefusedError: there is no such member, their personal data was removed, the
    event is the program's own, has not happened yet or is too old, or the id was used for another
    one.
    """
    owner = find_member(connection, event.member_id).owner_id
    refuse_erased(connection, [owner, event.member_id], "nothing they did can be entered")
    if event.name in OWN:
        message = f"the program notes {event.name} by itself; give your event another name"
        raise OwnEventError(message)
    if event.happened_at is not None and event.happened_at > expiry.now(connection) + AHEAD_MAX:
        message = "the event has not happened yet; send it once it has"
        raise EventInFutureError(message)
    if event.happened_at is not None and event.happened_at < EARLIEST:
        message = f"events are kept from {EARLIEST:%Y-%m-%d} on; correct happened_at"
        raise EventTooOldError(message)
    key = f"app/{event.event_id}"
    new = _enter(connection, event.member_id, event.name, key, event.happened_at, run_id)
    row = connection.execute(query("member_events", "of_key"), {"event_key": key}).fetchone()
    assert row is not None
    stored = replace(EventEntered(*row), repeated=not new)
    asked = (event.member_id, event.name, event.happened_at or stored.happened_at)
    if asked != (stored.member_id, stored.name, stored.happened_at):
        message = (
            f"the event id {event.event_id!r} was used for another event "
            f"({stored.event_no}); take a new one"
        )
        raise EventReusedError(message)
    return stored


def add_by_hand(
    connection: DbConnection, event: AppEvent, decision: Decision, run_id: str
) -> EventByHand:
    """Enters what a person tells, as `add` does, with an entry of the audit log that says why.

    Raises CorrectionRefusedError as `add` does.
    """
    with acting_as(decision.author):
        entered = add(connection, event, run_id)
    if not entered.repeated:
        details = {"event_no": entered.event_no, "name": entered.name, **decision.model_dump()}
        audit.record(
            connection, "member.event", f"member {entered.member_id}", records=1,
            details=details, run_id=run_id,
        )  # fmt: skip
    program = program_at(ledger.programs(connection), entered.happened_at)
    in_rules = tuple(sorted(program.events)) if program is not None else ()
    return EventByHand(
        entered.event_no, entered.member_id, entered.name, in_rules, entered.repeated
    )


def note_sign_up(connection: DbConnection, member_id: int, run_id: str) -> None:
    """Enters, once, that a member registered."""
    _enter(connection, member_id, SIGN_UP, f"{SIGN_UP}/{member_id}", None, run_id)


def _enter(
    connection: DbConnection, member_id: int, name: str, key: str, at: datetime | None, run_id: str
) -> bool:
    """Whether the event is new."""
    values = {
        "member_id": member_id, "name": name, "event_key": key, "happened_at": at,
        "by": actor(), "run_id": run_id,
    }  # fmt: skip
    return connection.execute(query("member_events", "add"), values).fetchone() is not None


def birthday(connection: DbConnection, member_id: int) -> BirthdayEntered:
    """A member's birthday. Raises CorrectionRefusedError: there is no such member."""
    find_member(connection, member_id)
    which = {"member_id": member_id}
    row = connection.execute(query("member_events", "birthday"), which).fetchone()
    return BirthdayEntered(member_id, None if row is None else Birthday(month=row[0], day=row[1]))


def set_birthday(
    connection: DbConnection,
    member_id: int,
    asked: Birthday | None,
    run_id: str,
    decision: Decision | None = None,
) -> BirthdayEntered:
    """Keeps a member's birthday, or (None) removes it. The audit log tells that, and no day.

    `decision` is who entered it and why, where a person did.

    Raises CorrectionRefusedError: there is no such member, their personal data was removed, or
    there is no such day.
    """
    # (An erasure that is under way is waited for: it would not see the row.)
    connection.execute(query("members", "lock"), {"member_id": member_id})
    before = birthday(connection, member_id)
    if before.birthday == asked:
        return replace(before, repeated=True)
    if asked is None:
        forget_birthdays(connection, [member_id])
    else:
        refuse_erased(connection, [member_id], "nothing about them can be entered")
        if not is_a_day(asked.month, asked.day):
            # (Not which: runs and logs keep the message.)
            message = "that month has no such day"
            raise NoBirthdayError(message)
        now = expiry.now(connection)
        zone = _zone(ledger.programs(connection), now)
        values = {**asked.model_dump(), "next_on": asked.next_on(now.astimezone(zone).date())}
        connection.execute(
            query("member_events", "set_birthday"), values | {"member_id": member_id}
        )
    operation = "member.birthday.forget" if asked is None else "member.birthday"
    details = None if decision is None else decision.model_dump()
    audit.record(
        connection, operation, f"member {member_id}", records=1, details=details, run_id=run_id
    )
    return BirthdayEntered(member_id, asked)


def set_birthday_by_hand(
    connection: DbConnection,
    member_id: int,
    asked: Birthday | None,
    decision: Decision,
    run_id: str,
) -> BirthdayByHand:
    """As `set_birthday`, for a person; what it returns may be shown and kept.

    Raises CorrectionRefusedError as that does.
    """
    entered = set_birthday(connection, member_id, asked, run_id, decision)
    return BirthdayByHand(member_id, asked is not None, entered.repeated)


def count_birthdays(connection: DbConnection, members: Sequence[int]) -> int:
    """How many of these members have told their birthday."""
    which = {"members": list(members)}
    row = connection.execute(query("member_events", "count_birthdays"), which).fetchone()
    assert row is not None
    return int(row[0])


def forget_birthdays(connection: DbConnection, members: Sequence[int]) -> None:
    """Removes the birthdays of these members."""
    connection.execute(query("member_events", "forget_birthdays"), {"members": list(members)})


def note_birthdays(
    connection: DbConnection, programs: Sequence[Program], now: datetime, run_id: str
) -> int:
    """Enters birthdays that have begun since this was last done, however long ago that is.

    Returns how many members they are of. Each birthday is entered once in a year.
    """
    zone = _zone(programs, now)
    today = now.astimezone(zone).date()
    noted = 0
    while True:
        asked = {"today": today, "limit": _AT_ONCE}
        rows = connection.execute(query("member_events", "due_birthdays"), asked).fetchall()
        days = [
            (member, day)
            for member, month, day_of_month, next_on in rows
            for year in range(next_on.year, today.year + 1)
            if next_on <= (day := Birthday(month=month, day=day_of_month).in_year(year)) <= today
        ]
        if rows:
            values = {
                "members": [member for member, _ in days], "years": [day.year for _, day in days],
                "at": [begins(day, zone) for _, day in days], "by": actor(), "run_id": run_id,
            }  # fmt: skip
            connection.execute(query("member_events", "note_birthdays"), values)
            after = [Birthday(month=row[1], day=row[2]) for row in rows]
            following = [each.next_on(today + timedelta(days=1)) for each in after]
            values = {"members": [row[0] for row in rows], "next_on": following}
            connection.execute(query("member_events", "next_birthdays"), values)
        noted += len(rows)
        if len(rows) < _AT_ONCE:
            return noted


def changes(
    connection: DbConnection, members: Sequence[int], programs: Sequence[Program]
) -> pl.DataFrame:
    """Where points due for the members' events differ from those posted.

    Columns: event_no, member_id, at, due, posted, adjustment_id, given.
    """
    which = {"members": list(members)}
    posted = read_frame(connection, query("member_events", "posted"), which, _POSTED)
    both = _due(connection, members, programs).rename({"points": "due"}).join(
        posted, on=["event_no", "member_id", "at"], how="full", coalesce=True
    )  # fmt: skip
    counts = [pl.col(name).fill_null(0) for name in ("due", "posted", "given")]
    return both.with_columns(counts).filter(pl.col("due") != pl.col("posted")).sort("event_no")


def due_moves(
    connection: DbConnection, members: Sequence[int], programs: Sequence[Program]
) -> pl.DataFrame:
    """What the members' events are worth by these versions of the program, as `event_no` and MOVES.

    Nothing is posted.
    """
    return _due(connection, members, programs).select("event_no", *MOVES.names())


def _due(
    connection: DbConnection, members: Sequence[int], programs: Sequence[Program]
) -> pl.DataFrame:
    which = {"members": list(members)}
    events = read_frame(connection, query("member_events", "events"), which, EVENTS)
    return due(events, consent.withdrawn(connection, members), programs)


def post(
    connection: DbConnection, members: Sequence[int], programs: Sequence[Program], run_id: str
) -> Posted:
    """Posts what the members' events are due and do not have yet, and takes back what is not."""
    differing = changes(connection, members, programs)
    if differing.is_empty():
        return Posted()
    wrong = differing.filter(pl.col("posted") != 0)
    right = differing.filter(pl.col("due") != 0)
    taken = {"adjustments": wrong["adjustment_id"].to_list(), "run_id": run_id}
    rows = connection.execute(query("member_events", "take_back"), taken).fetchall()
    given: dict[str, Any] = {
        "events": right["event_no"].to_list(), "points": right["due"].to_list(),
        "numbers": (right["given"] + 1).to_list(), "run_id": run_id,
    }  # fmt: skip
    rows += connection.execute(query("member_events", "give"), given).fetchall()
    posted = Posted()
    for name, points in rows:
        posted.entries[name] += 1
        posted.points[name] += points
    return posted


def _zone(programs: Sequence[Program], now: datetime) -> ZoneInfo:
    program = program_at(programs, now)
    return ZoneInfo(program.timezone if program is not None else HOME_ZONE)
