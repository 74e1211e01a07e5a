"""Applies the migrations in sql/migrations, each once, in order, whoever starts first.

A runner of our own, because the migrations are plain SQL that an analyst can read, and because the
lock must vanish with its holder: Alembic wants Python revisions, yoyo keeps its lock in a table
that a killed process leaves behind. Here one transaction holds an advisory lock, applies what is
missing and records it; a crash undoes all of it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_KEY = 7_404_2026  # any constant: two migrators of one database wait for each other


class MigrationChangedError(RuntimeError):
    """A migration that was applied has another text now.

    Write a new migration instead of editing one.
    """


@dataclass(frozen=True)
class Migration:
    """One file: `name` is its order, `digest` pins the text that was applied."""

    #: File name without `.sql`; migrations are applied in its order.
    name: str
    #: The text.
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations, in the order they are applied."""
    return [
        Migration(p.stem, p.read_text(encoding="utf-8")) for p in sorted(MIGRATIONS.glob("*.sql"))
    ]


def migrate(dsn: str) -> list[str]:
    """Brings the database at `dsn` (libpq form) up to date; returns the names applied now.

    Raises MigrationChangedError if an applied file was edited; psycopg.Error if the database
    refuses.
    """
    with psycopg.connect(dsn) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        connection.execute(
            """CREATE TABLE IF NOT EXISTS public.schema_migration (
                   name text PRIMARY KEY,
                   digest text NOT NULL,
                   applied_at timestamptz NOT NULL DEFAULT now());
               COMMENT ON TABLE public.schema_migration IS 'Migrations applied to this database.';
               COMMENT ON COLUMN public.schema_migration.name
                   IS 'File name in sql/migrations, without .sql.';
               COMMENT ON COLUMN public.schema_migration.digest
                   IS 'SHA-256 of the text that was applied.';
               COMMENT ON COLUMN public.schema_migration.applied_at IS 'When.'"""
        )
        applied: dict[str, str] = dict(
            connection.execute("SELECT name, digest FROM public.schema_migration").fetchall()
        )
        return [m.name for m in migrations() if _apply(connection, m, applied.get(m.name))]


def is_current(connection: psycopg.Connection) -> bool:
    """Whether all migrations are applied."""
    try:
        rows = connection.execute("SELECT name FROM public.schema_migration").fetchall()
    except psycopg.Error:
        return False
    return {row[0] for row in rows} >= {migration.name for migration in migrations()}


def _apply(connection: psycopg.Connection, migration: Migration, digest: str | None) -> bool:
    if digest == migration.digest:
        return False
    if digest is not None:
        raise MigrationChangedError(
            f"sql/migrations/{migration.name}.sql was changed after it was applied"
        )
    connection.execute(migration.sql.encode())
    connection.execute(
        "INSERT INTO public.schema_migration (name, digest) VALUES (%s, %s)",
        [migration.name, migration.digest],
    )
    return True
