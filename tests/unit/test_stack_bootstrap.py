"""The set-up script: what a newcomer reads when the machine is not ready."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def load(name: str) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stub(folder: Path, stderr: str) -> str:
    """A program that fails with this message, in place of uv."""
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\necho '{stderr}' >&2\nexit 2\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("error: failed to write: No space left on device (os error 28)", "disk is full"),
        ("error: Failed to fetch: `https://pypi.org/simple/x/`", "package index"),
        ("error: something of its own", "message is above"),
    ],
    ids=["disk full", "no index", "other"],
)
def test_what_stopped_uv_is_said_in_words(tmp_path: Path, stderr: str, told: str) -> None:
    """And what to do about it."""
    bootstrap = load("bootstrap")
    with pytest.raises(bootstrap.Problem, match=told):
        bootstrap.run([stub(tmp_path, stderr)], dict(os.environ))


def test_a_wrong_python_is_refused_with_the_versions_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When no better one is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load("bootstrap").rerun_with_better_python([]) == 4
    assert "Twezah needs Python 3.11 to 3.13" in capsys.readouterr().err


def test_a_better_python_is_used_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same arguments."""
    other = tmp_path / "python3.12"
    other.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert load("bootstrap").rerun_with_better_python(["--group", "bench"]) == 0
    assert (tmp_path / "asked").read_text().splitlines()[-1].endswith("bootstrap.py --group bench")


@pytest.mark.parametrize("home", [None, "", "/nonexistent"], ids=["unset", "empty", "missing"])
def test_without_a_home_the_cache_is_in_the_checkout(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uv must not fail for want of a home folder, and never fetch a Python."""
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    environment = load("bootstrap").uv_environment(None)
    assert environment["UV_CACHE_DIR"] == str(SCRIPTS.parent / ".tools" / "uv-cache")
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"


def test_the_index_of_this_machine_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment before pip's files; PyPI itself counts as none."""
    uv_wheel = load("uv_wheel")
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert uv_wheel.configured_index() == "https://mirror.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pypi.org/simple/")
    assert uv_wheel.configured_index() is None


def test_an_unreachable_index_is_a_clean_failure() -> None:
    """No traceback: host and reason."""
    uv_wheel = load("uv_wheel")
    with pytest.raises(uv_wheel.Unreachable, match=r"127\.0\.0\.1"):
        uv_wheel.get("http://127.0.0.1:9/simple/uv/")


def test_a_second_run_ends_at_once() -> None:
    """With nothing changed, set-up costs a file read."""
    if not (SCRIPTS.parent / ".venv" / ".stamp").exists():
        pytest.skip("this environment was not made by scripts/bootstrap.py")
    result = subprocess.run(
        [sys.executable, str(SCRIPTS / "bootstrap.py")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == 0
