"""`twezah psql --analyst`: the session is the analyst's own, on our server and on another one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from settings import Settings, embedded_dsn
from sql.migrate import migrate
from twezah.stack.analyst import analyst_environment
from twezah.stack.errors import StackError
from twezah.stack.pginstall import python_environment
from twezah.stack.postgres import embedded

WHO = "SELECT session_user, current_user"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server of its own with a ledger; roles belong to a server."""
    folder = tmp_path_factory.mktemp("analyst")
    with embedded(folder):
        migrate(embedded_dsn(folder, "twezah"))
        yield folder


def psql(home: Path, *statements: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`twezah psql --analyst` with these statements."""
    own = {k: v for k, v in python_environment().items() if not k.startswith(("TWEZAH_", "PG"))}
    commands = [part for statement in statements for part in ("-c", statement)]
    program = "from twezah.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "psql", "--analyst", "-XAtq", *commands],
        env={**own, "TWEZAH_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def is_the_analyst_for_good(run: subprocess.CompletedProcess[str]) -> bool:
    """Before and after going back to whoever logged in."""
    assert run.returncode == 0, run.stderr
    return run.stdout.split() == ["analyst|analyst", "analyst|analyst", "analyst|analyst"]


def test_on_the_embedded_server(home: Path) -> None:
    """Nobody to go back to, and nobody else to become."""
    statements = (WHO, "RESET ROLE", WHO, "RESET SESSION AUTHORIZATION", WHO)
    assert is_the_analyst_for_good(psql(home, *statements))
    for statement in ("SET ROLE postgres", "SET SESSION AUTHORIZATION postgres"):
        assert "permission denied" in psql(home, statement).stderr
    assert "permission denied" in psql(home, "SELECT phone FROM loyalty.member").stderr
    assert psql(home, "SELECT count(*) FROM analytics.sale").stdout.strip() == "0"


@pytest.fixture
def other_server(home: Path) -> Iterator[dict[str, str]]:
    """The same server, which asks the analyst for a password.

    Yields how our installation reaches it.
    """
    rules = home / "pg" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all analyst scram-sha-256\n{before}")
    with psycopg.connect(embedded_dsn(home, "postgres"), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
        yield {"TWEZAH_DATABASE_URL": embedded_dsn(home, "twezah")}
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")


def test_on_another_server(home: Path, other_server: dict[str, str], tmp_path: Path) -> None:
    """The role gets a password of the installation, which is nowhere in the server's log."""
    statements = (WHO, "RESET ROLE", WHO, "RESET SESSION AUTHORIZATION", WHO)
    for _ in range(2):
        assert is_the_analyst_for_good(psql(tmp_path, *statements, **other_server))
    settings = Settings(home=tmp_path, database_url=other_server["TWEZAH_DATABASE_URL"])
    password = analyst_environment(settings, settings.dsn())["PGPASSWORD"]
    assert len(password) > 40 and password not in (home / "logs" / "postgres.log").read_text()
    assert settings.fernet_key().decode() not in password


def test_a_login_of_the_administrators(
    home: Path, other_server: dict[str, str], tmp_path: Path
) -> None:
    """It must be the role itself: a superuser under another name is refused."""
    superuser = other_server["TWEZAH_DATABASE_URL"]
    wrong = Settings(home=tmp_path, database_url=superuser, analyst_database_url=superuser)
    with pytest.raises(StackError, match="does not log in as analyst"):
        analyst_environment(wrong, superuser)
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("ALTER ROLE analyst LOGIN PASSWORD 'of-the-administrator'")
        login = psycopg.conninfo.make_conninfo(
            superuser, user="analyst", password="of-the-administrator"
        )
        url = superuser.replace("postgres@", "analyst:of-the-administrator@")
        right = Settings(home=tmp_path, database_url=superuser, analyst_database_url=url)
        assert analyst_environment(right, superuser)["PGUSER"] == "analyst"
        connection.execute("GRANT pg_read_all_data TO analyst")
        try:
            with pytest.raises(StackError, match="may become another role"):
                analyst_environment(right, superuser)
        finally:
            connection.execute("REVOKE pg_read_all_data FROM analyst")
    assert psycopg.connect(login).close() is None
    assert "of-the-administrator" not in repr(right) and os.environ.get("PGPASSWORD") is None
