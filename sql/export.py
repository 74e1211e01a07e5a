"""Tables as files: what is handed to an analyst, or to a member who asks what is stored of them."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import polars as pl
from psycopg import sql

from sql import audit
from sql.corrections import find_member
from sql.db import DbConnection
from sql.draft_folder import draft_of
from sql.named_queries import query

#: What can be exported; `phones` is personal data and comes only when it is asked for.
TABLES: Final = (
    "sales", "sale_lines", "awards", "points_history", "redemptions", "members", "tiers",
    "changes", "opening_balances", "events", "codes", "lists", "referrals",
    "audit",
)  # fmt: skip
PERSONAL: Final = "phones"
ROWS_MAX: Final = 1_000_000
Format = Literal["csv", "parquet"]
_PARQUET_TYPES: Final[dict[str, pl.DataType]] = {
    "int8": pl.Int64(),
    "int4": pl.Int64(),
    "numeric": pl.Decimal(38, 6),
}


class ExportTooLargeError(ValueError):
    """A table has more rows than allowed. Nothing was written."""


@dataclass(frozen=True)
class Exported:
    """Where the files are, and how many rows each has."""

    #: Where the files are.
    folder: str
    #: Whether personal data is among them.
    personal: bool
    #: Rows per table.
    rows: dict[str, int] = field(default_factory=dict)

    def to_text(self) -> str:
        """One line."""
        listed = ", ".join(f"{name} {count}" for name, count in self.rows.items())
        warning = (
            " It holds personal data: delete it once it was handed over." if self.personal else ""
        )
        return f"Exported to {self.folder}: {listed} rows.{warning}"


def export(
    connection: DbConnection,
    home: Path,
    run_id: str,
    *,
    tables: Sequence[str] = TABLES,
    member_id: int | None = None,
    personal: bool = False,
    kind: Format = "csv",
    rows_max: int = ROWS_MAX,
) -> Exported:
    """Writes the tables as of one instant into a new folder of `home`/exports.

    Only its owner can read the folder. Commits the audit entry.

    The folder has its name once everything is in it, and after the entry is committed: there is no
    export without an entry.

    Raises ValueError for an unknown table, ExportTooLargeError, CorrectionRefusedError for an
    unknown member.
    """
    if unknown := sorted(set(tables) - set(TABLES)):
        raise ValueError(f"{', '.join(unknown)}: tables are {', '.join(TABLES)}")
    member_id = None if member_id is None else find_member(connection, member_id).owner_id
    name = _folder_name(member_id, personal=personal)
    folder = home / "exports" / name
    with draft_of(connection, folder) as draft:
        connection.rollback()
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if not personal:  # numbers and texts that name somebody are hidden, as from analysts
            connection.execute("SELECT set_config('twezah.hide_persons', 'on', true)")
        names = [*dict.fromkeys(tables), *([PERSONAL] if personal else [])]
        rows = {
            table: _write(connection, table, member_id, draft, kind, rows_max) for table in names
        }
        connection.rollback()
        subject = "all" if member_id is None else f"member {member_id}"
        details = {"folder": name, "rows": rows, "personal": personal, "format": kind}
        records = sum(rows.values())
        audit.record(connection, "export", subject, details=details, records=records, run_id=run_id)
    return Exported(str(folder), personal, rows)


def _folder_name(member_id: int | None, *, personal: bool) -> str:
    """The name says when, of whom, and whether personal data is inside; no two are equal."""
    whose = "all" if member_id is None else f"member-{member_id}"
    personal_part = "-personal" if personal else ""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{whose}{personal_part}-{secrets.token_hex(3)}"


def _write(
    connection: DbConnection,
    name: str,
    member_id: int | None,
    folder: Path,
    kind: Format,
    rows_max: int,
) -> int:
    """A table as a file; its rows."""
    select = sql.SQL(query("export", name).decode().replace("%(member)s", "{member}")).format(
        member=sql.Literal(member_id)
    )
    limited = sql.SQL("SELECT * FROM ({}) AS exported LIMIT {}").format(
        select, sql.Literal(rows_max + 1)
    )
    path = folder / f"{name}.csv"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    cursor = connection.cursor()
    with os.fdopen(descriptor, "wb") as file:
        with cursor.copy(
            sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(limited)
        ) as copy:
            for part in copy:
                file.write(part)
        file.flush()
        os.fsync(file.fileno())
    if cursor.rowcount > rows_max:
        message = (
            f"{name} has more than {rows_max} rows; "
            "choose fewer tables or one member, or raise the limit"
        )
        raise ExportTooLargeError(message)
    if kind == "parquet":
        _to_parquet(connection, select, path)
    return cursor.rowcount


def _to_parquet(connection: DbConnection, select: sql.Composed, path: Path) -> None:
    """The CSV file as Parquet, by the database's types; times as UTC."""
    described = (
        connection.execute(
            sql.SQL("SELECT * FROM ({}) AS exported LIMIT 0").format(select)
        ).description
        or []
    )
    names = {column.name: column.type_display for column in described}
    schema = {
        name: _PARQUET_TYPES.get(kind.split("(")[0], pl.String()) for name, kind in names.items()
    }
    times = [name for name, kind in names.items() if kind == "timestamptz"]
    switches = [name for name, kind in names.items() if kind == "bool"]
    frame = pl.scan_csv(path, schema=schema).with_columns(
        # The database tells times in the session's zone, with its offset.
        *(
            pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC")
            for name in times
        ),
        *(pl.col(name) == "t" for name in switches),
    )
    target = path.with_suffix(".parquet")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    frame.sink_parquet(target)
    path.unlink()
