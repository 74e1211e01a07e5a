"""Points of what members do beside buying: events of the loyalty app, registrations, birthdays.

A pure function of the stored events and the rules: no clock, and no matter in which order the
events became known. docs/points-rules.md has the rules.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from loyalty.corrections import MemberId, no_phone
from loyalty.policies import EventRule
from loyalty.program import Program, program_at
from loyalty.schema import UTC_US
from loyalty.types import EventName, Frozen

#: A member registered with the loyalty app.
SIGN_UP: Final = "sign_up"
#: A member's birthday, without the year.
BIRTHDAY: Final = "birthday"
#: Events that the program notes by itself: the loyalty app cannot tell them.
OWN: Final = (SIGN_UP, BIRTHDAY)
#: The app's own id of an event.
EventId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$"),
    AfterValidator(no_phone),
]
#: No event is older. (The first day of all has none before it in zones west of UTC.)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: An event may be told by a clock that is so far ahead.
AHEAD_MAX: Final = timedelta(minutes=5)
#: One row per event of some members.
EVENTS: Final = pl.Schema(
    {
        #: The event.
        "event_no": pl.Int64(),
        #: Who earns for the member.
        "member_id": pl.Int64(),
        #: What happened.
        "name": pl.String(),
        #: What no other event has; of two at one instant it decides which comes first.
        "event_key": pl.String(),
        "happened_at": UTC_US,
    }
)
#: What events are worth; those that are worth nothing have no row.
EVENT_DUE: Final = pl.Schema(
    {
        "event_no": pl.Int64(),
        #: Who gets the points.
        "member_id": pl.Int64(),
        #: When the event happened: from then on its points expire.
        "at": UTC_US,
        #: More than 0.
        "points": pl.Int64(),
    }
)


class AppEvent(Frozen):
    """Something that a member did in the loyalty app."""

    #: The member, by our number.
    member_id: MemberId
    #: What happened.
    name: EventName
    #: The app's own id of the event: the same one is entered once, whoever sends it again.
    event_id: EventId
    #: When; None: now.
    happened_at: AwareDatetime | None = None


class Birthday(Frozen):
    """A birthday without the year."""

    month: Annotated[int, Field(ge=1, le=12)]
    day: Annotated[int, Field(ge=1, le=31)]

    def in_year(self, year: int) -> date:
        """The day in a year; 28 February for the 29th where there is none."""
        try:
            return date(year, self.month, self.day)
        except ValueError:
            return date(year, self.month, 28)

    def next_on(self, today: date) -> date:
        """The first such day from `today` on."""
        day = self.in_year(today.year)
        return day if day >= today else self.in_year(today.year + 1)


def is_a_day(month: int, day: int) -> bool:
    """Whether a leap year has that day."""
    try:
        date(2000, month, day)
    except ValueError:
        return False
    return True


def birthday_of(month: str, day: str) -> Birthday | None:
    """The birthday that two numbers name, as people write them; None: they name none.

    Whether the month has that day is not looked at.
    """
    texts = (month.strip(), day.strip())
    if not all(text.isascii() and text.isdigit() and len(text) <= 2 for text in texts):
        return None
    numbers = tuple(map(int, texts))
    if not (1 <= numbers[0] <= 12 and 1 <= numbers[1] <= 31):
        return None
    return Birthday(month=numbers[0], day=numbers[1])


def begins(day: date, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) of a day."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def due(events: pl.DataFrame, withdrawn: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """What the events are worth (EVENT_DUE).

    Args:
        events: EVENTS: all of each member who earns.
        withdrawn: `loyalty.consent.WITHDRAWN`: what happens without consent is worth nothing.
        programs: All versions of the program.
    """
    if events.is_empty() or not any(p.events for p in programs):
        return EVENT_DUE.to_frame()
    counted = _Counted()
    rows = []
    for event_no, member, name, _, at in _with_consent(events, withdrawn).iter_rows():
        program = program_at(programs, at)
        rule = None if program is None else program.events.get(name)
        if program is None or rule is None:
            continue
        if counted.counts(member, name, at.astimezone(ZoneInfo(program.timezone)).date(), rule):
            rows.append((event_no, member, at, rule.points))
    return pl.DataFrame(rows, schema=EVENT_DUE, orient="row")


def _with_consent(events: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """Those that happened with consent, in the order in which they count."""
    inside = (pl.col("happened_at") >= pl.col("withdrawn_from")) & (
        pl.col("withdrawn_until").is_null() | (pl.col("happened_at") < pl.col("withdrawn_until"))
    )
    without = events.join(withdrawn, on="member_id").filter(inside).select("event_no")
    return events.join(without, on="event_no", how="anti").sort("happened_at", "event_key")


class _Counted:
    """How many events of each member earned so far."""

    def __init__(self) -> None:
        self._in_all: Counter[tuple[int, str]] = Counter()
        self._in_day: Counter[tuple[int, str, date]] = Counter()
        self._in_year: Counter[tuple[int, str, int]] = Counter()

    def counts(self, member: int, name: str, day: date, rule: EventRule) -> bool:
        """Whether one more earns on that day; then it is counted."""
        in_all, in_day = (member, name), (member, name, day)
        in_year = (member, name, day.year)
        at_most = 1 if name == SIGN_UP else rule.at_most
        if at_most is not None and self._in_all[in_all] >= at_most:
            return False
        if rule.per_day is not None and self._in_day[in_day] >= rule.per_day:
            return False
        if name == BIRTHDAY and self._in_year[in_year]:
            return False
        self._in_all[in_all] += 1
        self._in_day[in_day] += 1
        self._in_year[in_year] += 1
        return True
