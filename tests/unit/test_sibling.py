"""The second process that maps: the same frames, and no harm if it dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1,
    reason="a sibling needs Linux and a second core",
)


def story(*events: str) -> tuple[int, dict[str, Any]]:
    """Exit code and what was told."""
    command = [sys.executable, "-m", "tests.support.sibling_story", *events]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


def gone(pid: int) -> bool:
    """Whether the process ends within a few seconds."""
    deadline = time.monotonic() + 5
    while (
        Path(f"/proc/{pid}").exists()
        and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    ):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_sibling_maps_the_same_frames_and_leaves_what_it_cannot_read_to_its_parent() -> None:
    code, told = story()
    assert code == 0
    assert told["same"]
    assert told["records"] == 150
    assert told["frames"] == ["invoices", "lines", "problems"]
    assert told["broken"]
    assert told["patient"]
    assert told["after"]
    assert gone(told["pid"])


def test_a_killed_sibling_is_missed_by_nobody() -> None:
    code, told = story("kill")
    assert (code, told["same"], told["after"]) == (0, True, False)


def test_a_sibling_ends_with_its_killed_parent() -> None:
    code, told = story("orphan")
    assert code == -9
    assert gone(told["pid"])
