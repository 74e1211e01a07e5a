"""The audit: a row for every attempt, without personal data.

Equal ones of the same second that proved nothing share one.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api.client_address import Source
from api.rate_limit import RateLimit


@dataclass
class Attempt:
    """One request, filled while it is answered."""

    method: str
    source: Source
    #: Path as documented, with names in place of values.
    route: str = "unknown"
    status: int = 0
    #: stored, duplicate, ...; or why it was refused.
    outcome: str = ""
    endpoint_no: int | None = None
    #: Event that was stored.
    event_no: int | None = None
    #: API key, where a valid one was shown.
    key_no: int | None = None
    body_bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    #: From the first byte to the answer, milliseconds.
    elapsed_ms: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: How many equal attempts the row stands for.
    repeats: int = 1
    #: It is in the audit already, in the transaction that stored its event.
    recorded: bool = False
    #: What is left of the limit that it was counted in last; None: it was not counted.
    rate_limit: RateLimit | None = None

    def close(self, status: int) -> None:
        """The request was answered: keeps status and duration."""
        self.status = status
        self.elapsed_ms = round((time.monotonic() - self.started) * 1000)
        self.at = datetime.now(UTC)

    @property
    def likeness(self) -> tuple[Any, ...]:
        """The key by which equal attempts share a row."""
        return (
            self.method, self.route, self.status, self.outcome, self.endpoint_no, self.event_no,
            self.key_no,
            self.source.network, self.at.replace(microsecond=0),
        )  # fmt: skip


class Gathered:
    """Attempts that wait to be written, a bounded number of rows."""

    def __init__(self, rows_max: int = 5_000) -> None:
        self._rows: dict[tuple[Any, ...], Attempt] = {}
        self._rows_max = rows_max
        #: Attempts for which there was no room: the database was away for long.
        self.lost = 0

    def add(self, attempt: Attempt) -> None:
        """Adds an attempt, or counts it in with an equal one.

        Those that proved who they are keep a row each; anyone may ask /health as often as he likes.
        """
        proven = attempt.status < 400 and (
            attempt.key_no is not None or attempt.event_no is not None
        )
        key = (id(attempt),) if proven else attempt.likeness
        counted = self._rows.get(key)
        if counted is not None:
            counted.repeats += attempt.repeats
            counted.elapsed_ms = max(counted.elapsed_ms, attempt.elapsed_ms)
            counted.body_bytes = max(counted.body_bytes, attempt.body_bytes)
        elif len(self._rows) >= self._rows_max:
            self.lost += attempt.repeats
        else:
            self._rows[key] = attempt

    def take(self) -> list[Attempt]:
        """Returns all attempts and forgets them."""
        rows, self._rows = list(self._rows.values()), {}
        return rows

    def __len__(self) -> int:
        return len(self._rows)


def parameters(attempts: Iterable[Attempt]) -> dict[str, list[Any]]:
    """Parameters of the query `save_attempts`."""
    rows = list(attempts)
    return {
        "attempt_ats": [attempt.at for attempt in rows],
        "methods": [attempt.method for attempt in rows],
        "routes": [attempt.route for attempt in rows],
        "statuses": [attempt.status for attempt in rows],
        "outcomes": [attempt.outcome for attempt in rows],
        "endpoint_nos": [attempt.endpoint_no for attempt in rows],
        "event_nos": [attempt.event_no for attempt in rows],
        "key_nos": [attempt.key_no for attempt in rows],
        "source_networks": [attempt.source.network for attempt in rows],
        "body_bytes": [attempt.body_bytes for attempt in rows],
        "elapsed_mss": [attempt.elapsed_ms for attempt in rows],
        "repeats": [attempt.repeats for attempt in rows],
    }
