"""A running ledger database for whoever needs one: the configured PostgreSQL, or the embedded one.

    with running(settings()) as dsn:          # starts the embedded server if it is not running
        psycopg.connect(dsn)

Several processes may do this at once; the server ends when the last of them leaves the block,
however it ends.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import DatabaseNotRunning, Settings, embedded_dsn
from twezah.stack.errors import DatabaseFailed
from twezah.stack.leftover_processes import MARK
from twezah.stack.locks import FileLock, held
from twezah.stack.pginstall import python_environment

#: Databases made on first start: the ledger and Prefect's own.
DATABASES = ("twezah", "prefect")
#: How long to wait for a server that is stopping.
STOP_SECONDS_MAX = 60.0
#: A server that has not begun to stop by then has other users.
NOTICE_SECONDS_MAX = 1.0


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """The ledger database's URL, reachable for the duration of the block.

    Raises:
        DatabaseFailed: it cannot be started or reached.

    """
    if settings.database_url is not None:
        check_reachable(settings.dsn())
        yield settings.dsn()
        return
    with embedded(settings.home):
        yield embedded_dsn(settings.home, DATABASES[0])


@contextmanager
def embedded(home: Path) -> Iterator[None]:
    """Keep the embedded server of `home` running for the duration of the block.

    Its URLs are `embedded_dsn(home, name)` for each of `DATABASES`.

    Raises:
        DatabaseFailed: it cannot be started.

    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseFailed(
            f"Cannot create the state folder {home}: {error.strerror}. Set TWEZAH_HOME.",
            permanent=True,
        ) from error
    users = FileLock(home / "pg.users")
    _join(users)
    try:
        ensure_started(home)
        yield
    finally:
        users.release()
        _wait_until_stopped(home)


def _join(users: FileLock) -> None:
    """Become a user; waits while the keeper is stopping the server."""
    try:
        if not users.acquire(shared=True, timeout_seconds=STOP_SECONDS_MAX):
            raise DatabaseFailed(
                "The embedded database is shutting down and does not finish. Try again."
            )
    except OSError as error:
        raise DatabaseFailed(
            f"Cannot use the state folder {users.path.parent}: {error.strerror}. Set TWEZAH_HOME.",
            permanent=True,
        ) from error


def ensure_started(home: Path) -> None:
    """Start the server unless it runs; the caller already holds `pg.users`.

    Raises:
        DatabaseFailed: it cannot be started.

    """
    made = home / "pg" / "twezah.databases"
    if is_running(home) and made.exists():
        return
    try:
        with held(home / "pg.start"):
            if not is_running(home):
                _start_keeper(home)
            if not made.exists():  # whoever started the server first may have been killed here
                _make_databases(home)
                made.touch()
    except OSError as error:
        raise DatabaseFailed(f"Cannot write to {home}: {error.strerror or error}.") from error


def is_running(home: Path) -> bool:
    """True when a keeper serves `home` and its server has accepted connections."""
    return (home / "postgres.json").exists() and not FileLock(home / "pg.keeper").is_free()


def _start_keeper(home: Path) -> None:
    (home / "logs").mkdir(mode=0o700, exist_ok=True)
    with (home / "logs" / "keeper.log").open("ab") as log:
        result = subprocess.run(
            [sys.executable, "-m", "twezah.stack.keeper", str(home)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False,
            start_new_session=True, cwd="/", env=_keeper_environment(),
        )  # fmt: skip
    answer = result.stdout.decode(errors="replace")
    if answer == "ready":
        return
    kind, _, text = answer.partition(": ")
    if not text:
        text = (
            "The database keeper ended before PostgreSQL was ready; see "
            f"{home / 'logs' / 'keeper.log'}."
        )
    raise DatabaseFailed(text, permanent=kind == "permanent")


def _keeper_environment() -> dict[str, str]:
    """Environment of the keeper, without the mark of a stack.

    The database must outlive the stack where other commands use it as well.
    """
    return {key: value for key, value in python_environment().items() if key != MARK}


def _make_databases(home: Path) -> None:
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(embedded_dsn(home, "postgres"), autocommit=True) as connection:
            present = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in DATABASES:
                if name not in present:
                    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                    connection.execute(statement)
    except (psycopg.Error, DatabaseNotRunning) as error:
        raise DatabaseFailed(
            f"PostgreSQL was started and then did not answer: {str(error).strip()}"
        ) from error


def _wait_until_stopped(home: Path) -> None:
    """Return once the server has stopped, or soon if it goes on for other users."""
    notice = time.monotonic() + NOTICE_SECONDS_MAX
    deadline = time.monotonic() + STOP_SECONDS_MAX
    users = FileLock(home / "pg.users")
    while time.monotonic() < deadline:
        if FileLock(home / "pg.keeper").is_free():
            return
        if users.acquire(shared=True, timeout_seconds=0):
            users.release()
            if time.monotonic() > notice:
                return
        time.sleep(0.05)


def check_reachable(dsn: str) -> None:
    """Raise `DatabaseFailed` unless a connection can be made.

    The message never holds the password.
    """
    import psycopg

    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.Error as error:
        raise DatabaseFailed(f"TWEZAH_DATABASE_URL does not answer: {str(error).strip()}") from None


def asyncpg_url(home: Path) -> str:
    """Prefect's database URL on the embedded server, in the form its SQLAlchemy engine takes."""
    return embedded_dsn(home, DATABASES[1]).replace("postgresql://", "postgresql+asyncpg://", 1)


#: The environment variable of each part of a connection URL.
_LIBPQ_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def libpq_environment(dsn: str) -> dict[str, str]:
    """`os.environ` with the connection as PG* variables.

    So the password stays off the command line.
    """
    from psycopg.conninfo import conninfo_to_dict

    variables = {
        _LIBPQ_VARIABLES[key]: str(value)
        for key, value in conninfo_to_dict(dsn).items()
        if key in _LIBPQ_VARIABLES and value is not None
    }
    return {
        **{k: v for k, v in os.environ.items() if k not in _LIBPQ_VARIABLES.values()},
        **variables,
    }


__all__ = [
    "DatabaseNotRunning",
    "asyncpg_url",
    "check_reachable",
    "embedded",
    "ensure_started",
    "is_running",
    "libpq_environment",
    "running",
]
