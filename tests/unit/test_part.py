"""A part alone: which settings it needs, which parts run once, how they are started."""

import argparse
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from settings import Settings
from sql.standby import Standby
from twezah.stack.caretaker import Caretaker, Report
from twezah.stack.commands import server_command, server_environment
from twezah.stack.errors import AlreadyUp
from twezah.stack.locks import FileLock
from twezah.stack.part import Part, runs_once
from twezah.stack.part_settings import Name, SettingsMissing, require_shared
from twezah.stack.standby_pause import are_paused
from twezah.stack.systemd_unit import kept_alive

NAMES = get_args(Name)
PREFECT = {
    "PREFECT_API_AUTH_STRING": "admin:hunter2",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://p:hunter2@db/prefect",
}
SHARED: dict[str, Any] = {
    "database_url": "postgresql://t:hunter2@db/twezah",
    "prefect_api_url": "https://prefect.example.com/api",
    "secret_key": "hunter2",
    "data_key": "hunter2",
}
REDIS = "rediss://:hunter2@redis.example.com/0"


def settings_with(home: Path, **more: Any) -> Settings:
    return Settings(**{"home": home, **SHARED, **more})


@pytest.mark.parametrize("part", NAMES)
def test_a_part_that_is_told_everything_may_start(tmp_path: Path, part: Name) -> None:
    require_shared(settings_with(tmp_path, prefect_redis_url=REDIS), part, PREFECT)


@pytest.mark.parametrize(
    ("part", "unset", "told"),
    [
        ("prefect", "database_url", "TWEZAH_DATABASE_URL"),
        ("services", "prefect_redis_url", "TWEZAH_PREFECT_REDIS_URL"),
        ("services", "prefect_api_url", "PREFECT_API_URL"),
        ("caretaker", "secret_key", "TWEZAH_SECRET_KEY"),
        ("worker", "data_key", "TWEZAH_DATA_KEY_FILE"),
        ("worker", "secret_key", "TWEZAH_SECRET_KEY"),
        ("api", "secret_key", "TWEZAH_SECRET_KEY"),
        ("api", "prefect_api_url", "PREFECT_API_URL"),
    ],
)
def test_what_machines_share_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Name, unset: str, told: str
) -> None:
    """A key that each machine made for itself would be found out when it is too late."""
    for name in ("TWEZAH_DATA_KEY", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    given = {"prefect_redis_url": REDIS, unset: None}
    with pytest.raises(SettingsMissing) as caught:
        require_shared(settings_with(tmp_path, **given), part, PREFECT)
    assert told in str(caught.value) and "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing was made"


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("rediss://:hunter2@redis.example.com/0", True),
        ("rediss+sentinel://:hunter2@box1:26379,box2:26379/twezah/0", True),
        ("redis://:hunter2@localhost:6379/0", True),
        ("redis://127.0.0.1", True),
        ("redis://:hunter2@[::1]:6379/0", True),
        ("redis://:hunter2@redis.example.com/0", False),
        ("redis://10.0.0.11:6379/0", False),
        ("redis://localhost@redis.example.com/0", False),
        ("redis+sentinel://:hunter2@localhost:26379,box2:26379/twezah/0", False),
        ("redis://", False),
    ],
)
def test_redis_on_other_machines_needs_tls(tmp_path: Path, url: str, *, is_safe: bool) -> None:
    settings = settings_with(tmp_path, prefect_redis_url=url)
    if is_safe:
        require_shared(settings, "prefect", PREFECT)
        return
    with pytest.raises(SettingsMissing, match="without TLS") as caught:
        require_shared(settings, "prefect", PREFECT)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("paused", "may_begin"), [([], False), ([True, False], False), ([True, True], True)]
)
def test_a_copys_worker_waits_until_all_is_paused(paused: list[bool], *, may_begin: bool) -> None:
    rows = [{"name": str(n), "tags": ["billing"], "paused": one} for n, one in enumerate(paused)]
    others = {"name": "of somebody else", "tags": [], "paused": False}
    assert are_paused([*rows, others]) is may_begin


def test_a_copy_stands_by_whoever_started_prefects_server(tmp_path: Path) -> None:
    """Another's deployments are not paused, but no schedule of it is switched on either."""
    settings = settings_with(tmp_path, prefect_api_url="http://127.0.0.1:9/api")
    caretaker = Caretaker(settings, argparse.Namespace(), Report(None))
    caretaker._follow_standby(Standby(datetime.now(UTC), "restored from a backup"))
    assert caretaker._is_standby
    caretaker._follow_standby(None)
    assert not caretaker._is_standby


def test_systemd_hears_of_a_part_while_it_works_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(60)
        with kept_alive("Preparing", every_seconds=0.01):
            for _ in range(3):
                assert heard.recv(200) == b"WATCHDOG=1\nSTATUS=Preparing"


@pytest.mark.parametrize("part", NAMES)
def test_the_password_of_prefect_is_one_for_all(tmp_path: Path, part: Name) -> None:
    with pytest.raises(SettingsMissing, match="PREFECT_API_AUTH_STRING"):
        require_shared(settings_with(tmp_path, prefect_redis_url=REDIS), part, {})


def test_without_redis_one_server_does_all_and_a_second_waits(tmp_path: Path) -> None:
    alone, several = settings_with(tmp_path), settings_with(tmp_path, prefect_redis_url=REDIS)
    assert [part for part in NAMES if runs_once(alone, part)] == [
        "prefect",
        "services",
        "caretaker",
    ]
    assert [part for part in NAMES if runs_once(several, part)] == ["services", "caretaker"]
    assert "--web-only" not in server_command(alone)
    assert "--web-only" in server_command(several, web_only=True)


def test_prefect_gets_redis_for_all_that_its_processes_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's own variable wins."""
    for name, value in PREFECT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_SERVER_DOCKET_URL", "redis://other/1")
    found = server_environment(settings_with(tmp_path, prefect_redis_url=REDIS))
    assert found["PREFECT_MESSAGING_BROKER"] == "prefect_redis.messaging"
    assert found["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == "prefect_redis.lease_storage"
    assert found["PREFECT_REDIS_MESSAGING_URL"] == REDIS
    assert found["PREFECT_SERVER_DOCKET_URL"] == "redis://other/1"
    assert found["PREFECT_SERVER_API_AUTH_STRING"] == "admin:hunter2"


def test_an_address_that_is_no_redis_is_refused_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_with(tmp_path, prefect_redis_url="http://a:hunter2@redis")
    assert "rediss://" in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["part.lock", "up.lock"])
def test_a_state_folder_is_of_one_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A second one there would end the first one's processes."""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter2")
    lock = FileLock(tmp_path / name)
    assert lock.acquire(timeout_seconds=0)
    try:
        with pytest.raises(AlreadyUp, match="TWEZAH_HOME"):
            Part(settings_with(tmp_path), "worker").serve()
    finally:
        lock.release()
