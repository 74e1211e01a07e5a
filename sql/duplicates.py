"""Sales that several billing systems tell: the declared precedence, and what it leaves out.

Which documents are of one sale is decided by `loyalty.duplicates`; here are the documents and the
declarations. The caller owns the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import polars as pl

from loyalty.corrections import Decision
from loyalty.duplicates import DOCUMENTS, LEFT_OUT, Precedence
from loyalty.types import BEGINNING
from sql.copying import copy_in
from sql.corrections import earning_for, owners
from sql.db import DbConnection, read_frame
from sql.named_queries import query


@dataclass(frozen=True)
class LeftOut:
    """A document that earns nothing, for the page: amounts in whole currency units."""

    system: str
    account: str
    #: Its printed number, else its id.
    document: str
    member_id: int
    amount: Decimal
    currency: str
    issued_at: datetime
    #: The document that counts, and its account.
    by_system: str
    by_account: str
    by_document: str
    #: How the two were recognised as one sale.
    matched_by: str
    left_out_at: datetime


@dataclass(frozen=True)
class LeftOutTotal:
    """How many documents of one account are left out because of another one."""

    system: str
    account: str
    by_system: str
    by_account: str
    documents: int


#: What `Precedence` is named by in the audit log and on pages where nothing is declared.
NONE_DECLARED: Final = Precedence(systems=())


def declared(connection: DbConnection) -> Precedence:
    """The precedence in force; without systems where none is declared."""
    row = connection.execute(query("duplicates", "declared")).fetchone()
    if row is None:
        return NONE_DECLARED
    return Precedence(systems=tuple(row[0]), within_hours=row[1], valid_from=row[2] or BEGINNING)


def accounts(connection: DbConnection) -> list[tuple[str, str]]:
    """(system, account) of which sales are stored."""
    return [(row[0], row[1]) for row in connection.execute(query("duplicates", "accounts"))]


def fill_references(connection: DbConnection) -> None:
    """Enters what all documents name of others, where nothing was declared before.

    Afterwards marking keeps it. Whoever only looks rolls it back.
    """
    connection.execute(query("duplicates", "fill_references"))


def concerned(connection: DbConnection) -> list[int]:
    """Members, by number, whose points a declaration may change.

    They have sales in several accounts, or a document that other systems' documents name.
    """
    return [row[0] for row in connection.execute(query("duplicates", "concerned")).fetchall()]


def documents(connection: DbConnection, members: Sequence[int]) -> pl.DataFrame:
    """DOCUMENTS of the members, and of others that certainly tell the same sales.

    The documents of a member who was merged into another one are the other one's.
    """
    wanted = earning_for(connection, members)
    read = {"members": wanted}
    frame = read_frame(connection, query("duplicates", "documents"), read, DOCUMENTS)
    merged = owners(connection, frame["member_id"].drop_nulls().unique().to_list())
    return frame.with_columns(pl.col("member_id").replace(merged)) if merged else frame


def points_of(connection: DbConnection, sales: Sequence[Sequence[object]]) -> list[int]:
    """Points posted for each of the sales (system, account, external id), in their order."""
    keys = {"systems": 0, "accounts": 1, "ids": 2}
    values = {name: [sale[at] for sale in sales] for name, at in keys.items()}
    return [int(row[0]) for row in connection.execute(query("duplicates", "points_of"), values)]


def save_left_out(
    connection: DbConnection, members: Sequence[int], left_out: pl.DataFrame, run_id: str
) -> int:
    """Keeps what is left out of the members' documents now (LEFT_OUT); returns how many are new."""
    own = left_out.filter(pl.col("member_id").is_in(list(members)))
    connection.execute(query("duplicates", "stage"))
    connection.execute(query("duplicates", "empty_stage"))
    copy_in(connection, "pg_temp.left_out_stage", own.select(LEFT_OUT.names()))
    connection.execute(query("duplicates", "count_again"), {"members": list(members)})
    return connection.execute(query("duplicates", "leave_out"), {"run_id": run_id}).rowcount


def lock(connection: DbConnection) -> None:
    """One declaration at a time, and none while sales are being stored."""
    connection.execute(query("duplicates", "lock"))


def declare(
    connection: DbConnection,
    precedence: Precedence,
    decision: Decision,
    *,
    members: int,
    points: int,
    run_id: str,
) -> int:
    """Adds a declaration, and marks everybody whose points it may change; returns its number."""
    row = connection.execute(
        query("duplicates", "declare"),
        decision.model_dump()
        | {
            "systems": list(precedence.systems),
            "within_hours": precedence.within_hours,
            "valid_from": None if precedence.valid_from <= BEGINNING else precedence.valid_from,
            "members": members,
            "points": points,
            "run_id": run_id,
        },
    ).fetchone()
    assert row is not None
    connection.execute(query("store", "mark_dirty"), {"members": concerned(connection)})
    return int(row[0])


def totals(connection: DbConnection) -> list[LeftOutTotal]:
    """How many documents are left out, by account and by the account that counts."""
    return [LeftOutTotal(*row) for row in connection.execute(query("duplicates", "totals"))]


def latest(connection: DbConnection, limit: int) -> list[LeftOut]:
    """The documents that were left out last."""
    rows = connection.execute(query("duplicates", "latest"), {"limit": limit})
    return [LeftOut(*row) for row in rows]
