"""The systemd unit, and what `up` tells systemd."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from settings import Settings, settings
from twezah.cli import app
from twezah.stack.systemd_unit import notify, unit


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    """systemd itself has nothing to say against it, also where a path has a space."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    file = tmp_path / "twezah.service"
    for home, user in ((tmp_path / "state of things", "daemon"), (tmp_path / "state", "root")):
        home.mkdir()
        file.write_text(unit(Settings(home=home), user))
        result = subprocess.run(
            ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
        )
        complaints = [line for line in result.stderr.splitlines() if "twezah.service" in line]
        assert (result.returncode, complaints) == (0, [])


def test_it_starts_again_for_ever_and_confines_an_ordinary_user(tmp_path: Path) -> None:
    text = unit(Settings(home=tmp_path), "twezah")
    for line in (
        "Type=notify",
        "Restart=always",
        "RestartPreventExitStatus=2",
        "KillMode=mixed",
        "User=twezah",
    ):
        assert f"\n{line}\n" in text
    assert f'ReadWritePaths="{tmp_path}" /tmp' in text and "ProtectSystem=strict" in text
    assert "ProtectSystem" not in unit(Settings(home=tmp_path), "root"), (
        "it has to make PostgreSQL's account"
    )


@pytest.mark.parametrize("name", ["100%", 'a"b', "a\nExecStartPre=/bin/sh", "$HOME"])
def test_a_path_that_systemd_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be given this path"):
        unit(Settings(home=tmp_path / name), "twezah")


def test_the_commands_say_what_they_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd does not run, `install` writes the unit and says so; `uninstall` of nothing is no error."""
    monkeypatch.setenv("TWEZAH_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", str(tmp_path))
    settings.cache_clear()
    try:
        runner = CliRunner()
        shown = runner.invoke(app, ["service", "show", "--user", "twezah"])
        assert shown.exit_code == 0 and "ExecStart=" in shown.stdout
        units = tmp_path / "units"
        installed = runner.invoke(
            app, ["service", "install", "--user", "twezah", "--to", str(units)]
        )
        assert installed.exit_code == 4 and "systemd does not run here" in installed.stderr
        assert (units / "twezah.service").read_text() == shown.stdout
        gone = runner.invoke(app, ["service", "uninstall", "--to", str(tmp_path / "none")])
        assert gone.exit_code == 0 and "nothing was changed" in gone.stderr
    finally:
        settings.cache_clear()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    address = f"\0twezah-unit-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        notify("READY=1")
        assert channel.recv(100) == b"READY=1"
        for _ in range(2000):  # more than it holds: who does not read stops nobody
            notify("WATCHDOG=1")
    notify("WATCHDOG=1")  # nobody listens any more: no failure of ours
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
