"""What other rules would mean for the stored sales.

It is computed for everybody concerned, and stored nowhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

import polars as pl

from loyalty.award import Evaluation, evaluate
from loyalty.inputs import CLAIMS, GRANTS
from loyalty.pending import with_pending
from loyalty.promotions.limits import allocate
from sql import expiry, member_events
from sql import member_history as facts
from sql.db import DbConnection
from sql.member_history import Rules

#: Members computed at a time.
MEMBERS_AT_ONCE = 5_000
#: Members of the largest changes that are named.
LARGEST = 10
_SALE = ("system", "account", "external_id", "member_id")


@dataclass(frozen=True)
class MemberChange:
    """Points due to one member for all sales, by the rules as they are and as they would be."""

    #: The member, by our number.
    member_id: int
    #: Points due by the rules as they are.
    before: int
    #: Points due by the rules as they would be.
    after: int

    @property
    def points(self) -> int:
        """What the member would gain or lose."""
        return self.after - self.before


@dataclass
class Trial:
    """What would change, points that expired until now included."""

    #: Members whose points were computed.
    looked_at: int = 0
    #: Sales that would be worth something else.
    sales: int = 0
    #: Points due to all of them by the rules as they are.
    before: int = 0
    #: What members would gain, in all.
    added: int = 0
    #: What members would lose, in all; not above 0.
    taken: int = 0
    #: Sales that would have no points under the new rules.
    uncomputed: int = 0
    #: How many points more would have expired (negative: fewer).
    expired: int = 0
    #: How many points more cannot be spent yet (negative: fewer); no balance changes by that.
    pending: int = 0
    #: Whose points change.
    members: list[int] = field(default_factory=list)
    #: The largest changes.
    largest: list[MemberChange] = field(default_factory=list)

    @property
    def points(self) -> int:
        """The change of all balances together."""
        return self.added + self.taken

    @property
    def moved(self) -> int:
        """Points given and taken, both counted as positive: the size of the change."""
        return self.added - self.taken

    @property
    def percent(self) -> float:
        """The size of the change as a share of all points due before, for showing."""
        return (
            100.0 * self.moved / self.before if self.before > 0 else (100.0 if self.moved else 0.0)
        )


def try_rules(connection: DbConnection, members: Sequence[int], old: Rules, new: Rules) -> Trial:
    """Points due to `members` by the old rules and the new.

    Both are computed from the same stored sales, so what waits for the award step does not count as
    a change of the rules. Where any rule has a budget, `members` must be everybody: who comes first
    is decided among all.
    """
    trial = Trial()
    now = expiry.now(connection)
    granted = {id(rules): _granted(connection, members, rules) for rules in (old, new)}
    for chunk in _chunks(members):
        before, after = (
            _evaluated(connection, chunk, rules, granted[id(rules)]).due for rules in (old, new)
        )
        events = [member_events.due_moves(connection, chunk, r.programs) for r in (old, new)]
        gone = [
            expiry.gone(connection, chunk, due, rules.programs, now, moves)
            for due, rules, moves in ((before, old, events[0]), (after, new, events[1]))
        ]
        _count(trial, _with_events(before, events[0]), _with_events(after, events[1]), *gone)
        trial.pending += _pending(after, new, now) - _pending(before, old, now)
        trial.looked_at += len(chunk)
    return trial


def _with_events(due: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """_SALE and `due` of sales and of events, which have the system "" and their number as id."""
    numbered = events.select(
        pl.lit("").alias("system"),
        pl.lit("").alias("account"),
        pl.col("event_no").cast(pl.String).alias("external_id"),
        "member_id",
        pl.col("points").alias("due"),
    )
    return pl.concat([due.select(*_SALE, "due"), numbered])


def _pending(due: pl.DataFrame, rules: Rules, now: datetime) -> int:
    """How many of the points due cannot be spent yet."""
    waits = pl.col("awaits_payment") | (pl.col("available_at") > now)
    return int(with_pending(due, rules.programs).filter(waits)["due"].sum())


def _evaluated(
    connection: DbConnection, members: list[int], rules: Rules, grants: pl.DataFrame | None
) -> Evaluation:
    stored = facts.read(connection, members, rules)
    inputs = replace(stored.facts, grants=grants)
    return evaluate(stored.history, stored.tiers, rules.programs, rules.promotions, inputs)


def _granted(connection: DbConnection, members: Sequence[int], rules: Rules) -> pl.DataFrame | None:
    """What the budgets leave, were these the rules: loyalty.inputs.GRANTS; None without budgets."""
    if not rules.budgets:
        return None
    claims = [
        _evaluated(connection, chunk, rules, GRANTS.to_frame()).claims for chunk in _chunks(members)
    ]
    all_claims = pl.concat([CLAIMS.to_frame(), *claims])
    divided = [
        allocate(
            all_claims.filter((pl.col("promotion_id") == name) & (pl.col("version") == version)),
            budget,
        )
        for (name, version), budget in rules.budgets.items()
    ]
    return pl.concat(divided).select(GRANTS.names()).cast(GRANTS)


def _chunks(members: Sequence[int]) -> Iterator[list[int]]:
    left = iter(members)
    while chunk := list(islice(left, MEMBERS_AT_ONCE)):
        yield chunk


def _count(
    trial: Trial,
    before: pl.DataFrame,
    after: pl.DataFrame,
    expired: pl.DataFrame,
    would_expire: pl.DataFrame,
) -> None:
    """Adds some members to the trial.

    `before` and `after` are their points due (_SALE and `due`) by both rules, `expired` and
    `would_expire` what expired of them by both (member_id, expired).
    """
    both = (
        before.select(*_SALE, pl.col("due").alias("before"))
        .join(
            after.select(*_SALE, pl.col("due").alias("after"), pl.lit(value=True).alias("known")),
            on=_SALE, how="full", coalesce=True,
        )
        .with_columns(
            pl.when(pl.col("known").is_null()).then(pl.lit(0)).otherwise("after").alias("after")
        )
    )  # fmt: skip
    # What cannot be computed keeps what was posted for it; here: what was due before.
    uncomputed = both["after"].is_null() & both["before"].is_not_null()
    trial.uncomputed += int(uncomputed.sum())
    sales = both.with_columns(pl.col("before").fill_null(0)).with_columns(
        pl.col("after").fill_null(pl.col("before"))
    )
    changed_sales = sales.filter(pl.col("after") != pl.col("before"))
    trial.sales += changed_sales.filter(pl.col("system") != "").height
    left = expired.join(
        would_expire, on="member_id", how="full", coalesce=True, suffix="_after"
    ).select("member_id", *(-pl.col(name).fill_null(0) for name in ("expired", "expired_after")))
    trial.expired -= int(left.select((pl.col("expired_after") - pl.col("expired")).sum()).item())
    moves = pl.concat(
        [
            sales.select("member_id", "before", "after"),
            left.rename({"expired": "before", "expired_after": "after"}),
        ]
    )
    # Members whose sales change, even if the changes sum to nothing, and whose expiries change.
    other = left.filter(pl.col("expired") != pl.col("expired_after"))
    trial.members += sorted({*changed_sales["member_id"], *other["member_id"]})
    _count_members(trial, moves)


def _count_members(trial: Trial, moves: pl.DataFrame) -> None:
    """Adds what members gain and lose; `moves` are parts of their balances: before, after."""
    change = pl.col("after") - pl.col("before")
    per_member = moves.group_by("member_id").agg(pl.col("before").sum(), pl.col("after").sum())
    trial.before += int(per_member["before"].sum())
    changed = per_member.filter(change != 0)
    gained = changed.select(change).to_series()
    trial.added += int(gained.filter(gained > 0).sum())
    trial.taken += int(gained.filter(gained < 0).sum())
    top = changed.sort(change.abs(), "member_id", descending=[True, False]).head(LARGEST)
    trial.largest = sorted(
        [
            *trial.largest,
            *(MemberChange(*row) for row in top.select("member_id", "before", "after").rows()),
        ],
        key=lambda member: (-abs(member.points), member.member_id),
    )[:LARGEST]
