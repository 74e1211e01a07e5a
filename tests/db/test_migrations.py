"""Migrations: each once, whoever starts first; and a database that explains itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from loyalty.currency import EXPONENTS
from loyalty.program import TIER_RATE_BPS
from sql import ledger, migrate
from sql.db import connect
from tests.support.database import Databases

NAMES = [m.name for m in migrate.migrations()]
UNCOMMENTED = """
SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum >= 0
WHERE n.nspname IN ('billing', 'loyalty', 'analytics', 'audit', 'public')
  AND c.relkind IN ('r', 'v', 'm', 'p')
  AND coalesce(col_description(c.oid, a.attnum), '') = ''
UNION ALL
SELECT c.relname, '' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('billing', 'loyalty', 'analytics', 'audit', 'public')
  AND c.relkind IN ('r', 'v', 'm', 'p')
  AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''
ORDER BY 1, 2
"""


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    """A database without any table."""
    made = databases.create()
    yield made
    databases.drop(made)


def test_each_migration_is_applied_once(empty: str) -> None:
    assert migrate.migrate(empty) == NAMES
    assert migrate.migrate(empty) == []


def test_two_at_once(empty: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        applied = list(pool.map(migrate.migrate, [empty, empty]))
    assert sorted(applied, key=len) == [[], NAMES]


def test_two_databases_of_one_server_at_once(databases: Databases) -> None:
    both = [databases.create(), databases.create()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(migrate.migrate, both)) == [NAMES, NAMES]
    databases.drop(*both)


def test_an_edited_migration_is_refused(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for migration in migrate.migrations():
        (tmp_path / f"{migration.name}.sql").write_text(migration.sql, encoding="utf-8")
    monkeypatch.setattr(migrate, "MIGRATIONS", tmp_path)
    assert migrate.migrate(dsn) == []
    (tmp_path / f"{NAMES[1]}.sql").write_text("SELECT 1", encoding="utf-8")
    with pytest.raises(migrate.MigrationChangedError, match=NAMES[1]):
        migrate.migrate(dsn)


def test_a_failing_migration_leaves_nothing(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE kept (id int)", encoding="utf-8")
    (tmp_path / "0002_bad.sql").write_text(
        "CREATE TABLE lost (id int); SELECT 1 / 0", encoding="utf-8"
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", tmp_path)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.migrate(empty)
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT to_regclass('kept'), to_regclass('lost')").fetchone() == (
            None,
            None,
        )


def test_every_table_view_and_column_says_what_it_is(dsn: str) -> None:
    with connect(dsn) as connection:
        assert connection.execute(UNCOMMENTED).fetchall() == []


def test_currencies_agree_with_the_code(dsn: str) -> None:
    with connect(dsn) as connection:
        for code, exponent in EXPONENTS.items():
            row = connection.execute(
                "SELECT billing.major_units(12345, %s)::text", [code]
            ).fetchone()
            digits = str(12345)
            whole, part = digits[: len(digits) - exponent], digits[len(digits) - exponent :]
            assert row == (f"{whole}.{part}" if exponent else whole,), code
        (program,) = ledger.programs(connection)
    assert (program.currency, program.base_rate_bps) == ("AOA", {"AOA": 100_000})
    assert program.tier_rate_bps == TIER_RATE_BPS
    assert (program.entry_tier, program.rounding, program.basis) == ("lead", "down", "total")
