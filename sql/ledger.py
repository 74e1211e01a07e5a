"""The award step's side of the database.

In: members that were marked ("dirty"). Out: their sales, tiers and posted points as frames for
`loyalty.award`, and the entries that it computes, appended. Entries are never changed: each names
the points before it, and a trigger refuses one that does not continue its chain.

One chunk is one transaction; the caller commits. The claim is a row lock, so it vanishes with its
holder, and the members stay dirty until their entries are in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from loyalty.award import HISTORY, TIERS
from loyalty.difference import POSTED
from loyalty.program import Program
from loyalty.promotions import Promotion
from loyalty.types import BEGINNING, spans
from sql.copying import copy_in
from sql.corrections import earning_for, owners
from sql.db import DbConnection, read_frame
from sql.named_queries import query

#: A new entry; `posted_at` is the database's.
ENTRY: Final = (
    "system", "account", "external_id", "member_id", "entry_no", "due_before", "due_after",
    "points", "reason", "breakdown",
    "net_minor", "currency", "tier", "program_version", "event_at", "run_id",
)  # fmt: skip


def claim(connection: DbConnection, limit: int) -> list[int]:
    """Up to `limit` dirty members that nobody else is working on.

    They are locked until the transaction ends.
    """
    return [
        row[0] for row in connection.execute(query("ledger", "claim"), {"limit": limit}).fetchall()
    ]


def claim_of(connection: DbConnection, members: Sequence[int]) -> list[int]:
    """Those of `members` that are dirty and that nobody else is working on.

    They are locked until the transaction ends.
    """
    return [
        row[0]
        for row in connection.execute(
            query("ledger", "claim_of"), {"members": list(members)}
        ).fetchall()
    ]


def claim_after(connection: DbConnection, after: int, limit: int) -> list[int]:
    """Like `claim`, of the members above `after`: to go through them without clearing any."""
    parameters = {"after": after, "limit": limit}
    return [
        row[0] for row in connection.execute(query("ledger", "claim_after"), parameters).fetchall()
    ]


def dirty_members(connection: DbConnection) -> int:
    """How many members are waiting for their points."""
    row = connection.execute(query("ledger", "count_dirty")).fetchone()
    return int(row[0]) if row else 0


def everyone(connection: DbConnection) -> list[int]:
    """All members, by number."""
    return [row[0] for row in connection.execute(query("ledger", "everyone")).fetchall()]


def waiting_of(connection: DbConnection, members: Sequence[int]) -> set[int]:
    """Those of the members who are waiting for their points."""
    return {
        row[0]
        for row in connection.execute(
            query("ledger", "waiting_of"), {"members": list(members)}
        ).fetchall()
    }


def history(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    """All stored invoices that the members earn for: loyalty.award.HISTORY.

    The sales of a member who was merged into another one are the other one's.
    """
    merged = owners(connection, members)
    read = {"members": earning_for(connection, members)}
    sales = read_frame(connection, query("ledger", "history"), read, HISTORY)
    return sales.with_columns(pl.col("member_id").replace(merged)) if merged else sales


def tiers(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    """Their tier history: loyalty.award.TIERS."""
    return read_frame(connection, query("ledger", "tiers"), {"members": list(members)}, TIERS)


def posted(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    """What is posted for them so far: POSTED, one row per sale and member."""
    return read_frame(connection, query("ledger", "posted"), {"members": list(members)}, POSTED)


def programs(connection: DbConnection) -> list[Program]:
    """All versions of the program."""
    return [Program(**row) for row in _rows(connection, "programs")]


def promotions(connection: DbConnection) -> list[Promotion]:
    """All promotions, without versions that are wholly replaced.

    Raises UnknownPromotionKindError, pydantic.ValidationError.
    """
    versions_by_id: dict[str, list[_Row]] = {}
    for row in _rows(connection, "promotions"):
        versions_by_id.setdefault(row["promotion_id"], []).append(
            _Row(row["version"], row["valid_from"], row)
        )
    return [
        Promotion.from_row(version.row)
        for versions in versions_by_id.values()
        for version, _, _ in spans(versions)
    ]


@dataclass(frozen=True)
class _Row:
    """A version of a promotion, not interpreted yet.

    A replaced version may be of a kind that this code does not know any more.
    """

    version: int
    valid_from: datetime
    row: dict[str, Any]


def _rows(connection: DbConnection, name: str) -> list[dict[str, Any]]:
    """The rows of a named query by column.

    A `valid_from` without beginning is the earliest instant that Python knows.
    """
    cursor = connection.execute(query("ledger", name))
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [row | {"valid_from": row["valid_from"] or BEGINNING} for row in rows]


def append(connection: DbConnection, entries: pl.DataFrame, run_id: str) -> None:
    """Appends entries. The database refuses any that does not continue its chain."""
    copy_in(
        connection,
        "loyalty.award_entry",
        entries.with_columns(pl.lit(run_id).alias("run_id")).select(ENTRY),
    )


def clear(connection: DbConnection, members: Sequence[int]) -> None:
    """The members' points are up to date."""
    connection.execute(query("ledger", "clear"), {"members": list(members)})
