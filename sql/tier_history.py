"""The history of evaluated tiers in and out. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from loyalty.program import Program, program_at
from loyalty.tier_history import POSTED, difference, steps
from sql.copying import copy_in
from sql.db import DbConnection, read_frame
from sql.member_history import Stored
from sql.named_queries import query


@dataclass(frozen=True)
class Posted:
    """What one run added: steps that are new or differ from the stored ones."""

    #: Entries that were added.
    steps: int
    #: How many members they are of.
    members: int


def post(
    connection: DbConnection,
    members: Sequence[int],
    stored: Stored,
    programs: Sequence[Program],
    as_of: datetime,
    run_id: str,
) -> int:
    """Appends the steps in the members' tiers that are not stored yet.

    Takes back stored steps that are computed no longer. Returns how many entries.
    """
    if not any(p.tier_policy for p in programs):
        return 0
    computed = steps(stored.history, stored.tiers, programs, stored.facts, as_of)
    posted = read_frame(
        connection, query("tier_history", "posted"), {"members": list(members)}, POSTED
    )
    entries = difference(computed, posted)
    if not entries.is_empty():
        copy_in(connection, "loyalty.tier_entry", entries.with_columns(run_id=pl.lit(run_id)))
    return entries.height


def in_force(
    members: Sequence[int], stored: Stored, programs: Sequence[Program], as_of: datetime
) -> dict[int, str]:
    """The members' tiers at `as_of` as computed; none where no version evaluates tiers."""
    program = program_at(programs, as_of)
    if program is None or not any(p.tier_policy for p in programs):
        return {}
    computed = steps(stored.history, stored.tiers, programs, stored.facts, as_of)
    last = computed.sort("member_id", "valid_from").group_by("member_id").agg(pl.last("tier"))
    return dict.fromkeys(members, program.entry_tier) | dict(last.iter_rows())


def may_change(connection: DbConnection, *, everyone: bool) -> list[int]:
    """Members whose tier may change by the passing of time alone.

    They have a tier that was reached, or credits that leave the window; `everyone`: all who bought.
    """
    return [
        row[0]
        for row in connection.execute(
            query("tier_history", "may_change"), {"everyone": everyone}
        ).fetchall()
    ]


def totals(connection: DbConnection, run_id: str) -> Posted:
    """What this run posted."""
    row = connection.execute(query("tier_history", "totals"), {"run_id": run_id}).fetchone()
    assert row is not None
    return Posted(*row)
