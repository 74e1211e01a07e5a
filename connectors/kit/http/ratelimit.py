"""Keeps within a vendor's limits: so many requests in any window, and so many at once."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from connectors.kit.spec import RateLimit


@dataclass
class Turn:
    """The place of one request.

    `rest_seconds` is set where the vendor's answer says that nobody may ask again for so long.
    """

    rest_seconds: float = 0


class SharedLimit(Protocol):
    """Counts the requests of one account for all processes that share a database."""

    def enter(self) -> tuple[int, float]:
        """Lets a request in: (its number, 0); or (0, seconds after which to try again)."""

    def leave(self, number: int, rest_seconds: float) -> None:
        """Notes that a request was answered or given up; nobody is let in for `rest_seconds`."""


class TooLong(Exception):
    """The next turn is further away than the limiter waits; `wait_seconds` says how far."""

    def __init__(self, wait_seconds: float) -> None:
        self.wait_seconds = wait_seconds
        super().__init__(f"no turn within {wait_seconds:.0f} s")


class Limiter:
    """Makes requests wait so that the vendor's limits are kept, however slow the network is.

    All threads of one client share it. A request counts from being sent until the window's length
    after its answer came. Counted from sending alone, a late request and a quick one a window later
    reach the vendor closer together than they were sent. (A token bucket allows even twice the
    limit across a window's edge.) With `shared`, other processes' requests count too; windows are
    then counted there alone.
    """

    def __init__(
        self,
        limit: RateLimit,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        shared: SharedLimit | None = None,
        wait_seconds_max: float = float("inf"),
    ) -> None:
        if any(count < limit.concurrency for count, _ in limit.windows):
            raise ValueError("more requests at once than a window allows")
        self._shared = shared or _InProcess(limit, monotonic)
        self._slots = threading.BoundedSemaphore(limit.concurrency)
        self._sleep = sleep
        self._wait_seconds_max = wait_seconds_max

    @contextmanager
    def slot(self) -> Iterator[Turn]:
        """Waits for a turn, and holds one of the concurrent places while it is in use.

        Raises:
            TooLong: If the turn is further away than this limiter waits.
        """
        with self._slots:
            number = self._number()
            turn = Turn()
            try:
                yield turn
            finally:
                self._shared.leave(number, turn.rest_seconds)

    def _number(self) -> int:
        while True:
            number, wait_seconds = self._shared.enter()
            if wait_seconds <= 0:
                return number
            if wait_seconds > self._wait_seconds_max:
                raise TooLong(wait_seconds)
            self._sleep(wait_seconds)


class _InProcess:
    """The same counting in memory, for a client that shares its account with no other process.

    `rest_seconds` is not kept: the thread that was told to wait does so before it asks again.
    """

    def __init__(self, limit: RateLimit, monotonic: Callable[[], float]) -> None:
        self._windows = [
            (count, seconds, deque[float](maxlen=count)) for count, seconds in limit.windows
        ]
        self._lock = threading.Lock()
        self._under_way = 0
        self._monotonic = monotonic

    def enter(self) -> tuple[int, float]:
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
            return 0, wait_seconds

    def leave(self, number: int, rest_seconds: float) -> None:  # noqa: ARG002  the protocol's
        with self._lock:
            self._under_way -= 1
            now = self._monotonic()
            for _, _, answered in self._windows:
                answered.append(now)
