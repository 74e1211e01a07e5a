"""When members rose and fell: the tier in force as steps in time, for looking at.

Awards do not need it: they know their own instant.

A tier can only change where something happens: just after a sale, when a credit leaves the window,
when a review takes place, when the app sets one, when another version of the program begins. The
tier is asked for at each such instant, by the same rules as for a sale, and what differs from the
instant before is a step. So the steps are a function of what is stored.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from loyalty.calendar import TRUNCATE, instant, local
from loyalty.days import with_order
from loyalty.earning import earned
from loyalty.inputs import HISTORY, Facts
from loyalty.program import Program
from loyalty.schema import UTC_US
from loyalty.types import BEGINNING, spans

#: A member has `tier` from `valid_from` until the next step; before the first, the entry tier.
STEPS: Final = pl.Schema(
    {
        "member_id": pl.Int64(),
        #: The instant of the step.
        "valid_from": UTC_US,
        #: The tier from then on.
        "tier": pl.String(),
    }
)
#: Entries of the history of tiers. A null tier: there is no step at that instant any more.
POSTED: Final = pl.Schema(
    {
        **STEPS,
        #: Counts the entries of one member and instant from 1.
        "entry_no": pl.Int32(),
    }
)
#: A sale does not lift its own tier, but whatever comes after it.
_AFTER: Final = pl.duration(microseconds=1)


def steps(
    history: pl.DataFrame,
    tiers: pl.DataFrame,
    programs: Sequence[Program],
    facts: Facts,
    as_of: datetime,
) -> pl.DataFrame:
    """STEPS up to `as_of` of the members in `history`, and of those in `tiers`.

    There are none where no version evaluates tiers.
    """
    if not any(p.tier_policy for p in programs):
        return STEPS.to_frame()
    wanted = (
        pl.lit(value=True)
        if facts.members is None
        else pl.col("member_id").is_in(facts.members.implode())
    )
    history, tiers = history.filter(wanted), tiers.filter(wanted)
    asked = _asked(history, tiers, programs, as_of)
    if asked.is_empty():
        return STEPS.to_frame()
    frame = pl.concat([history, _probes(asked)]).with_row_index("_row")
    probed = earned(frame, tiers, programs, facts).frame.filter(pl.col("record_no") == -1)
    probed = probed.sort("member_id", "issued_at")
    before = pl.col("tier").shift(1).over("member_id").fill_null(pl.col("entry_tier"))
    changed = probed.filter(pl.col("tier") != before)
    return changed.select("member_id", pl.col("issued_at").alias("valid_from"), "tier").cast(STEPS)


def difference(due: pl.DataFrame, posted: pl.DataFrame) -> pl.DataFrame:
    """The entries that make posted equal due (POSTED).

    Args:
        due: STEPS, for some members (all their steps).
        posted: The last entry of every chain of the same members.
    """
    both = due.join(
        posted, on=["member_id", "valid_from"], how="full", coalesce=True, suffix="_posted"
    )
    return (
        both.filter(pl.col("tier").ne_missing(pl.col("tier_posted")))
        .select(
            "member_id",
            "valid_from",
            (pl.col("entry_no").fill_null(0) + 1).cast(pl.Int32).alias("entry_no"),
            "tier",
        )
        .sort("member_id", "valid_from")
    )


def _probes(asked: pl.DataFrame) -> pl.DataFrame:
    """The instants as documents that are worth nothing."""
    values = {
        "system": pl.lit(""), "account": pl.lit(""), "external_id": pl.lit(""),
        "kind": pl.lit("invoice"), "status": pl.lit("void"),
        "currency": pl.lit(""), "total_minor": pl.lit(0), "record_no": pl.lit(-1),
        "member_id": pl.col("member_id"),
        "issued_at": pl.col("at"),
    }  # fmt: skip
    columns = [
        values.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in HISTORY.items()
    ]
    return asked.select(columns)


def _asked(
    history: pl.DataFrame, tiers: pl.DataFrame, programs: Sequence[Program], as_of: datetime
) -> pl.DataFrame:
    """Every instant, not after `as_of`, at which a member's tier may change: member_id, at."""
    sold = with_order(history).select("member_id", pl.col("ordered_at").alias("issued_at"))
    first = pl.concat([sold, tiers.select("member_id", pl.col("valid_from").alias("issued_at"))])
    first = first.group_by("member_id").agg(pl.col("issued_at").min().alias("first"))
    instants = [
        sold.select("member_id", (pl.col("issued_at") + _AFTER).alias("at")),
        tiers.select("member_id", pl.col("valid_from").alias("at")),
    ]
    begins = [start for _, start, _ in spans(programs) if start > BEGINNING]
    if begins:
        instants.append(
            first.join(pl.DataFrame({"at": begins}, schema={"at": UTC_US}), how="cross")
            .filter(pl.col("at") >= pl.col("first"))
            .select("member_id", "at")
        )
    for program, start, end in spans(programs):
        policy = program.tier_policy
        if policy is None:
            continue
        window = pl.duration(days=policy.window_days)
        returned = with_order(history).filter(pl.col("kind").is_in(["credit_note", "refund"]))
        instants.append(
            returned.select("member_id", (pl.col("ordered_at") + window + _AFTER).alias("at"))
        )
        grace, size = timedelta(days=policy.grace_days), TRUNCATE[policy.period]
        until = as_of if end is None else min(as_of, end)
        begin = (
            pl.max_horizontal(
                pl.col("first"), pl.lit(max(start, datetime(1900, 1, 1, tzinfo=UTC)), UTC_US)
            )
            - grace
        )
        reviews = first.with_columns(
            local(begin, program.timezone).dt.truncate(size).alias("low"),
            local(pl.lit(until, UTC_US), program.timezone).dt.truncate(size).alias("high"),
        ).filter(pl.col("low") <= pl.col("high"))
        clock = reviews.select(
            "member_id", pl.datetime_ranges("low", "high", size).alias("at")
        ).explode("at")
        instants.append(
            clock.select("member_id", (instant(pl.col("at"), program.timezone) + grace).alias("at"))
        )
    asked = pl.concat([part.cast({"at": UTC_US}) for part in instants])
    return asked.filter(pl.col("at") <= as_of).unique().sort("member_id", "at")
