"""Rate limits of incoming requests.

Token buckets in the database, so that all processes of the API share them.

A process takes some tokens at once and spends them without asking again; what it did not spend
within a second it forgets. So all processes together stay within the limit, and a burst costs a few
questions instead of one for each request.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from api.attempts import Attempt
from api.client_address import Source
from api.config import Config
from api.database import Pool, row
from api.problems import Problem, retry_later
from api.rate_limit import RateLimit

#: Subjects remembered in this process.
SUBJECTS_MAX = 10_000
#: A bucket holds what flows in within this time: so large is a burst.
BURST_SECONDS = 10.0
LEASE_SECONDS = 1.0
#: Tokens taken at once at most.
LEASE_MAX = 250


@dataclass
class _Share:
    """What this process may spend without asking, and when to ask again."""

    tokens: int = 0
    good_until: float = 0.0
    closed_until: float = 0.0
    #: Tokens left in the bucket when it was asked last, and when that was.
    left: float | None = None
    asked_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limits:
    """The limits as one process sees them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    async def wait_seconds(
        self, subject: str, per_minute: float, *, burst: float | None = None
    ) -> float:
        """Counts one request: 0 if it may pass, else the seconds until one may.

        Raises psycopg.Error.
        """
        share = self._share(subject)
        if (waiting := share.closed_until - time.monotonic()) > 0:
            return waiting
        async with share.lock:
            now = time.monotonic()
            if share.tokens > 0 and now < share.good_until:
                share.tokens -= 1
                return 0.0
            if (waiting := share.closed_until - now) > 0:
                return waiting
            per_second = per_minute / 60
            held = max(1.0, per_second * BURST_SECONDS) if burst is None else burst
            wanted = max(1, min(LEASE_MAX, int(held / 20)))
            parameters = {
                "subject": subject,
                "wanted": wanted,
                "per_second": per_second,
                "burst": held,
            }
            grant = await row(self._pool, "api", "take_tokens", parameters)
            assert grant is not None
            granted, waiting = int(grant[0]), float(grant[1])
            share.left, share.asked_at = float(grant[2]), time.monotonic()
            if granted == 0:
                # Not for longer than a second: other processes may leave some.
                share.closed_until = time.monotonic() + min(waiting, LEASE_SECONDS)
                return waiting
            share.tokens, share.good_until = granted - 1, time.monotonic() + LEASE_SECONDS
            return 0.0

    async def require(self, subject: str, per_minute: float, whose: str, attempt: Attempt) -> None:
        """Counts one request; raises Problem (429) if it may not pass.

        The attempt is told what is left.
        """
        waiting = await self.wait_seconds(subject, per_minute)
        attempt.rate_limit = self.left(subject, per_minute)
        if waiting > 0:
            raise too_many(whose, waiting)

    def left(self, subject: str, per_minute: float) -> RateLimit:
        """What is left, as far as this process knows; other processes may have used some since."""
        per_second = per_minute / 60
        burst = max(1, int(per_second * BURST_SECONDS))
        window_seconds = max(int(BURST_SECONDS), round(1 / per_second))
        share = self._shares.get(subject)
        if share is None or share.left is None:
            return RateLimit(burst, window_seconds, burst)
        now = time.monotonic()
        held = share.tokens if now < share.good_until else 0
        tokens = share.left + per_second * (now - share.asked_at) + held
        return RateLimit(burst, window_seconds, max(0, min(burst, int(tokens))))

    def closed_seconds(self, subject: str) -> float:
        """Seconds for which this process knows that the subject has no tokens left."""
        share = self._shares.get(subject)
        return 0.0 if share is None else max(0.0, share.closed_until - time.monotonic())

    def _share(self, subject: str) -> _Share:
        share = self._shares.get(subject)
        if share is None:
            share = self._shares[subject] = _Share()
            while len(self._shares) > SUBJECTS_MAX:
                self._shares.popitem(last=False)
        self._shares.move_to_end(subject)
        return share


def source_subject(source: Source, config: Config) -> str:
    """The name under which requests of a sender's address are counted."""
    return f"source:{source.subject(config.key)}"


def too_many(whose: str, seconds: float) -> Problem:
    """The problem 429, with the seconds after which one more request may pass."""
    detail = f"The rate limit of {whose} is used up. Try again in {max(1, round(seconds + 0.5))} s."
    return retry_later("rate_limited", detail, status=429, seconds=seconds)
