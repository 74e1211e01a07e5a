"""Imports what an earlier program knows of members, from a CSV file.

A dry run does the same and keeps nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from connectors.kit.mapping.parse import dialled
from loyalty.bulk import BadImportError, BulkKind, names_phones, read_bulk
from loyalty.corrections import Decision
from loyalty.program import Program, program_at
from settings import settings
from sql import bulk, ledger
from sql.bulk import Imported
from sql.db import connect
from tasks.program.change_limit import check_confirmed

#: A larger file is imported in parts.
BYTES_MAX = 50_000_000
#: Instants for which the version of the program is remembered.
_INSTANTS_MAX = 10_000


def import_text(
    dsn: str,
    kind: BulkKind,
    text: str,
    decision: Decision,
    run_id: str,
    *,
    dry_run: bool,
    correct: bool = False,
    confirm: int = 0,
) -> Imported:
    """Imports a file. The caller posts what the members are due then.

    Args:
        dsn: The ledger.
        kind: What the file holds.
        text: The file.
        decision: Who and why.
        run_id: Kept with the rows.
        dry_run: Keep nothing.
        correct: Lines that differ from what is there replace it.
        confirm: So many points, given and taken together, are agreed to.

    Raises:
        BadImportError: With all problems at once.
        sql.corrections.CorrectionRefusedError: More points than the limit, and not confirmed.
    """
    with connect(dsn) as connection:
        programs = ledger.programs(connection)
        region = settings().region
        # (A file has many lines and few dates.)
        program = lru_cache(_INSTANTS_MAX)(lambda at: _program(programs, at))
        rows = read_bulk(
            kind, text,
            # (Not that of the newest version: a file must say the same when that changes.)
            zone_at=lambda at: ZoneInfo(program(at).timezone),
            phone_of=lambda phone: dialled(phone, region),
        )  # fmt: skip
        imported = bulk.import_rows(
            connection, kind, rows, decision, run_id,
            tiers_at=lambda at: program(at).tier_rate_bps, correct=correct,
        )  # fmt: skip
        imported.dry_run = dry_run
        if dry_run:
            connection.rollback()
        else:
            check_confirmed(imported.moved, confirm)
            connection.commit()
    return imported


def _program(programs: Sequence[Program], at: datetime) -> Program:
    """The version in force at an instant; the first one for what was before there was any."""
    return program_at(programs, at) or min(programs, key=lambda p: (p.valid_from, p.version))


def file_in_folder(name: str) -> str:
    """The text of a file in the folder `imports` of the state folder.

    Raises BadImportError: there is none, or it is too large or not UTF-8 text.
    """
    folder = settings().home / "imports"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if Path(name).name != name or name in (".", "..") or "\x00" in name:
        raise BadImportError([f"give the name of a file in {folder}, without a folder"])
    try:
        with (folder / name).open("rb") as opened:
            return decoded(opened.read(BYTES_MAX + 1))
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise BadImportError([f"{name} in {folder}: {reason}"]) from None


def decoded(body: bytes) -> str:
    """Raises BadImportError: it is too large or not UTF-8 text."""
    if len(body) > BYTES_MAX:
        raise BadImportError([f"the file is larger than {BYTES_MAX} bytes: import it in parts"])
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadImportError(["the file is not UTF-8 text: save it as CSV UTF-8"]) from None


def without_phones(text: str) -> str:
    """A pasted file, which may name members by number only.

    What is pasted into a form stays in the run's parameters. Raises BadImportError.
    """
    if names_phones(text):
        message = (
            "a pasted file must name members by number: phones would stay in the run. Put the "
            f"file into {settings().home / 'imports'}, name it in `file`, and delete this run"
        )
        raise BadImportError([message])
    return text
