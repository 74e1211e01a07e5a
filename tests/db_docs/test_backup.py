"""A backup brings back every row, byte for byte, and the key; it never overwrites."""

import shutil
import stat
from pathlib import Path

import psycopg
import pyrage
import pytest
from psycopg import sql

from settings import Settings
from sql import standby
from sql.db import connect
from twezah.stack.backup import backup, restore
from twezah.stack.backup_encryption import (
    identity_of_file,
    passphrase_recipients,
    recipients_of,
)
from twezah.stack.errors import StackError
from twezah.stack.postgres import running

TABLES = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
    "WHERE schemaname IN ('billing', 'loyalty') ORDER BY 1"
)
GUARDS = (
    "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
)
GRANTS = (
    "SELECT table_name, privilege_type FROM information_schema.role_table_grants "
    "WHERE grantee = 'analyst' ORDER BY 1, 2"
)


def contents(dsn: str) -> dict[str, bytes]:
    """Every table as COPY writes it, in an order of its own; triggers and privileges."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        found = {name: b"" for (name,) in cursor.execute(TABLES.encode()).fetchall()}
        for name in found:
            one = sql.SQL("COPY (SELECT t.* FROM {} t ORDER BY t::text) TO STDOUT").format(
                sql.Identifier(*name.split("."))
            )
            with cursor.copy(one) as copy:
                found[name] = b"".join(copy)
        for kind, query in (("triggers", GUARDS), ("grants", GRANTS)):
            found[kind] = repr(cursor.execute(query.encode()).fetchall()).encode()
    return found


def test_there_and_back(guide_settings: Settings, guide_database: str, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", Settings(home=tmp_path / "other")
    assert [file.name for file in backup(guide_settings, kept)] == [
        "ledger.dump",
        "prefect.dump",
        "secret.key",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept.iterdir()} == {0o600}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    restore(other, kept)
    with running(other) as dsn:
        before, after = contents(guide_database), contents(dsn)
        assert len(before["loyalty.award_entry"].splitlines()) == 6
        assert before.pop("billing.standby") == b"", "the original is live"
        assert b"restored from a backup" in after.pop("billing.standby"), "a copy stands by"
        assert after == before
        with (
            psycopg.connect(dsn) as connection,
            pytest.raises(psycopg.Error, match=r"append-only|refuse|never"),
        ):
            connection.execute("DELETE FROM loyalty.award_entry")
    assert other.fernet_key() == guide_settings.fernet_key()
    with pytest.raises(StackError, match="has a database"):
        restore(other, kept)
    with pytest.raises(StackError, match="exists"):
        backup(guide_settings, kept)
    shutil.rmtree(other.home)


def test_a_copy_that_takes_over_is_live(
    guide_settings: Settings, guide_database: str, tmp_path: Path
) -> None:
    """`--take-over`, and `go-live` later; the audit log has both."""
    kept = tmp_path / "kept"
    backup(guide_settings, kept)
    other = Settings(home=tmp_path / "other")
    restore(other, kept, take_over=True)
    with running(other) as dsn, connect(dsn) as connection:
        assert standby.read(connection) is None
        (number,) = connection.execute(
            "SELECT nextval(pg_get_serial_sequence('loyalty.change', 'change_no'))"
        ).fetchone() or (0,)
        assert number > 10**9, "what the original published meanwhile keeps its numbers"
        standby.begin(connection)
        state = standby.read(connection)
        assert state is not None and "twezah go-live" in state.to_text()
        assert standby.end(connection) and not standby.end(connection)
        connection.commit()
        operations = connection.execute(
            "SELECT operation FROM audit.entry ORDER BY entry_no DESC LIMIT 2"
        ).fetchall()
        assert operations == [("standby.end",), ("standby.begin",)]
    shutil.rmtree(other.home)


def test_a_broken_dump_is_said(tmp_path: Path) -> None:
    for name in ("ledger.dump", "secret.key"):
        (tmp_path / name).write_bytes(b"garbage\n")
    with pytest.raises(StackError, match="pg_restore failed"):
        restore(Settings(home=tmp_path / "home"), tmp_path)
    assert (
        not (tmp_path / "home" / "pg").exists() and not (tmp_path / "home" / "secret.key").exists()
    )


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"ledger\.dump, secret\.key missing"):
        restore(Settings(home=tmp_path / "home"), tmp_path)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("by", ["recipient", "passphrase"])
def test_an_encrypted_backup(
    guide_settings: Settings, guide_database: str, tmp_path: Path, by: str
) -> None:
    """Nothing in it can be read; what opens it brings everything back, and nothing else does."""
    kept, other = tmp_path / "kept", Settings(home=tmp_path / "other")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"# created\n{identity}\n")
    (tmp_path / "wrong").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    if by == "recipient":
        recipients = recipients_of([str(identity.to_public())])
        right = {"identity": identity_of_file(tmp_path / "identity")}
        wrong = {"identity": identity_of_file(tmp_path / "wrong")}
    else:
        recipients = passphrase_recipients("correct horse")
        right, wrong = {"passphrase": "correct horse"}, {"passphrase": "battery staple"}
    names = [file.name for file in backup(guide_settings, kept, recipients)]
    expected = ["ledger.dump.age", "prefect.dump.age", "secret.key.age"]
    assert names == sorted([*expected, *(["identity.age"] if by == "passphrase" else [])])
    everything = b"".join(file.read_bytes() for file in kept.iterdir())
    assert b"PGDMP" not in everything and guide_settings.fernet_key() not in everything
    for given in (wrong, {}):
        with pytest.raises(StackError):
            restore(other, kept, **given)
        assert not (other.home / "secret.key").exists() and not (other.home / "pg").exists()
    restore(other, kept, **right)
    with running(other) as dsn:
        before, after = contents(guide_database), contents(dsn)
        before.pop("billing.standby"), after.pop("billing.standby")
        assert after == before
    assert other.fernet_key() == guide_settings.fernet_key()
    shutil.rmtree(other.home)


def test_what_is_no_key_of_age(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no public key"):
        recipients_of(["age1short"])
    with pytest.raises(StackError, match="holds no identity"):
        identity_of_file(tmp_path / "missing")
