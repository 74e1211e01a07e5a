"""The fields that were seen in the records of an account: paths and types, never values."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey


@dataclass(frozen=True)
class Known:
    """A field of a vendor's records, and in how many of them it was."""

    stream: str
    path: str
    json_type: str
    records_with: int
    records_since: int
    records_without: int
    gone: bool


@dataclass(frozen=True)
class Seen:
    """A field as one read saw it: in `records_with` of `records` of its list."""

    stream: str
    path: str
    json_type: str
    records_with: int
    records: int
    base_line: bool = False


def known(connection: DbConnection, account: AccountKey, streams: Collection[str]) -> list[Known]:
    """The known fields of these lists."""
    parameters = account.parameters(streams=list(streams))
    return [
        Known(*row) for row in connection.execute(query("fields", "known"), parameters).fetchall()
    ]


def save(connection: DbConnection, account: AccountKey, sync_id: int, seen: Sequence[Seen]) -> None:
    """Counts what a read saw in; fields that are known and were not seen are given with 0."""
    parameters = account.parameters(
        sync_id=sync_id,
        streams=[one.stream for one in seen],
        paths=[one.path for one in seen],
        types=[one.json_type for one in seen],
        base_lines=[one.base_line for one in seen],
        seen=[one.records_with for one in seen],
        looked_at=[one.records for one in seen],
    )
    connection.execute(query("fields", "save"), parameters)


def mark_gone(
    connection: DbConnection, account: AccountKey, fields: Collection[tuple[str, str]]
) -> None:
    """These (stream, path) are noted as gone, until they are seen again."""
    ordered = sorted(fields)
    parameters = account.parameters(
        streams=[one for one, _ in ordered], paths=[one for _, one in ordered]
    )
    connection.execute(query("fields", "gone"), parameters)
