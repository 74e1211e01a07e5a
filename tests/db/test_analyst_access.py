"""The login of analysts by TCP: only the analyst, only reading, for good; on, rotated and off."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from settings import Settings, embedded_dsn
from sql import analyst_role
from sql.actor import acting_as
from sql.migrate import migrate
from tests.support.ports import free_ports
from twezah.stack import pginstall
from twezah.stack.analyst_access import Access, switch_off, switch_on
from twezah.stack.errors import PortTaken, StackError
from twezah.stack.postgres import embedded

WHO = "SELECT session_user::text, current_user::text"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server of its own with a ledger."""
    folder = tmp_path_factory.mktemp("access")
    with embedded(folder):
        migrate(embedded_dsn(folder, "twezah"))
        yield Settings(home=folder)


@pytest.fixture(scope="module")
def access(installation: Settings) -> Access:
    """The access, switched on."""
    return switch_on(installation, int(free_ports(1)[0]), "test")


@pytest.fixture
def session(installation: Settings, access: Access) -> Iterator[psycopg.Connection]:
    """A session as an analyst has it."""
    if pginstall.tcp_port(installation.home) is None:
        access = switch_on(installation, access.port, "test")
    with psycopg.connect(_current(installation, access), autocommit=True) as connection:
        yield connection


_PASSWORDS: dict[Path, Access] = {}


def _current(installation: Settings, access: Access) -> str:
    return _PASSWORDS.get(installation.home, access).url


#: Statement, and what PostgreSQL answers.
ATTACKS = [
    ("SET ROLE postgres", "permission denied to set role"),
    ("SET SESSION AUTHORIZATION postgres", "permission denied to set session authorization"),
    ("SELECT set_config('role', 'postgres', false)", "permission denied to set role"),
    ("SELECT set_config('session_authorization', 'postgres', false)", "permission denied"),
    ("ALTER ROLE analyst SUPERUSER", "permission denied"),
    ("ALTER ROLE analyst CONNECTION LIMIT -1", "permission denied"),
    ("CREATE ROLE mallory", "permission denied"),
    ("GRANT pg_read_all_data TO analyst", "permission denied"),
    ("GRANT postgres TO analyst", "permission denied"),
    ("SELECT pg_read_file('postgresql.conf')", "permission denied"),
    ("SELECT pg_read_binary_file('/etc/passwd')", "permission denied"),
    ("SELECT pg_ls_dir('.')", "permission denied"),
    ("SELECT * FROM pg_stat_file('PG_VERSION')", "permission denied"),
    ("COPY (SELECT 1) TO PROGRAM 'id'", "permission denied"),
    ("COPY (SELECT 1) TO '/x'", "permission denied"),
    ("CREATE EXTENSION dblink", "permission denied"),
    ("SELECT dblink_connect('dbname=twezah user=postgres')", "does not exist"),
    ("CREATE EXTENSION postgres_fdw", "permission denied"),
    ("CREATE SERVER s FOREIGN DATA WRAPPER x", "does not exist"),
    ("LOAD 'auto_explain'", "access to library"),
    ("DO LANGUAGE plpython3u 'import os'", "does not exist"),
    ("SELECT lo_import('/etc/passwd')", "permission denied"),
    ("SELECT lo_from_bytea(0, 'x')", "permission denied"),
    ("SELECT pg_advisory_lock(7404202)", "permission denied"),
    ("SELECT pg_try_advisory_lock(7404202)", "permission denied"),
    ("SELECT pg_notify('billing_webhook', '')", "permission denied"),
    ("CREATE TEMP TABLE t (x int)", "permission denied"),
    ("CREATE FUNCTION pg_temp.f(text) RETURNS bool LANGUAGE sql AS 'SELECT true'", "permission"),
    ("CREATE TABLE analytics.t (x int)", "permission denied"),
    ("CREATE SCHEMA s", "permission denied"),
    ("SELECT rolpassword FROM pg_authid", "permission denied"),
    ("SELECT * FROM pg_hba_file_rules", "permission denied"),
    ("SELECT phone FROM loyalty.member", "permission denied"),
    ("SELECT customer_external_id FROM billing.invoice", "permission denied"),
    ("SELECT * FROM billing.invoice", "permission denied"),
    ("SELECT body_zstd FROM billing.raw_page", "permission denied"),
    ("SELECT * FROM pg_largeobject", "permission denied"),
    ("DO $$ BEGIN LOCK TABLE billing.invoice IN EXCLUSIVE MODE; END $$", "permission denied"),
    ("ALTER SYSTEM SET listen_addresses = '*'", "permission denied"),
    ("ALTER DATABASE twezah SET search_path = ''", "must be owner"),
    ("SET temp_file_limit = -1", "permission denied"),
    ("SELECT pg_reload_conf()", "permission denied"),
    ("SELECT pg_switch_wal()", "permission denied"),
    ("CHECKPOINT", "permission denied"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "answer"), ATTACKS, ids=[a for a, _ in ATTACKS])
def test_an_attack_is_refused(session: psycopg.Connection, attack: str, answer: str) -> None:
    """Also once the session has switched its own protections off."""
    session.execute("SET default_transaction_read_only = off")
    session.execute("SET statement_timeout = 0")
    with pytest.raises(psycopg.Error, match=answer):
        session.execute(attack.encode())
    for statement in ("RESET ROLE", "RESET SESSION AUTHORIZATION", "DISCARD ALL"):
        session.execute(statement.encode())
    assert session.execute(WHO).fetchone() == ("analyst", "analyst")


def test_nothing_that_it_may_call_runs_as_somebody_else(session: psycopg.Connection) -> None:
    """Neither a function with its owner's rights nor a language that reaches the machine."""
    foreign = session.execute(
        """SELECT oid::regprocedure::text FROM pg_proc
           WHERE prosecdef AND has_function_privilege(oid, 'EXECUTE')
           UNION ALL SELECT lanname::text FROM pg_language
           WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')"""
    ).fetchall()
    assert foreign == []
    roles = "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') AND rolname <> 'analyst'"
    assert session.execute(roles).fetchall() == []


def test_a_session_begins_with_reading_and_limits(session: psycopg.Connection) -> None:
    settings = session.execute(
        """SELECT current_setting('default_transaction_read_only'),
                  current_setting('statement_timeout'), current_setting('lock_timeout'),
                  current_setting('idle_in_transaction_session_timeout'),
                  current_setting('temp_file_limit'),
                  (SELECT rolconnlimit FROM pg_roles WHERE rolname = 'analyst')"""
    ).fetchone()
    assert settings == ("on", "15min", "10s", "10min", "10GB", 20)
    assert session.execute("SELECT count(*) FROM analytics.sale").fetchone() == (0,)


def test_statistics_show_no_values_of_hidden_columns(session: psycopg.Connection) -> None:
    seen = session.execute(
        """SELECT attname FROM pg_stats WHERE schemaname IN ('billing', 'loyalty')
           AND attname IN ('phone', 'customer_external_id', 'external_id', 'invoice_number')"""
    ).fetchall()
    assert seen == []


def test_only_the_analyst_and_only_the_ledger(installation: Settings, access: Access) -> None:
    url = _current(installation, access)
    for user, database, password in (
        ("postgres", "twezah", ""),
        ("postgres", "prefect", ""),
        ("analyst", "prefect", None),
        ("analyst", "postgres", None),
        ("analyst", "twezah", "wrong"),
    ):
        changes: dict[str, str] = {"user": user, "dbname": database}
        changes |= {} if password is None else {"password": password}
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf|password|fe_sendauth"):
            psycopg.connect(psycopg.conninfo.make_conninfo(url, **changes), connect_timeout=5)


def test_a_transaction_that_will_not_end_is_ended(
    installation: Settings, session: psycopg.Connection
) -> None:
    """A session may switch its own timeouts off."""
    session.execute("SET idle_in_transaction_session_timeout = 0")
    session.execute("BEGIN")
    session.execute("SELECT 1")
    with psycopg.connect(embedded_dsn(installation.home, "twezah")) as connection:
        assert analyst_role.end_overlong(connection, 60) == 0
        assert analyst_role.end_overlong(connection, 0) >= 1
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_a_new_password_ends_the_old_one(installation: Settings, access: Access) -> None:
    """Open sessions end as well; what an analyst set for the role is set back."""
    old = _current(installation, access)
    with psycopg.connect(old, autocommit=True) as session:
        session.execute("SET default_transaction_read_only = off")
        session.execute("ALTER ROLE analyst SET statement_timeout = 0")
        with acting_as("user ana"):
            new = switch_on(installation, access.port, "test")
        _PASSWORDS[installation.home] = new
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(old, connect_timeout=5)
    with psycopg.connect(new.url) as session:
        assert session.execute("SHOW statement_timeout").fetchone() == ("15min",)
    with psycopg.connect(embedded_dsn(installation.home, "twezah")) as connection:
        text = repr(connection.execute("SELECT * FROM audit.entry").fetchall())
        last = "SELECT actor FROM audit.entry ORDER BY entry_no DESC LIMIT 1"
        assert connection.execute(last.encode()).fetchone() == ("user ana",)
    assert "analyst.access" in text and new.password not in text and old not in text
    log = (installation.home / "logs" / "postgres.log").read_text()
    assert new.password not in log and "SCRAM-SHA-256" not in log


def test_off_closes_the_port_and_everybody_else_goes_on(
    installation: Settings, access: Access
) -> None:
    """The address that our own processes hold stays the same, whatever the port is."""
    dsn = embedded_dsn(installation.home, "twezah")
    switch_off(installation, "test")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(_current(installation, access), connect_timeout=5)
    rules = (installation.home / "pg" / "pg_hba.conf").read_text().splitlines()
    assert rules[-1] == "local all all trust"
    assert psycopg.connect(dsn).close() is None
    _PASSWORDS[installation.home] = switch_on(installation, access.port, "test")
    assert embedded_dsn(installation.home, "twezah") == dsn
    assert psycopg.connect(dsn).close() is None
    assert psycopg.connect(_PASSWORDS[installation.home].url).close() is None


def test_a_port_of_another_program(installation: Settings) -> None:
    """It is refused before anything is changed, and the ledger starts without it later."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match="another program"):
            switch_on(installation, port, "test")


def test_the_ledger_starts_also_where_the_port_was_taken_meanwhile(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (tmp_path / pginstall.TCP_PORT_FILE).write_text(str(other.getsockname()[1]))
        with embedded(tmp_path):
            assert psycopg.connect(embedded_dsn(tmp_path, "twezah")).close() is None
    assert "belongs to another program" in (tmp_path / "logs" / "keeper.log").read_text()


def test_a_role_that_could_become_another_one_gets_no_password(installation: Settings) -> None:
    with psycopg.connect(embedded_dsn(installation.home, "twezah"), autocommit=True) as connection:
        connection.execute("GRANT pg_read_all_data TO analyst")
        try:
            with pytest.raises(analyst_role.NotSafeError, match="pg_read_all_data"):
                switch_on(installation, int(free_ports(1)[0]), "test")
        finally:
            connection.execute("REVOKE pg_read_all_data FROM analyst")


def test_a_server_of_ones_own_is_not_touched(tmp_path: Path) -> None:
    other = Settings(home=tmp_path, database_url="postgresql://u@db.example/ledger")
    with pytest.raises(StackError, match=r"docs/analysts\.md"):
        switch_on(other, 15432, "test")
