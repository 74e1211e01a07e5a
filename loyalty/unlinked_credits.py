"""Credit documents that name no invoice, set against the customer's latest earlier sales.

A credit memo at its own date takes points by the tier and promotions of that date, which may be
more than the sale gave. Where the program says `latest_sales`, it lowers sales instead: those of
the same member, account and currency not after it, the latest first, as far as they are worth
something. What finds no sale counts at its own date, as without this option.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from loyalty.inputs import SALE
from loyalty.program import Program
from loyalty.schema import NEGATIVE_KINDS

_WHOSE = ("member_id", "system", "account", "currency")


def against_latest(frame: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """How much of each document is counted by another: `_row`, matched_minor.

    A credit is counted at a sale; a sale is lowered by a credit.

    `frame`: HISTORY with `_row`, program_version and `left_minor`: what of the document counts,
        with tax, without sign.
    """
    asking = [p.version for p in programs if p.unlinked_credits == "latest_sales"]
    nothing = pl.DataFrame(schema={"_row": pl.UInt32, "matched_minor": pl.Int64})
    worth = frame.filter(pl.col("left_minor") > 0).with_columns(
        pl.col("kind").is_in(NEGATIVE_KINDS).alias("takes")
    )
    taking = worth.filter(pl.col("takes") & pl.col("program_version").is_in(asking))
    if taking.is_empty():
        return nothing
    sales = worth.filter(~pl.col("takes")).join(
        taking.select(_WHOSE).unique(), on=_WHOSE, how="semi"
    )
    both = pl.concat([sales, taking]).sort(*_WHOSE, "issued_at", "takes", *SALE)
    matches: list[tuple[int, int]] = []
    for part in both.select(*_WHOSE, "_row", "left_minor", "takes").partition_by(
        _WHOSE, include_key=False
    ):
        matches += _matched(part.iter_rows())
    matched = pl.DataFrame(
        matches, schema={"_row": pl.UInt32, "matched_minor": pl.Int64}, orient="row"
    )
    return matched.group_by("_row").agg(pl.col("matched_minor").sum())


def _matched(documents: Iterable[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """(row, amount) of each match.

    `documents` are (row, amount, takes) of one customer in order of time, sales first.
    """
    open_sales: list[list[int]] = []
    matches: list[tuple[int, int]] = []
    for row, amount, takes in documents:
        if not takes:
            open_sales.append([row, amount])
            continue
        wanted = amount
        while wanted and open_sales:
            sale = open_sales[-1]
            part = min(wanted, sale[1])
            matches.append((sale[0], part))
            wanted, sale[1] = wanted - part, sale[1] - part
            if not sale[1]:
                open_sales.pop()
        if amount > wanted:
            matches.append((row, amount - wanted))
    return matches
