"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(attempt: Callable[[], T], what: str = "it", *, seconds: float) -> T:
    """The first result that is true. AssertionError where none is within the time."""
    deadline = time.monotonic() + seconds
    while not (result := attempt()):
        assert time.monotonic() < deadline, f"waited too long for {what}: {seconds:.0f} s"
        time.sleep(0.05)
    return result
