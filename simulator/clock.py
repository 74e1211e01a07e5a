"""Clocks a simulated world can run on: the machine's, or one that a test moves."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: Returns the present instant, aware and in UTC.
Now = Callable[[], datetime]
#: Waits that many seconds.
Sleep = Callable[[float], None]


def system_now() -> datetime:
    """The machine's present instant in UTC."""
    return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved; calling it gives the instant, `sleep` moves it."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock needs an aware datetime")
        self._now = start.astimezone(UTC)

    def __call__(self) -> datetime:
        """The instant it stands at."""
        return self._now

    def advance(
        self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0
    ) -> datetime:
        """Moves the clock forward and returns the new instant."""
        self._now += timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        return self._now

    def set(self, instant: datetime) -> None:
        """Moves the clock to an instant, forward or back."""
        self._now = instant.astimezone(UTC)

    def sleep(self, seconds: float) -> None:
        """Stands in for `time.sleep`."""
        self.advance(seconds=seconds)


system_sleep: Sleep = time.sleep
