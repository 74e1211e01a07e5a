"""sql/schema.sql says what the migrations make, and all of it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sql import ledger, migrate
from sql.db import connect
from sql.schema import SCHEMA, SCHEMAS, schema_text
from tests.support.database import Databases
from twezah.stack import pginstall
from twezah.stack.postgres import libpq_environment

#: What a dump says and the text leaves out on purpose: partitions of months, settings of the dump.
_LEFT_OUT = re.compile(
    r"http_attempt_\d{6}|^(SET|SELECT pg_catalog|\\|CREATE SCHEMA public|CREATE ROLE)"
)


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    """A database without any table."""
    made = databases.create()
    yield made
    databases.drop(made)


def load(dsn: str, text: str) -> None:
    """Runs the statements of the text; those that name a later object wait for it."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET check_function_bodies = off")
        waiting = re.split(r";\n(?=\n|CREATE|GRANT|REVOKE)", text)
        while waiting:
            left = [statement for statement in waiting if not _runs(connection, statement)]
            assert len(left) < len(waiting), left[0]
            waiting = left


def _runs(connection: psycopg.Connection, statement: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.errors.Error:
        return False
    return True


def dumped(dsn: str) -> set[str]:
    """The statements of PostgreSQL's own dump of our schemas, without comments and partitions."""
    command = [
        str(pginstall.program("pg_dump")), "--schema-only", "--no-comments", "--no-owner",
        *(f"--schema={schema}" for schema in SCHEMAS),
    ]  # fmt: skip
    dump = subprocess.run(
        command, env=libpq_environment(dsn), capture_output=True, text=True, timeout=60, check=True
    ).stdout
    text = re.sub(r"^--.*\n", "", dump, flags=re.MULTILINE)
    # Neither the brackets in which a condition was written matter, nor the names of NOT NULL.
    text = re.sub(r"[()]| CONSTRAINT \w+_not_null(?= NOT NULL)", "", text)
    # Nor does the order in which rights were given to roles.
    statements = {part.strip() for part in re.split(r";\n\n|;\n(?=GRANT|REVOKE)", text)}
    return {part for part in statements if part and not _LEFT_OUT.search(part)}


def test_the_text_is_up_to_date(dsn: str) -> None:
    """If not: `python -m scripts.schema`."""
    with connect(dsn) as connection:
        assert schema_text(connection) == SCHEMA.read_text(encoding="utf-8")


def test_a_database_that_skipped_migrations_comes_up_the_same(
    dsn: str, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installations that have 0073 do not have 0070 and 0071 yet."""
    for migration in migrate.migrations():
        if migration.name < "0070" or migration.name == "0073_page_renewals":
            (tmp_path / f"{migration.name}.sql").write_text(migration.sql, encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "MIGRATIONS", tmp_path)
        assert migrate.migrate(empty)[-1] == "0073_page_renewals"
    assert migrate.migrate(empty)[0] == "0070_redemptions"
    assert dumped(empty) == dumped(dsn)
    with connect(empty) as connection:  # an existing installation keeps its rates
        (program,) = ledger.programs(connection)
    assert program.base_rate_bps.keys() >= {"AOA", "USD"}


def test_the_text_leaves_nothing_out(dsn: str, empty: str) -> None:
    """A database made of the text has the same dump as a migrated one."""
    load(empty, SCHEMA.read_text(encoding="utf-8"))
    assert dumped(empty) == dumped(dsn)
