"""When the sales of an account earn: the versions of what its block says."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey

AwardWhen = Literal["issued", "paid"]


@dataclass(frozen=True)
class Wanted:
    """What the block says: when sales earn, and from which instant on (None: from now on)."""

    #: issued or paid.
    award_when: AwardWhen = "issued"
    #: From which date of sale on; None: from this run on.
    valid_from: datetime | None = None


def follow(
    connection: DbConnection, account: AccountKey, sync_id: int, run_id: str, wanted: Wanted
) -> set[int]:
    """Enters a new version if the block says something else than the last one.

    Returns the members it may concern.

    A change is valid for sales dated from now on, or from the instant that the block names; the
    very first one, before anything was read of the account, for all of its sales. The caller has
    locked the account.
    """
    latest = connection.execute(query("policy", "latest"), account.parameters()).fetchone()
    award_when, since = ("issued", None) if latest is None else latest
    same_start = wanted.valid_from is None or (latest is not None and wanted.valid_from == since)
    if wanted.award_when == award_when and (same_start or latest is None):
        return set()
    valid_from = wanted.valid_from
    if valid_from is None and (latest is not None or _has_past(connection, account, sync_id)):
        valid_from = datetime.now(UTC)
    parameters = account.parameters(award_when=wanted.award_when, valid_from=valid_from)
    connection.execute(query("policy", "record"), parameters | {"run_id": run_id})
    return {
        row[0]
        for row in connection.execute(query("policy", "touched_members"), parameters).fetchall()
    }


def _has_past(connection: DbConnection, account: AccountKey, sync_id: int) -> bool:
    row = connection.execute(
        query("policy", "has_past"), account.parameters(sync_id=sync_id)
    ).fetchone()
    return bool(row and row[0])
