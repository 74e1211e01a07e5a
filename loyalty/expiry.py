"""Points that expire, first in first out: a closed form over what was earned and what was taken.

What a member earned (a sale's points, an adjustment upward) expires at an instant fixed by its own
date. What takes points (returns, adjustments downward, spending) is set against the points that
expire first. So, with K(e) the points whose expiry is not after e, and D(e) what was taken before
e:

    expired until e = the largest K(e') - D(e') of all expiries e' up to e, and at least 0

which depends on the stored history only. A sale that is corrected later corrects what expired of
it.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.calendar import TRUNCATE, instant, local, months_later
from loyalty.pending import with_pending
from loyalty.policies import Expiry
from loyalty.program import Program
from loyalty.schema import UTC_US
from loyalty.types import spans

#: Later than any expiry.
FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
#: What moves a balance: points of a sale (as due now), of an adjustment or a redemption, from `at`
#: on. A redemption that was given back is none.
MOVES: Final = pl.Schema(
    {
        "member_id": pl.Int64(),
        #: The sale's own instant, that of the adjustment, or when the points were spent or held.
        "at": UTC_US,
        #: Negative: taken.
        "points": pl.Int64(),
    }
)
#: Points that expired, per member and instant.
EXPIRED: Final = pl.Schema(
    {
        "member_id": pl.Int64(),
        #: When they expired.
        "expires_at": UTC_US,
        #: How many; positive.
        "due": pl.Int64(),
    }
)
#: The last entry of each chain of the ledger of expiries.
POSTED: Final = pl.Schema(
    {
        "member_id": pl.Int64(),
        #: With the member the key of a chain.
        "expires_at": UTC_US,
        #: How many entries the chain has.
        "entry_no": pl.Int32(),
        #: Points that have expired by all of them.
        "due_after": pl.Int64(),
    }
)
#: What `difference` gives: entries of the ledger of expiries.
EXPIRY_ENTRY: Final = pl.Schema(
    {
        "member_id": pl.Int64(),
        #: When the points expired; with the member it is the key of a chain of entries.
        "expires_at": UTC_US,
        #: Counts the entries of a chain from 1.
        "entry_no": pl.Int32(),
        #: Points that had expired by the entries before.
        "due_before": pl.Int64(),
        #: Points that have expired with this entry.
        "due_after": pl.Int64(),
        #: What the entry moves the balance by; negative: points expired.
        "points": pl.Int64(),
    }
)


def sale_moves(due: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """MOVES of sales, from their points due (DUE).

    Without what waits for the payment: such points do not expire, and nothing that is spent is
    set against them. Once the sale is paid, it is as if they had never waited.
    """
    moves = due.filter(pl.col("due").is_not_null())
    if any(p.pending is not None and p.pending.until_paid for p in programs):
        moves = with_pending(moves, programs).filter(~pl.col("awaits_payment"))
    return moves.select("member_id", pl.col("issued_at").alias("at"), pl.col("due").alias("points"))


def expired(moves: pl.DataFrame, programs: Sequence[Program], as_of: datetime) -> pl.DataFrame:
    """EXPIRED of all instants up to `as_of`; instants at which nothing expires are left out."""
    earned = _with_expiry(moves.filter(pl.col("points") > 0), programs).filter(
        pl.col("expires_at") <= as_of
    )
    taken = (
        moves.filter(pl.col("points") < 0)
        .sort("at")
        .select("member_id", "at", (-pl.col("points").cum_sum().over("member_id")).alias("taken"))
    )
    due = (
        earned.group_by("member_id", "expires_at")
        .agg(pl.col("points").sum())
        .sort("expires_at")
        .with_columns(pl.col("points").cum_sum().over("member_id").alias("expiring"))
        .join_asof(
            taken, left_on="expires_at", right_on="at", by="member_id", strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(
            (pl.col("expiring") - pl.col("taken").fill_null(0))
            .clip(lower_bound=0).cum_max().over("member_id").alias("sum")
        )
        .with_columns(
            (pl.col("sum") - pl.col("sum").shift(1).over("member_id").fill_null(0)).alias("due")
        )
    )  # fmt: skip
    return due.filter(pl.col("due") > 0).select(EXPIRED.names()).cast(EXPIRED)


def expiring_next(
    moves: pl.DataFrame, programs: Sequence[Program], as_of: datetime
) -> tuple[datetime, int] | None:
    """When points expire next after `as_of`, and how many, if nothing moves until then.

    `moves` are of one member. None: none expire.
    """
    upcoming = expired(moves, programs, FOREVER).filter(pl.col("expires_at") > as_of)
    if upcoming.is_empty():
        return None
    at, points = upcoming.sort("expires_at").select("expires_at", "due").row(0)
    return at, points


def notice(programs: Sequence[Program]) -> timedelta:
    """How long before an expiry the app is told; zero: not at all."""
    latest = max((p for p in programs if p.expiry), key=lambda p: p.version, default=None)
    days = latest.expiry.notice_days if latest is not None and latest.expiry else 0
    return timedelta(days=days)


def expiring(
    moves: pl.DataFrame, programs: Sequence[Program], now: datetime, until: datetime
) -> pl.DataFrame:
    """EXPIRED of the instants after `now` up to `until`, if nothing more is earned or taken."""
    return expired(moves, programs, until).filter(pl.col("expires_at") > now)


def _with_expiry(earned: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """Adds `expires_at` by the version in force when the points were earned; null: never."""
    at = pl.col("at")
    instants = [
        pl.when(pl.all_horizontal(at >= start, *([] if end is None else [at < end]))).then(
            _end(at, program.expiry, program.timezone)
        )
        for program, start, end in spans(programs)
        if program.expiry
    ]
    never = pl.lit(None, UTC_US)
    return earned.with_columns(pl.coalesce(*instants, never).alias("expires_at"))


def _end(at: pl.Expr, expiry: Expiry, zone: str) -> pl.Expr:
    day = local(at, zone).dt.truncate("1d").dt.offset_by(f"{expiry.months}mo")
    size = TRUNCATE[expiry.end_of]
    return instant(day.dt.truncate(size).dt.offset_by(size), zone)


def difference(due: pl.DataFrame, posted: pl.DataFrame) -> pl.DataFrame:
    """The entries that make posted equal due (EXPIRY_ENTRY)."""
    both = due.join(posted, on=["member_id", "expires_at"], how="full", coalesce=True)
    before, after = pl.col("due_after").fill_null(0), pl.col("due").fill_null(0)
    return (
        both.select(
            "member_id", "expires_at",
            (pl.col("entry_no").fill_null(0) + 1).cast(pl.Int32).alias("entry_no"),
            before.alias("due_before"), after.alias("due_after"), (before - after).alias("points"),
        )
        .filter(pl.col("points") != 0)
        .sort("member_id", "expires_at")
    )  # fmt: skip


def earned_before(programs: Sequence[Program], as_of: datetime) -> datetime | None:
    """The first instant whose points have not expired at `as_of` under any version.

    None: no version lets points expire.
    """
    instants = [_earned_before(p.expiry, p.timezone, as_of) for p in programs if p.expiry]
    return max(instants) if instants else None


def _earned_before(expiry: Expiry, zone: str, as_of: datetime) -> datetime:
    today = as_of.astimezone(ZoneInfo(zone)).date()
    low, high = (
        max(date.min.toordinal(), today.toordinal() - 31 * (expiry.months + 13)),
        today.toordinal(),
    )
    while low < high:  # the first day whose points have not expired yet
        middle = (low + high) // 2
        if _end_of(date.fromordinal(middle), expiry) <= today:
            low = middle + 1
        else:
            high = middle
    # A day's slack: clocks of other zones.
    return datetime.combine(date.fromordinal(low), time(), UTC) + timedelta(days=1)


def _end_of(day: date, expiry: Expiry) -> date:
    later = months_later(day, expiry.months)
    if expiry.end_of == "year":
        return date(later.year + 1, 1, 1)
    return (
        months_later(later.replace(day=1), 1)
        if expiry.end_of == "month"
        else later + timedelta(days=1)
    )
