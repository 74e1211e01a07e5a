"""How runs that synchronise ended: one row for each attempt, kept for good."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final, Literal

from sql.db import DbConnection
from sql.named_queries import query

#: Response times kept of one attempt: of each request, or of so many in equal steps.
RESPONSES_MAX: Final = 100
_ERROR_MAX: Final = 4_000


@dataclass(frozen=True)
class Attempt:
    """One attempt. `error` None: it succeeded. `response_ms` are all of them, in any order."""

    #: Prefect flow run, or the command.
    run_id: str
    #: Name of the connection (its Prefect block).
    connection: str
    #: poll, window or replay.
    kind: Literal["poll", "window", "replay"]
    started_at: datetime
    system: str | None = None
    #: Account at the billing system.
    account: str | None = None
    #: Number of the synchronisation; None: it never began.
    sync_id: int | None = None
    #: Records that were read.
    records: int = 0
    #: Sales that were stored for the first time.
    new_sales: int = 0
    #: Sales of which a newer version was stored.
    changed_sales: int = 0
    #: Records that could not be used.
    rejected: int = 0
    #: Entries that were posted.
    entries: int = 0
    #: Sum of the points that were posted.
    points: int = 0
    #: Requests to the billing system.
    calls: int = 0
    #: Requests that failed for good.
    failed_calls: int = 0
    #: Requests that were told to slow down.
    throttled: int = 0
    #: Response times of some of the requests, milliseconds.
    response_ms: Sequence[int] = field(default=())
    #: Why it failed, without personal data; None: it did not.
    error: str | None = None


def add(connection: DbConnection, attempt: Attempt) -> None:
    """Appends the attempt; the caller commits."""
    values = asdict(attempt) | {
        "outcome": "succeeded" if attempt.error is None else "failed",
        "response_ms": quantiles(attempt.response_ms),
        "error": None if attempt.error is None else attempt.error[:_ERROR_MAX],
    }
    connection.execute(query("panel_pages", "add_attempt"), values)


def quantiles(values: Sequence[int]) -> list[int]:
    """All values, ascending, or RESPONSES_MAX of them in equal steps of rank."""
    ordered = sorted(values)
    if len(ordered) <= RESPONSES_MAX:
        return ordered
    return [
        ordered[(2 * step + 1) * len(ordered) // (2 * RESPONSES_MAX)]
        for step in range(RESPONSES_MAX)
    ]
