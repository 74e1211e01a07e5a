"""Settings: what the environment can say, and what it must not leak."""

import json
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.exposure_check import UnsafeError
from settings import DatabaseNotRunning, Settings, embedded_dsn
from twezah.stack.commands import server_environment
from twezah.stack.exposure import require_prefect_safe


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
    assert not found.has_front_page  # its password is not known here
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
    assert (
        embedded_dsn(tmp_path, "twezah")
        == "postgresql://postgres@/twezah?host=%2Ftmp%2Fa%20b%26c&port=5432"
    )


def test_children_get_our_folders_and_no_telemetry(tmp_path: Path) -> None:
    """~/.prefect is never theirs; what an operator set for the log shipper stays."""
    child = Settings(home=tmp_path).child_environment(
        {"PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "9"}
    )
    assert child["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert child["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert child["GX_ANALYTICS_ENABLED"] == "false"
    assert child["PREFECT_LOGGING_TO_API_BATCH_INTERVAL"] == "9"


ASKED_FIRST = (
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED",
)


def test_only_a_server_of_ours_is_not_asked_first(tmp_path: Path) -> None:
    """For its release and for CSRF tokens; a server of others may differ in both."""
    own = Settings(home=tmp_path)
    child = own.child_environment({})
    assert [child[name] for name in ASKED_FIRST] == ["false", "false"]
    assert own.child_environment({ASKED_FIRST[0]: "true"})[ASKED_FIRST[0]] == "true"
    wants_tokens = own.child_environment({"PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"})
    assert ASKED_FIRST[0] not in wants_tokens
    other = Settings(home=tmp_path, prefect_api_url="https://prefect.example/api")
    assert not set(ASKED_FIRST) & set(other.child_environment({}))


def test_prefect_can_read_what_its_server_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that it cannot read would end every start of the server."""
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg:///nowhere")
    given = server_environment(Settings(home=tmp_path))
    code = (
        "from prefect.settings import get_current_settings as s; "
        "print(s().server.services.scheduler.min_scheduled_time.total_seconds())"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    assert float(ended.stdout) == 900


def test_the_password_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """One for each state folder; our own server asks for it, a server of others for its own."""
    first = Settings(home=tmp_path).prefect_auth_string({})
    assert first == Settings(home=tmp_path).prefect_auth_string({})
    assert first is not None and re.fullmatch(r"admin:[\w-]{32}", first)
    assert (tmp_path / "prefect.password").stat().st_mode & 0o777 == 0o600
    assert Settings(home=tmp_path / "other").prefect_auth_string({}) != first
    assert first not in repr(Settings(home=tmp_path))


def test_children_get_the_password_in_their_environment(tmp_path: Path) -> None:
    """An operator's own wins, for the server and for those who ask it."""
    own = Settings(home=tmp_path)
    assert own.child_environment({})["PREFECT_API_AUTH_STRING"] == own.prefect_auth_string({})
    child = Settings(home=tmp_path, prefect_api_url=own.api_url)  # as a child process sees itself
    assert child.prefect_auth_string({}) == own.prefect_auth_string({})
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        assert own.child_environment({name: "me:mine"})["PREFECT_API_AUTH_STRING"] == "me:mine"


def test_another_prefect_server_gets_nothing_of_ours(tmp_path: Path) -> None:
    """Its operator's password, if there is one; ours is not even made."""
    other = Settings(home=tmp_path, prefect_api_url="https://prefect.example/api")
    assert "PREFECT_API_AUTH_STRING" not in other.child_environment({})
    given = other.child_environment({"PREFECT_API_AUTH_STRING": "me:theirs"})
    assert given["PREFECT_API_AUTH_STRING"] == "me:theirs"
    assert not (tmp_path / "prefect.password").exists()


@pytest.mark.parametrize(
    ("values", "safe"),
    [
        ({}, True),
        ({"prefect_host": "::1"}, True),
        ({"prefect_host": "0.0.0.0"}, False),
        ({"prefect_host": "192.0.2.1"}, False),
        ({"prefect_host": "0.0.0.0", "prefect_trusted_proxies": "10.0.0.0/8"}, True),
        ({"prefect_host": "0.0.0.0", "prefect_plain_http": True}, True),
        ({"prefect_host": "0.0.0.0", "prefect_api_url": "https://prefect.example/api"}, True),
    ],
)
def test_other_machines_reach_prefect_only_over_tls(
    tmp_path: Path, values: dict[str, Any], *, safe: bool
) -> None:
    """As with the HTTP API: a certificate, a proxy, or a setting that says so."""
    settings = Settings(home=tmp_path, **values)
    if safe:
        require_prefect_safe(settings)
    else:
        with pytest.raises(UnsafeError, match="TWEZAH_PREFECT_TLS_CERTIFICATE"):
            require_prefect_safe(settings)


def test_a_certificate_comes_with_the_name_it_is_for(tmp_path: Path) -> None:
    """Our own processes ask by that name, or the certificate would be refused."""
    files = {"prefect_tls_certificate": tmp_path / "c", "prefect_tls_key": tmp_path / "k"}
    with pytest.raises(ValidationError, match="TWEZAH_PREFECT_PUBLIC_URL"):
        Settings(home=tmp_path, **files)
    encrypted = Settings(
        home=tmp_path, prefect_host="0.0.0.0", prefect_public_url="https://p.example:4200/", **files
    )
    require_prefect_safe(encrypted)
    assert encrypted.api_url == "https://p.example:4200/api"
