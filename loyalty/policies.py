"""Options of the program: how tiers are evaluated, when points wait and expire, limits, events."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from loyalty.types import Currency, Frozen, Period, TierName

#: Days of the shortest calendar period of each kind: the grace must end before the next period
#: does.
SHORTEST_DAYS = {"month": 28, "quarter": 90, "half_year": 181, "year": 365}

#: Points of a limit.
Limit = Annotated[int, Field(ge=1, le=10**15)]


class PeriodLimit(Frozen):
    """At most `points` per member in each calendar `period`.

    The period is in the promotion's time zone, or else in the program's.
    """

    points: Limit
    period: Period


class MemberLimits(Frozen):
    """Most points for one member; what goes beyond is cut.

    Applied in this order, earliest sales first.
    """

    #: For one sale.
    per_sale: Limit | None = None
    #: For one member in one calendar period.
    per_period: PeriodLimit | None = None
    #: For one member in all.
    per_member: Limit | None = None


class TierPolicy(Frozen):
    """Tiers evaluated from what a member bought in a rolling window; see docs/points-rules.md.

    A tier is reached at once, for the sales after the one that reached it. It is kept until a
    calendar period ends and, if the window no longer reaches it then, for the grace after that;
    then the member falls to the highest tier reached from the period's end on. A tier that the
    loyalty app has set is a floor: the higher of both is in force.

    `metric`: `points` are base points (amount x base rate; tiers and promotions do not feed
        themselves), `spend` is the net amount in `currency`; sales in other currencies do not count
        towards it.
    `window_days`: a sale counts for this long after its instant.
    `thresholds`: per tier what reaches it: points, or minor units of `currency`.
    `period`, `grace_days`: downgrades happen `grace_days` after a calendar period of the program's
        time zone ends.
    """

    metric: Literal["points", "spend"] = "points"
    currency: Currency | None = None
    window_days: Annotated[int, Field(ge=1, le=3660)] = 365
    thresholds: Annotated[
        dict[TierName, Annotated[int, Field(ge=1, le=10**15)]], Field(min_length=1, max_length=20)
    ]
    period: Literal["month", "quarter", "half_year", "year"] = "year"
    grace_days: Annotated[int, Field(ge=0, le=364)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> "TierPolicy":
        if (self.metric == "spend") != (self.currency is not None):
            message = "`currency` is needed for the metric spend, and means nothing for points"
            raise ValueError(message)
        ordered = sorted(self.thresholds.values())
        if any(a == b for a, b in pairwise(ordered)):
            message = "two tiers have the same threshold"
            raise ValueError(message)
        if self.grace_days >= SHORTEST_DAYS[self.period]:
            message = (
                f"grace_days {self.grace_days} must be shorter than the period ({self.period})"
            )
            raise ValueError(message)
        return self

    def ranked(self, entry_tier: str) -> list[str]:
        """Tiers from the lowest to the highest: the entry tier, then by threshold."""
        return [entry_tier, *sorted(self.thresholds, key=lambda tier: self.thresholds[tier])]


class Pending(Frozen):
    """Points of a sale are in the balance at once, and cannot be spent before this is over.

    What takes points back never waits.
    """

    #: So many days after the day of the sale, in the program's time zone; None: no days.
    days: Annotated[int, Field(ge=1, le=366)] | None = None
    #: Until the billing system says that the sale is paid.
    until_paid: bool = False

    @model_validator(mode="after")
    def _something(self) -> "Pending":
        if self.days is None and not self.until_paid:
            message = "pending points need `days`, `until_paid = true`, or both"
            raise ValueError(message)
        return self


class EventRule(Frozen):
    """What an event of a member is worth, and how many of them count.

    Which ones count follows from when they happened, the earliest first. A registration counts
    once, and a birthday once in a calendar year, whatever stands here.
    """

    #: For one event.
    points: Annotated[int, Field(ge=1, le=10**12)]
    #: So many of a member in one day of the program's time zone; None: any number.
    per_day: Annotated[int, Field(ge=1, le=1_000)] | None = None
    #: So many of a member in all; 1: once; None: any number.
    at_most: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Expiry(Frozen):
    """Points of a sale expire `months` after it, at the end of that day, month or year.

    Days are those of the program's time zone.

    First in, first out: what takes points back or spends them is set against the points that expire
    first.
    """

    #: Whole months that the points live.
    months: Annotated[int, Field(ge=0, le=240)]
    #: They live on to the end of this calendar period.
    end_of: Literal["day", "month", "year"] = "day"
    #: The loyalty app is told so many days before (`points.expiring`); 0: it is not told. The
    #: version that was entered last says it for all points.
    notice_days: Annotated[int, Field(ge=0, le=366)] = 30
