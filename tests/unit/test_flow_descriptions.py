"""The forms of the flows are computed once for an installation, not once for a state folder."""

import sys
from pathlib import Path
from typing import Any

import pytest

from twezah.stack import flow_descriptions
from twezah.stack.flow_descriptions import descriptions

FLOWS: dict[str, Any] = {"flows/sync.py:sync_system": {"name": "sync-system", "schema": {}}}


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the flows were imported; the interpreter's folder is a temporary one."""
    times: list[int] = []

    def described() -> Any:
        times.append(1)
        return FLOWS

    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(flow_descriptions, "_described_elsewhere", described)
    return times


def test_every_state_folder_finds_what_one_has_computed(
    tmp_path: Path, computed: list[int]
) -> None:
    assert descriptions(tmp_path / "one", "now") == FLOWS
    assert descriptions(tmp_path / "another", "now") == FLOWS
    assert len(computed) == 1
    assert descriptions(tmp_path / "one", "after a change of the sources") == FLOWS
    assert len(computed) == 2


def test_an_interpreter_of_others_is_left_alone(tmp_path: Path, computed: list[int]) -> None:
    (tmp_path / "prefix").write_text("nobody can make a folder in here")
    for _ in range(2):
        assert descriptions(tmp_path / "home", "now") == FLOWS
    assert len(computed) == 1


def test_what_cannot_be_read_is_computed_again(tmp_path: Path, computed: list[int]) -> None:
    descriptions(tmp_path, "now")
    for text in ("", "[]", '{"digest": "now"}', "\xff"):
        (tmp_path / "prefix/share/twezah/flows.json").write_text(text, encoding="latin-1")
        assert descriptions(tmp_path, "now") == FLOWS
    assert len(computed) == 5
