"""The fields that were seen in the records of an account: paths and types, never values."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey


@dataclass(frozen=True)
class Known:
    """A field of a vendor's records, and in how many of them it was."""

    #: Which list of the vendor.
    stream: str
    #: Where the field is in a page; `*` stands for every element.
    path: str
    json_type: str
    #: Records that had it.
    records_with: int
    #: Records read since it was first seen.
    records_since: int
    #: Records read since it was last seen.
    records_without: int
    #: Whether it was reported as missing.
    gone: bool


@dataclass(frozen=True)
class Seen:
    """A field as one read saw it: in `records_with` of `records` of its list."""

    #: Which list of the vendor.
    stream: str
    #: Where the field is in a page; `*` stands for every element.
    path: str
    json_type: str
    #: Records of this read that had it.
    records_with: int
    #: Records of this read.
    records: int
    #: Whether these are the first records of the list.
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
        streams=[field.stream for field in seen],
        paths=[field.path for field in seen],
        types=[field.json_type for field in seen],
        base_lines=[field.base_line for field in seen],
        seen=[field.records_with for field in seen],
        looked_at=[field.records for field in seen],
    )
    connection.execute(query("fields", "save"), parameters)


def mark_gone(
    connection: DbConnection, account: AccountKey, fields: Collection[tuple[str, str]]
) -> None:
    """These (stream, path) are noted as gone, until they are seen again."""
    ordered = sorted(fields)
    parameters = account.parameters(
        streams=[text for text, _ in ordered], paths=[text for _, text in ordered]
    )
    connection.execute(query("fields", "gone"), parameters)
