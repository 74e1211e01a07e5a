"""Points posted, counted by the account of the sales.

In: entries that the award step appends. Out: how many entries and points an account's sales were
given, whichever run posted them. A member buys in several systems, so the run of one connection
also posts points for sales of others; each posting is reported once, by a run of its own account.
"""

from dataclasses import dataclass

import polars as pl

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey


@dataclass(frozen=True)
class Posted:
    """What was posted for an account's sales and no run had reported."""

    #: Entries appended to the ledger.
    entries: int = 0
    #: Their sum.
    points: int = 0
    #: Of these, entries that runs of other connections posted.
    entries_by_others: int = 0
    #: The sum of those.
    points_by_others: int = 0


def add(connection: DbConnection, entries: pl.DataFrame, run_id: str) -> None:
    """Counts entries that are appended in this transaction, by the account of their sales."""
    if entries.is_empty():
        return
    totals = entries.group_by("system", "account").agg(
        pl.len().alias("entries"), pl.col("points").sum()
    )
    parameters = {
        "run_id": run_id,
        "systems": totals["system"].to_list(),
        "accounts": totals["account"].to_list(),
        "entries": totals["entries"].to_list(),
        "points": totals["points"].to_list(),
    }
    connection.execute(query("postings", "add"), parameters)


def report(
    connection: DbConnection, account: AccountKey, run_id: str, *, others: bool = True
) -> Posted:
    """What was posted for the account's sales since it was reported last; reports it.

    `others` False: only what this run posted. The caller commits.
    """
    parameters = account.parameters(run_id=run_id, others=others)
    row = connection.execute(query("postings", "report_account"), parameters).fetchone()
    return Posted(*row) if row is not None else Posted()


def report_run(connection: DbConnection, run_id: str) -> None:
    """Reports all that a run posted that belongs to no connection; the caller commits."""
    connection.execute(query("postings", "report_run"), {"run_id": run_id})
