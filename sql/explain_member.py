"""A member's balance: what it is made of, by cause and by rule, and every movement."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sql import balance
from sql.balance import ExpiringPoints
from sql.db import connect
from sql.named_queries import query

#: Movements that are told, newest first.
MOVEMENTS = 50


@dataclass(frozen=True)
class Movement:
    """One thing that moved the balance, and the balance after it."""

    #: When we posted it.
    posted_at: datetime
    #: When the sale happened.
    event_at: datetime
    kind: str
    #: What it adds to the balance; negative: takes.
    points: int
    #: The balance after it.
    balance_points: int
    #: Why, in one line.
    reason: str | None
    system: str | None
    #: Number or id of the sale, where there is one.
    document: str | None
    #: Position in the chain of the sale and member, from 1.
    entry_no: int | None
    #: Prefect flow run, or the command.
    run_id: str

    def to_text(self, zone: ZoneInfo) -> str:
        """One line, time in `zone`."""
        what = f"{self.system} {self.document}" if self.system else (self.reason or "")
        if self.kind.startswith(("adjustment", "opening balance", "redemption")):
            what = f"number {self.document}: {self.reason}"
        when = f"{self.posted_at.astimezone(zone):%Y-%m-%d %H:%M}"
        return f"  {when}  {self.points:+d} = {self.balance_points}  {self.kind}  {what}".rstrip()


@dataclass(frozen=True)
class Cause:
    """All movements of one kind; of events, those of one name."""

    #: What moved the balance, e.g. sale, adjustment, expiry.
    kind: str
    #: Of points of an event, its name; else None.
    event: str | None
    #: How many movements.
    movements: int
    #: What it adds to the balance; negative: takes.
    points: int

    def to_text(self) -> str:
        """One line."""
        name = self.kind if self.event is None else f"{self.kind}: {self.event}"
        return f"  {self.points:+d}  {name} ({self.movements})"


@dataclass(frozen=True)
class Rule:
    """Points due for all sales by one rule."""

    #: base, tier, or a promotion and its version (`rain@2`).
    rule: str
    #: What the sales earn by it now.
    points: int


@dataclass(frozen=True)
class MemberExplanation:
    """A member. `causes` sum to the balance; `rules` are those of the sales alone."""

    #: Number of the member.
    member_id: int
    #: Who earns for the member; None: the member.
    merged_into: int | None
    created_at: datetime
    #: Sum of all entries and adjustments.
    balance_points: int
    movements: int
    tier: str
    #: From when the tier is valid; None: from the beginning.
    tier_since: datetime | None
    #: Whether a change waits for the award step.
    waiting: bool
    #: Members who were merged into this one.
    holds: tuple[int, ...]
    #: Points spent, less those given back.
    spent_points: int = 0
    #: Points reserved by holds.
    held_points: int = 0
    #: Points in the balance that cannot be spent yet.
    pending_points: int = 0
    #: Points that can be spent.
    available_points: int = 0
    #: What expires next; None: nothing does.
    expiring_next: ExpiringPoints | None = None
    #: Why the balance is negative; None: it is not.
    below_zero: str | None = None
    #: What moved the balance, by kind.
    causes: tuple[Cause, ...] = ()
    #: By which rules the sales earn now.
    rules: tuple[Rule, ...] = ()
    #: The latest movements, newest first.
    latest: tuple[Movement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def to_text(self, zone: ZoneInfo) -> str:
        """For a terminal, times in `zone`."""
        since = (
            "" if self.tier_since is None else f" since {self.tier_since.astimezone(zone):%Y-%m-%d}"
        )
        lines = [f"member {self.member_id}: {self.balance_points} points; {self.tier}{since}"]
        if self.merged_into is not None:
            lines.append(f"  merged into member {self.merged_into}, who earns for both")
        if self.holds:
            lines.append(f"  earns for {', '.join(map(str, self.holds))} as well (merged)")
        if self.waiting:
            lines.append("  something changed: the next award step computes the points anew")
        lines += self._spendable(zone)
        lines += [cause.to_text() for cause in self.causes]
        lines.append(f"  {self.balance_points}  in all")
        if self.rules:
            lines.append(
                "  sales, by rule: "
                + ", ".join(f"{line.rule} {line.points}" for line in self.rules)
            )
        if self.latest:
            more = (
                ""
                if self.movements <= len(self.latest)
                else f", the latest {len(self.latest)} of {self.movements}"
            )
            lines.append(f"movements{more}:")
        return "\n".join([*lines, *(line.to_text(zone) for line in self.latest)])

    def _spendable(self, zone: ZoneInfo) -> list[str]:
        """Where it is not simply the balance: what can be spent, what expires, why below zero."""
        lines = []
        if self.held_points or self.available_points != self.balance_points:
            pending = f", {self.pending_points} are pending" if self.pending_points else ""
            lines.append(
                f"  {self.available_points} can be spent, {self.held_points} are on hold{pending}"
            )
        if self.expiring_next is not None:
            at = self.expiring_next.expires_at.astimezone(zone)
            lines.append(f"  {self.expiring_next.points} expire on {at:%Y-%m-%d %H:%M} next")
        if self.below_zero is not None:
            lines.append(f"  below zero: {self.below_zero}")
        return lines


def explain_member(dsn: str, member_id: int, *, limit: int = MOVEMENTS) -> MemberExplanation | None:
    """The member of that number, None if there is none."""
    which = {"member_id": member_id, "limit": limit}
    with connect(dsn) as connection:
        row = connection.execute(query("report", "member"), which).fetchone()
        if row is None:
            return None
        causes = connection.execute(query("report", "member_kinds"), which).fetchall()
        rules = connection.execute(query("report", "member_rules"), which).fetchall()
        latest = connection.execute(query("report", "member_history"), which).fetchall()
        has = balance.read(connection, member_id)
    assert has is not None
    number, into, created, points, movements, tier, since, waiting, holds = row
    return MemberExplanation(
        number, into, created, points, movements, tier, since, waiting, tuple(holds),
        has.spent_points, has.held_points, has.pending_points, has.available_points,
        has.expiring_next, has.below_zero, tuple(Cause(*row) for row in causes),
        tuple(Rule(*row) for row in rules),
        tuple(Movement(*row) for row in latest),
    )  # fmt: skip
