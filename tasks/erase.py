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

PREFECT: Final = "Prefect's database"
LOGS: Final = "log files"


def erase_everywhere(
    own: Settings, member_id: int, decision: Decision, run_id: str, *, dry_run: bool
) -> Erased:
    """Removes the member's personal data, and says what it was and what remains.

    The ledger first, in one transaction; then what Prefect keeps of runs (logs, artifacts,
    parameters, states, events), then log files of the state folder. Raises CorrectionRefusedError,
    psycopg.Error of the ledger, DatabaseNotRunning.
    """
    with connect(own.dsn()) as connection:
        done = erase(connection, member_id, decision, run_id, dry_run=dry_run)
        connection.commit()
    if done.person is None:
        return done
    try:
        done.elsewhere |= _in_prefect(own, done.person, dry_run=dry_run)
    except (DatabaseNotRunning, psycopg.Error):
        done.unreached.append(PREFECT)
    if count := _in_logs(own.logs, done.person, dry_run=dry_run):
        done.elsewhere[LOGS] = count
    return done


def _in_prefect(own: Settings, person: Person, *, dry_run: bool) -> dict[str, int]:
    """Rows changed per table of Prefect's own database.

    All texts of all tables are searched, whatever the tables are called.
    """
    if not own.starts_prefect or "PREFECT_API_DATABASE_CONNECTION_URL" in os.environ:
        raise DatabaseNotRunning(f"{PREFECT} is elsewhere")
    found: dict[str, int] = {}
    with psycopg.connect(embedded_dsn(own.home, "prefect")) as connection:
        for (schema, table), columns in texts_of(connection, ["public"]).items():
            if count := scrub(connection, schema, table, tuple(columns), person, dry_run=dry_run):
                found[f"Prefect's {table}"] = count
    return found


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
