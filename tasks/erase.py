"""Erases a member's personal data wherever this installation keeps it.

That is the ledger, Prefect's database, and log files.
"""

import os
import re
from pathlib import Path
from typing import Final

import psycopg

from loyalty.corrections import Decision
from settings import DatabaseNotRunning, Settings, embedded_dsn
from sql.db import connect
from sql.erasure import Erased, erase, scrub, texts_of
from sql.redaction import Person

#: Where it was looked for beside the ledger, as the report names it.
PREFECT: Final = "Prefect's database"
#: The same of the log files of the state folder.
LOGS: Final = "log files"


def erase_everywhere(
    config: Settings, member_id: int, decision: Decision, run_id: str, *, dry_run: bool
) -> Erased:
    """Removes the member's personal data; returns what was removed and what remains.

    The ledger first, in one transaction; then what Prefect keeps of runs (logs, artifacts,
    parameters, states, events), then log files of the state folder. Raises CorrectionRefusedError,
    psycopg.Error of the ledger, DatabaseNotRunning.
    """
    with connect(config.dsn()) as connection:
        erased = erase(connection, member_id, decision, run_id, dry_run=dry_run)
        connection.commit()
    if erased.person is None:
        return erased
    try:
        erased.elsewhere |= _in_prefect(config, erased.person, dry_run=dry_run)
    except (DatabaseNotRunning, psycopg.Error):
        erased.unreached.append(PREFECT)
    if count := _in_logs(config.logs, erased.person, dry_run=dry_run):
        erased.elsewhere[LOGS] = count
    return erased


def _in_prefect(config: Settings, person: Person, *, dry_run: bool) -> dict[str, int]:
    """Rows changed per table of Prefect's own database.

    All texts of all tables are searched, whatever the tables are called.
    """
    if not config.starts_prefect or "PREFECT_API_DATABASE_CONNECTION_URL" in os.environ:
        raise DatabaseNotRunning(f"{PREFECT} is elsewhere")
    changed: dict[str, int] = {}
    with psycopg.connect(embedded_dsn(config.home, "prefect")) as connection:
        for (schema, table), columns in texts_of(connection, ["public"]).items():
            if count := scrub(connection, schema, table, tuple(columns), person, dry_run=dry_run):
                changed[f"Prefect's {table}"] = count
    return changed


def _in_logs(folder: Path, person: Person, *, dry_run: bool) -> int:
    """How many files.

    Each byte is replaced by a star in its place: programs that have a file open write on.
    """
    pattern = re.compile(person.everywhere().encode())
    count = 0
    for path in sorted(folder.glob("*.log*")) if folder.is_dir() else ():
        spans = [match.span() for match in pattern.finditer(path.read_bytes())]
        count += bool(spans)
        if spans and not dry_run:
            with path.open("r+b") as file:
                for begin, end in spans:
                    file.seek(begin)
                    file.write(b"*" * (end - begin))
    return count
