"""Advisory file locks.

The kernel drops them with their holder, so kill -9 leaves nothing stale behind.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """A `flock` on `path`, shared or exclusive.

    It is taken once at a time, and dropped on `release` or when the process dies.
    """

    def __init__(self, path: Path) -> None:
        """Name the lock file; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, timeout_seconds: float | None = None) -> bool:
        """Take the lock; True when taken.

        Args:
            shared: Together with other shared holders.
            timeout_seconds: 0 tries once, None waits for ever.

        """
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(self._descriptor, mode | (0 if deadline is None else fcntl.LOCK_NB))
            except BlockingIOError:
                if deadline is None or time.monotonic() >= deadline:
                    self.release()
                    return False
                time.sleep(0.05)
            else:
                return True

    def release(self) -> None:
        """Drop the lock; harmless when not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def is_free(self) -> bool:
        """True when nobody holds it in either mode at this moment."""
        probe = FileLock(self.path)
        try:
            return probe.acquire(timeout_seconds=0)
        finally:
            probe.release()

    def __enter__(self) -> Self:
        """Take it exclusively, waiting as long as it takes."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop it."""
        self.release()


@contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[FileLock]:
    """Hold the lock on `path` for the duration of the block."""
    lock = FileLock(path)
    lock.acquire(shared=shared)
    try:
        yield lock
    finally:
        lock.release()
