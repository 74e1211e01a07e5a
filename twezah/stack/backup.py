"""Backup and restore of an installation.

A backup is a folder with a dump of each of our databases, and the keys that open stored tokens and
bodies. It may be encrypted (`twezah.stack.backup_encryption`).
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from settings import Settings, embedded_dsn
from twezah.stack import pginstall, roles
from twezah.stack.backup_encryption import (
    IDENTITY,
    SUFFIX,
    Recipients,
    decrypt_input,
    decrypted,
    encrypt_output,
    encrypted,
    identity_of_passphrase,
)
from twezah.stack.errors import StackError
from twezah.stack.locks import FileLock
from twezah.stack.postgres import DATABASES, libpq_environment, running

LEDGER, PREFECT, KEY, DATA_KEYS = "ledger.dump", "prefect.dump", "secret.key", "data.keys"
#: A dump or a restore that takes longer is stuck, or belongs to a server with backups of its own.
SECONDS_MAX = 6 * 3600.0


def backup(settings: Settings, folder: Path, recipients: Recipients | None = None) -> list[Path]:
    """Writes a backup into the new `folder`, readable by its owner only; returns its files.

    The stack may be up: each dump shows one instant of its database. A backup that could not be
    finished leaves nothing. `recipients`: who can open it; None: it is not encrypted.

    Raises:
        StackError: the folder exists or cannot be made, or a database cannot be dumped.

    """
    draft = folder.with_name(f".{folder.name}.part")
    if folder.exists():
        raise StackError(f"{folder} exists. Name a new folder: a backup never replaces another.")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(mode=0o700, parents=True)
        with running(settings) as dsn:
            _dump(dsn, draft / LEDGER, recipients)
            if settings.is_embedded and settings.starts_prefect:
                _dump(embedded_dsn(settings.home, DATABASES[1]), draft / PREFECT, recipients)
        _keep(draft / KEY, settings.fernet_key() + b"\n", recipients)
        if settings.data_key is None and settings.data_key_command is None:
            settings.data_keys()  # makes the file, where there is none
            _keep(draft / DATA_KEYS, settings.data_key_path.read_bytes(), recipients)
        if recipients is not None and recipients.identity is not None:
            _write(draft / IDENTITY, recipients.identity)
        draft.rename(folder)
    except OSError as error:
        raise StackError(f"The backup cannot be written to {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(folder.iterdir())


def is_encrypted(folder: Path) -> bool:
    """Whether the backup needs an identity, or a passphrase, to be opened."""
    return (folder / f"{LEDGER}{SUFFIX}").is_file()


def restore(
    settings: Settings,
    folder: Path,
    *,
    take_over: bool = False,
    identity: Any = None,
    passphrase: str | None = None,
) -> None:
    """Brings an empty state folder to what the installation was at the time of the backup.

    It stands by, so that it does not renew the tokens that the original still needs.

    Args:
        settings: The installation to be, with an empty state folder.
        folder: What `backup` wrote.
        take_over: The original is stopped for good: be live at once.
        identity: Opens an encrypted backup (`backup_encryption.identity_of_file`).
        passphrase: Instead, of a backup that has one.

    Raises:
        StackError: this is no backup, the state folder is in use, or PostgreSQL refuses the dump.
    """
    _require_restorable(settings, folder)
    if is_encrypted(folder) and identity is None:
        if passphrase is None:
            raise StackError(f"{folder} is encrypted: name its identity, or give its passphrase.")
        identity = identity_of_passphrase(folder, passphrase)
    settings.home.mkdir(parents=True, exist_ok=True)
    serving, made_keys = FileLock(settings.home / "up.lock"), False
    if not serving.acquire(shared=False, timeout_seconds=0):
        raise StackError(
            f"A stack is up in {settings.home}. Stop it, or name another folder in TWEZAH_HOME."
        )
    try:
        if settings.secret_key is None:
            _write(settings.home / "secret.key", _content(folder, KEY, identity))
        if _named(folder, DATA_KEYS).exists() and not settings.data_key_path.exists():
            _write(settings.data_key_path, _content(folder, DATA_KEYS, identity))
            made_keys = True
        with running(settings) as dsn:
            _make_roles(dsn)
            _load(dsn, _named(folder, LEDGER), identity)
            _begin_anew(dsn, take_over=take_over)
            if _named(folder, PREFECT).exists():
                prefect_dsn = embedded_dsn(settings.home, DATABASES[1])
                _load(prefect_dsn, _named(folder, PREFECT), identity)
    except BaseException:
        # Nobody must take half of a ledger for a whole one. Everything here was made just now.
        shutil.rmtree(settings.home / "pg", ignore_errors=True)
        (settings.home / "secret.key").unlink(missing_ok=True)
        if made_keys:
            settings.data_key_path.unlink(missing_ok=True)
        raise
    finally:
        serving.release()


def _begin_anew(dsn: str, *, take_over: bool) -> None:
    """The copy is not the original: it has other numbers of changes, and stands by."""
    from sql import changes, standby
    from sql.db import connect
    from sql.migrate import migrate

    migrate(dsn)  # a backup of an older version has nothing for it
    with connect(dsn) as connection:
        changes.skip_numbers(connection)
        if not take_over:
            standby.begin(connection)
        connection.commit()


def _require_restorable(settings: Settings, folder: Path) -> None:
    if not settings.is_embedded:
        raise StackError(
            "TWEZAH_DATABASE_URL names a server of your own: restore there with pg_restore, into "
            "an empty database."
        )
    missing = [name for name in (LEDGER, KEY) if not _named(folder, name).is_file()]
    if missing:
        raise StackError(f"{folder} is no backup: {', '.join(missing)} missing.")
    if (settings.home / "pg").exists():
        raise StackError(
            f"{settings.home} has a database. Name an empty folder in TWEZAH_HOME, or move this "
            "one away."
        )
    if (settings.home / "secret.key").exists():
        raise StackError(
            f"{settings.home} has a secret key. Name an empty folder in TWEZAH_HOME, or move this "
            "one away."
        )


def _make_roles(dsn: str) -> None:
    """Roles belong to a server, not to a database: no dump has them."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        for role in ("analyst", *roles.ROLES):
            statement = psycopg.sql.SQL("CREATE ROLE {} NOLOGIN")
            connection.execute(statement.format(psycopg.sql.Identifier(role)))


def _write(target: Path, content: bytes) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _keep(target: Path, content: bytes, recipients: Recipients | None) -> None:
    """A small file of the backup, encrypted where there are recipients."""
    if recipients is None:
        _write(target, content)
    else:
        _write(target.with_name(f"{target.name}{SUFFIX}"), encrypted(content, recipients))


def _named(folder: Path, name: str) -> Path:
    """A file of a backup, whether it is encrypted or not."""
    return folder / (f"{name}{SUFFIX}" if is_encrypted(folder) else name)


def _content(folder: Path, name: str, identity: Any) -> bytes:
    path = _named(folder, name)
    return path.read_bytes() if path.name == name else decrypted(path, identity)


def _dump(dsn: str, target: Path, recipients: Recipients | None) -> None:
    arguments = ["--format=custom", "--no-owner"]
    if recipients is None:
        _run(dsn, "pg_dump", *arguments, f"--file={target}")
        target.chmod(0o600)
        return
    path = target.with_name(f"{target.name}{SUFFIX}")
    command = [str(pginstall.program("pg_dump")), *arguments]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        code, said = encrypt_output(command, libpq_environment(dsn), file, recipients)
    if code != 0:
        raise StackError(f"pg_dump failed: {pginstall.explain(said)}")


def _load(dsn: str, source: Path, identity: Any) -> None:
    environment = libpq_environment(dsn)
    arguments = [
        "--exit-on-error",
        "--single-transaction",
        "--no-owner",
        f"--dbname={environment['PGDATABASE']}",
    ]
    if source.suffix != SUFFIX:
        _run(dsn, "pg_restore", *arguments, str(source))
        return
    command = [str(pginstall.program("pg_restore")), *arguments]
    code, said = decrypt_input(command, environment, source, identity)
    if code != 0:
        raise StackError(f"pg_restore failed: {pginstall.explain(said)}")


def _run(dsn: str, program: str, *arguments: str) -> None:
    command = [str(pginstall.program(program)), *arguments]
    result = subprocess.run(
        command,
        env=libpq_environment(dsn),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if result.returncode != 0:
        raise StackError(f"{program} failed: {pginstall.explain(result.stderr)}")
