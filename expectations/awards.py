"""What must hold for a computed award before it is posted to the ledger."""

from typing import Final

import polars as pl

from expectations.checks import Suite, between, equal, none_of, not_null, unique

#: More points than any entry can mean: a larger number is a defect.
POINTS_MAX: Final = 10**12
#: What names an entry.
KEY: Final = ("system", "account", "external_id", "member_id", "entry_no")
#: Columns without nulls.
REQUIRED: Final = (
    *KEY,
    "due_before",
    "due_after",
    "points",
    "breakdown",
    "program_version",
    "event_at",
)
#: Far above any balance and far below where an Int64 subtraction could wrap round.
DUE_MAX: Final = 10**15


def awards() -> Suite:
    """The suite for award frames.

    It checks the key, the arithmetic of an entry, and that there is an explanation.
    """
    checks = (
        *(not_null(column) for column in REQUIRED),
        between("entry_no", 1, None, "entry_no is at least 1"),
        between("program_version", 1, None, "program_version is at least 1"),
        between("due_before", -DUE_MAX, DUE_MAX, "due_before is within 10^15 of 0"),
        between("due_after", -DUE_MAX, DUE_MAX, "due_after is within 10^15 of 0"),
        between("points", -POINTS_MAX, POINTS_MAX, "points is within 10^12 of 0"),
        equal(
            "points",
            "due_change",
            shown="points",
            words="points is due_after - due_before",
            reason="bad_arithmetic",
        ),
        none_of("points", (0,), "points is not 0"),
        unique(KEY, shown="entry_no"),
    )
    return Suite("awards", checks, _PREPARE)


_PREPARE: Final = (
    pl.col(*REQUIRED).exclude("breakdown", "event_at"),
    # Presence is all that is asked of these two, and converting the text costs more than checking
    # the rest.
    *(
        pl.when(pl.col(column).is_not_null()).then(pl.lit(1, pl.Int8)).alias(column)
        for column in ("breakdown", "event_at")
    ),
    (pl.col("due_after") - pl.col("due_before")).alias("due_change"),
)
