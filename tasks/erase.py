"""Erases a member's personal data wherever this installation keeps it.

That is the ledger, Prefect's database, log files, and exports that nobody took away. What PostgreSQL
keeps of old rows in its files goes as well, where the server is the stack's own. At the end there is
a certificate.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Final

import psycopg

from loyalty.corrections import Decision
from settings import DatabaseNotRunning, Settings, embedded_dsn
from sql import certificates, maintenance
from sql.db import connect
from sql.erasure import QUOTING, Erased, erase, scrub, texts_of
from sql.redaction import Person

#: Where it was looked for beside the ledger, as the report names it.
PREFECT: Final = "Prefect's database"
#: The same of the log files of the state folder.
LOGS: Final = "log files"
#: The same of what was typed into psql.
HISTORY: Final = "histories of psql"
#: Exports with personal data that are still in the state folder.
EXPORTS: Final = "exports with personal data"


def erase_everywhere(
    config: Settings, member_id: int, decision: Decision, run_id: str, *, dry_run: bool
) -> Erased:
    """Removes the member's personal data; returns what was removed and what remains.

    The ledger in one transaction, which ends after what Prefect keeps of runs (logs, artifacts,
    parameters, states, events) and files of the state folder: who is interrupted before does it all
    again, for the ledger still knows whom to look for. Then the certificate, once; one that an
    interruption left out is issued by the next erasure of the member. Raises CorrectionRefusedError,
    psycopg.Error of the ledger, DatabaseNotRunning.
    """
    with connect(config.dsn()) as connection:
        erased = erase(connection, member_id, decision, run_id, dry_run=dry_run)
        _elsewhere(config, erased, dry_run=dry_run)
        connection.commit()
        is_certified = bool(certificates.of_member(connection, erased.member_id))
        connection.rollback()
    if dry_run or (erased.person is None and is_certified):
        return erased
    erased.unreached += _old_rows(config, erased)
    with connect(config.dsn()) as connection:
        erased.certificate_no = certificates.issue(
            connection,
            [erased.member_id, *(m for m in erased.members if m != erased.member_id)],
            decision,
            run_id,
            erased=erased.places(),
            remains=erased.remains,
            not_reached=erased.not_reached(),
        )
        connection.commit()
    return erased


def _elsewhere(config: Settings, erased: Erased, *, dry_run: bool) -> None:
    """Prefect's database and the state folder."""
    if erased.person is None:
        return
    try:
        erased.elsewhere |= _in_prefect(config, erased.person, dry_run=dry_run)
    except (DatabaseNotRunning, psycopg.Error):
        erased.unreached.append(PREFECT)
    counts = {
        LOGS: _in_files(config.logs, "*.log*", erased.person, dry_run=dry_run),
        HISTORY: _in_files(config.home, "psql_history*", erased.person, dry_run=dry_run),
        EXPORTS: _in_exports(config.home / "exports", erased.members, dry_run=dry_run),
    }
    erased.elsewhere |= {place: count for place, count in counts.items() if count}


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


def _in_files(folder: Path, names: str, person: Person, *, dry_run: bool) -> int:
    """How many files.

    Each byte is replaced by a star in its place: programs that have a file open write on.
    """
    pattern = re.compile(person.everywhere().encode())
    count = 0
    for path in sorted(folder.glob(names)) if folder.is_dir() else ():
        spans = [match.span() for match in pattern.finditer(path.read_bytes())]
        count += bool(spans)
        if spans and not dry_run:
            with path.open("r+b") as file:
                for begin, end in spans:
                    file.seek(begin)
                    file.write(b"*" * (end - begin))
    return count


def _in_exports(folder: Path, members: list[int], *, dry_run: bool) -> int:
    """How many exports with personal data of the person, or of all; they are deleted whole.

    Their names say both (`sql.export`).
    """
    whose = "|".join(["all", *(f"member-{member}" for member in members)])
    pattern = re.compile(rf"-({whose})-personal-")
    found = (
        [path for path in folder.iterdir() if pattern.search(path.name)] if folder.is_dir() else []
    )
    for path in [] if dry_run else found:
        shutil.rmtree(path)
    return len(found)


def _old_rows(config: Settings, erased: Erased) -> list[str]:
    """Removes what PostgreSQL keeps of rows that were replaced; returns what is left of that.

    On another server than the stack's own, its administrators do that.
    """
    if not config.is_embedded:
        return ["Old rows in PostgreSQL's files, until its next vacuum and checkpoint,"]
    tables = ["loyalty.member", "billing.customer", *(QUOTING if erased.texts else ())]
    left = maintenance.forget_old_rows(embedded_dsn(config.home, "twezah"), tables)
    prefix = "Prefect's "
    theirs = [
        f"public.{place.removeprefix(prefix)}"
        for place in erased.elsewhere
        if place.startswith(prefix)
    ]
    if theirs:
        left += maintenance.forget_old_rows(embedded_dsn(config.home, "prefect"), theirs)
    maintenance.forget_write_ahead_log(embedded_dsn(config.home, "twezah"))
    return [f"Old rows of {table}, which was in use," for table in left]
