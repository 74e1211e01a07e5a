"""Ledger databases for tests: one embedded server, the migrations applied once.

A conftest imports the fixtures: `from tests.support.database import databases, dsn`, or `emptied as
dsn`.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql

from settings import Settings, embedded_dsn
from sql.db import engine
from sql.migrate import migrate
from tests.support.books import Books
from twezah.stack.postgres import running

TEMPLATE = "migrated"
#: Empties what tests write, history included, and keeps what the migrations entered. To truncate
#: some seventy tables takes eight times as long as to delete the rows of those that have any.
EMPTY = """
DO $$ DECLARE place regclass; written boolean; BEGIN
    SET LOCAL session_replication_role = replica;
    FOR place IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 WHERE relkind = 'r' AND nspname IN ('billing', 'loyalty', 'audit')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', place) INTO written;
        IF written THEN EXECUTE format('DELETE FROM %s', place); END IF;
    END LOOP;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence
    WHERE pg_sequence_last_value(seqrelid) IS NOT NULL;
    INSERT INTO loyalty.program SELECT * FROM jsonb_populate_recordset(
        NULL::loyalty.program, current_setting('tests.shipped_program')::jsonb);
    SET LOCAL session_replication_role = origin;
    PERFORM audit.begin();
END $$
"""
_NUMBERS = itertools.count(1)


@dataclass
class Databases:
    """Makes databases on one server, and removes them."""

    dsn_of: Callable[[str], str]
    made: list[str] = field(default_factory=list)
    shared: str | None = None
    #: The program that the migrations enter, as JSON; a test may have changed it.
    shipped_program: str = "[]"

    def create(self, template: str = "template0") -> str:
        """A new database, a copy of `template`; returns its libpq DSN."""
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        self.made.append(name)
        return self.dsn_of(name)

    def migrated(self) -> str:
        """A new database with all migrations applied."""
        with psycopg.connect(self.dsn_of("postgres")) as connection:
            known = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", [TEMPLATE]
            ).fetchone()
        if known is None:
            self._run("CREATE DATABASE {}", TEMPLATE)
            migrate(self.dsn_of(TEMPLATE))
        return self.create(TEMPLATE)

    def emptied(self) -> str:
        """A migrated database that tests use one after the other, without what the last one wrote."""
        if self.shared is None:
            self.shared = self.migrated()
            self.shipped_program = _program(self.shared)
        with psycopg.connect(self.shared) as connection:
            connection.execute(
                "SELECT set_config('tests.shipped_program', %s, true)", [self.shipped_program]
            )
            connection.execute(EMPTY)
        return self.shared

    def drop(self, *dsns: str) -> None:
        """Removes these databases; without naming any, all but the shared one."""
        for name in [
            n
            for n in self.made
            if self.dsn_of(n) in dsns or (not dsns and self.dsn_of(n) != self.shared)
        ]:
            self.made.remove(name)
            engine(self.dsn_of(name)).dispose()
            self._run("DROP DATABASE {} WITH (FORCE)", name)

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn_of("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _program(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT jsonb_agg(p)::text FROM loyalty.program p").fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def server(settings: Settings) -> Iterator[Databases]:
    """The embedded server of a test session.

    Nothing in it outlives the session, so it need not wait for the disk.
    """
    with running(settings):
        with psycopg.connect(
            embedded_dsn(settings.home, "postgres"), autocommit=True
        ) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield Databases(lambda name: embedded_dsn(settings.home, name))


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The server. Every conftest that imports this shares it: the folder is the same."""
    with server(Settings(home=tmp_path_factory.getbasetemp() / "ledger")) as made:
        yield made


def with_older_rules(dsn: str) -> str:
    """Credits count at their own date, as in an installation that is older than `returned_sales`.

    And each of the usual currencies has points. So what a ledger must say can be told from each document alone.
    """
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers
        connection.execute(
            "UPDATE loyalty.program SET unlinked_credits = 'own_date', discount_lines = 'ignored',"
            """ base_rate_bps = base_rate_bps || '{"JPY": 100000, "KWD": 100000}'"""
        )
    return dsn


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """A migrated database of the test's own; it goes with all others that the test made."""
    yield databases.migrated()
    databases.drop()


@pytest.fixture
def emptied(databases: Databases) -> Iterator[str]:
    """A migrated database, empty but for the program; it takes a third of the time of a new one."""
    yield databases.emptied()
    databases.drop()


@pytest.fixture
def books(dsn: str) -> Books:
    """Empty books."""
    return Books(dsn)
