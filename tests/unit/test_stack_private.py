"""Files of the state folder are their owner's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.private import readable_by_others
from twezah.stack.private_files import keep_private


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """As most systems have it; and as it was, afterwards."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_is_there_and_what_comes(tmp_path: Path) -> None:
    """Folders and files of every kind; a link is not followed, and nothing of others is touched."""
    other = tmp_path / "not-ours.txt"
    other.write_text("x")
    home = tmp_path / "home"
    for name in ("logs/up.log", "prefect/storage/result", "exports/a/sales.csv", "up.json"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (home / "own-notes.txt").write_text("x")
    (home / "logs" / "link").symlink_to(other)
    keep_private(home)
    (home / "logs" / "new.log").write_text("x")
    (home / "logs" / "new").mkdir()
    assert readable_by_others(home) == ["own-notes.txt"]
    assert other.stat().st_mode & 0o777 == 0o644
