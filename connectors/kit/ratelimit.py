"""Keeps within a vendor's limits: so many requests in any window, so many at once."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from connectors.kit.spec import RateLimit


class Limiter:
    """Shared by all threads of one client; holds as the vendor counts, whatever the network does.

    A request counts from being sent until the window's length after its answer came. Counted from sending alone,
    a late request and a quick one a window later reach the vendor closer together than they were sent. (A token
    bucket allows even twice the limit across a window's edge.)
    """

    def __init__(self, limit: RateLimit, *, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if any(count < limit.concurrency for count, _ in limit.windows):
            raise ValueError("more requests at once than a window allows")
        self._windows = [(count, seconds, deque[float](maxlen=count)) for count, seconds in limit.windows]
        self._slots = threading.BoundedSemaphore(limit.concurrency)
        self._lock = threading.Lock()
        self._under_way = 0
        self._monotonic = monotonic
        self._sleep = sleep

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Waits for a turn, holds one of the concurrent places while in use."""
        with self._slots:
            while (wait_seconds := self._enter()) > 0:
                self._sleep(wait_seconds)
            try:
                yield
            finally:
                self._leave()

    def _enter(self) -> float:
        """Counts a request in and returns 0, or the seconds until it is worth asking again."""
        with self._lock:
            now = self._monotonic()
            wait_seconds = 0.0
            for count, seconds, answered in self._windows:
                while answered and answered[0] + seconds <= now:
                    answered.popleft()
                over = self._under_way + len(answered) + 1 - count
                if over > 0:
                    wait_seconds = max(wait_seconds, answered[over - 1] + seconds - now)
            if wait_seconds <= 0:
                self._under_way += 1
            return wait_seconds

    def _leave(self) -> None:
        with self._lock:
            self._under_way -= 1
            now = self._monotonic()
            for _, _, answered in self._windows:
                answered.append(now)
