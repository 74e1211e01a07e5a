"""Points that cannot be spent yet: from when on those of a sale can be, by the rules.

The same as the view `loyalty.pending_sale` tells of points that are posted.
"""

from collections.abc import Sequence

import polars as pl

from loyalty.calendar import instant, local
from loyalty.days import in_its_day
from loyalty.policies import Pending
from loyalty.program import Program
from loyalty.schema import UTC_US


def with_pending(due: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """HISTORY plus DUE, and what the points of each sale wait for.

    `available_at`: when the days are over, null where there are none; `awaits_payment`: whether
    they wait until the sale is paid. What takes points never waits.
    """
    gives = pl.col("due") > 0
    days, unpaid = [], []
    for program in programs:
        if program.pending is None:
            continue
        concerns = gives & (pl.col("program_version") == program.version)
        if program.pending.days is not None:
            days.append(pl.when(concerns).then(_available_at(program.pending, program.timezone)))
        if program.pending.until_paid:
            unpaid.append(concerns & (pl.col("status") != "paid"))
    return due.with_columns(
        pl.coalesce(*days, pl.lit(None, UTC_US)).alias("available_at"),
        pl.any_horizontal(pl.lit(value=False), *unpaid).fill_null(value=False)
        .alias("awaits_payment"),
    )  # fmt: skip


def _available_at(rule: Pending, zone: str) -> pl.Expr:
    day = local(in_its_day(), zone).dt.truncate("1d")
    return instant(day.dt.offset_by(f"{1 + (rule.days or 0)}d"), zone)
