"""Settings: what the environment can say, and what it must not leak."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from twezah.settings import DatabaseNotRunning, Settings, embedded_dsn


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of the developer's shell."""
    for name in (
        "TWEZAH_DATABASE_URL",
        "TWEZAH_HOME",
        "TWEZAH_PREFECT_PORT",
        "TWEZAH_SECRET_KEY",
        "PREFECT_API_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("clean_environment")
def test_defaults_are_loopback_and_embedded() -> None:
    """Nothing set: everything on this machine, under one folder of the checkout."""
    found = Settings()
    assert found.is_embedded and found.starts_prefect
    assert found.api_url == "http://127.0.0.1:4200/api"
    assert found.ui_url == "http://127.0.0.1:4200"
    assert found.home.name == ".twezah" and found.home.is_absolute()


def test_another_prefect_and_another_database(clean_environment: pytest.MonkeyPatch) -> None:
    """PREFECT_API_URL and TWEZAH_DATABASE_URL replace ours; the password shows nowhere."""
    clean_environment.setenv("PREFECT_API_URL", "https://prefect.example/api")
    clean_environment.setenv("TWEZAH_DATABASE_URL", "postgresql://app:hunter2@db.example/ledger")
    found = Settings()
    assert not found.starts_prefect and found.ui_url == "https://prefect.example"
    assert found.dsn() == "postgresql://app:hunter2@db.example/ledger"
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWEZAH_PREFECT_PORT", "70000"),
        ("TWEZAH_PREFECT_PORT", "8765"),
        ("TWEZAH_DATABASE_URL", "mysql://app:hunter2@db.example/ledger"),
        ("TWEZAH_REGION", "Angola"),
    ],
    ids=["port too high", "same port twice", "not postgres", "not a region"],
)
def test_wrong_settings_are_refused_without_their_value(
    clean_environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A refused value may be a secret: the message does not repeat it."""
    clean_environment.setenv(name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


def test_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    """Several processes may want it first; all get the same one."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: Settings(home=tmp_path).fernet_key(), range(16)))
    assert len(keys) == 1
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret.key"]


def test_dsn_of_a_stopped_embedded_database_names_the_remedy(tmp_path: Path) -> None:
    """Not a connection error from deep inside a driver."""
    with pytest.raises(DatabaseNotRunning, match="twezah up"):
        embedded_dsn(tmp_path, "twezah")


def test_dsn_survives_spaces_in_the_socket_folder(tmp_path: Path) -> None:
    """The folder is a query parameter and is quoted like one."""
    record = {"socket_dir": "/tmp/a b&c", "port": 5432, "user": "postgres", "pid": 1}
    (tmp_path / "postgres.json").write_text(json.dumps(record))
    assert embedded_dsn(tmp_path, "twezah") == "postgresql://postgres@/twezah?host=%2Ftmp%2Fa%20b%26c&port=5432"


def test_children_get_our_folders_and_no_telemetry(tmp_path: Path) -> None:
    """~/.prefect is never theirs; what an operator set for the log shipper stays."""
    child = Settings(home=tmp_path).child_environment({"PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "9"})
    assert child["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert child["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert child["GX_ANALYTICS_ENABLED"] == "false"
    assert child["PREFECT_LOGGING_TO_API_BATCH_INTERVAL"] == "9"
