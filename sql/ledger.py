"""The award step's side of the database: claim dirty members, read their history, append entries, clear the claim.

One chunk is one transaction; the caller commits. The claim is a row lock, so it vanishes with its holder, and the members
stay dirty until their entries are in.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from loyalty.award import HISTORY, TIERS
from loyalty.program import BEGINNING, Program
from loyalty.promotions import Promotion
from loyalty.schema import UTC_US
from sql.corrections import owners
from sql.db import Connection, copy_in, read_frame
from sql.named import query

#: The last entry of each chain: how much is posted for a sale and member.
POSTED: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        "entry_no": pl.Int32(),
        "due_after": pl.Int64(),
        "currency": pl.String(),
        "tier": pl.String(),
        "program_version": pl.Int32(),
        "event_at": UTC_US,
    }
)
#: A new entry; `posted_at` is the database's.
ENTRY: Final = (
    "system", "account", "external_id", "member_id", "entry_no", "due_before", "due_after", "points", "reason", "breakdown",
    "net_minor", "currency", "tier", "program_version", "event_at", "run_id",
)  # fmt: skip


def claim(connection: Connection, limit: int) -> list[int]:
    """Up to `limit` dirty members that nobody else is working on, locked until the transaction ends."""
    return [row[0] for row in connection.execute(query("ledger", "claim"), {"limit": limit}).fetchall()]


def dirty_members(connection: Connection) -> int:
    """How many members are waiting for their points."""
    row = connection.execute(query("ledger", "count_dirty")).fetchone()
    return int(row[0]) if row else 0


def history(connection: Connection, members: Sequence[int]) -> pl.DataFrame:
    """All stored invoices that the members earn for: loyalty.award.HISTORY.

    The sales of a member who was merged into another one are the other one's.
    """
    merged = owners(connection, members)
    if not merged:
        return read_frame(connection, query("ledger", "history"), {"members": list(members)}, HISTORY)
    mine = set(members)
    read = (mine - merged.keys()) | {member for member, owner in merged.items() if owner in mine}
    found = read_frame(connection, query("ledger", "history"), {"members": sorted(read)}, HISTORY)
    return found.with_columns(pl.col("member_id").replace(merged))


def tiers(connection: Connection, members: Sequence[int]) -> pl.DataFrame:
    """Their tier history: loyalty.award.TIERS."""
    return read_frame(connection, query("ledger", "tiers"), {"members": list(members)}, TIERS)


def posted(connection: Connection, members: Sequence[int]) -> pl.DataFrame:
    """What is posted for them so far: POSTED, one row per sale and member."""
    return read_frame(connection, query("ledger", "posted"), {"members": list(members)}, POSTED)


def programs(connection: Connection) -> list[Program]:
    """All versions of the program."""
    names = ("version", "valid_from", "base_rate_bps", "tier_rate_bps", "entry_tier", "rounding", "basis")
    rows = connection.execute(query("ledger", "programs")).fetchall()
    return [Program(**{**dict(zip(names, row, strict=True)), "valid_from": row[1] or BEGINNING}) for row in rows]


def promotions(connection: Connection) -> list[Promotion]:
    """All versions of all promotions."""
    names = ("promotion_id", "version", "kind", "parameters", "valid_from", "valid_to")
    rows = connection.execute(query("ledger", "promotions")).fetchall()
    return [Promotion(**dict(zip(names, row, strict=True))) for row in rows]


def append(connection: Connection, entries: pl.DataFrame, run_id: str) -> None:
    """Appends entries. The database refuses any that does not continue its chain."""
    copy_in(connection, "loyalty.award_entry", entries.with_columns(pl.lit(run_id).alias("run_id")).select(ENTRY))


def clear(connection: Connection, members: Sequence[int]) -> None:
    """The members' points are up to date."""
    connection.execute(query("ledger", "clear"), {"members": list(members)})
