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

    run_id: str
    connection: str
    kind: Literal["poll", "window", "replay"]
    started_at: datetime
    system: str | None = None
    account: str | None = None
    sync_id: int | None = None
    records: int = 0
    new_sales: int = 0
    changed_sales: int = 0
    rejected: int = 0
    entries: int = 0
    points: int = 0
    calls: int = 0
    failed_calls: int = 0
    throttled: int = 0
    response_ms: Sequence[int] = field(default=())
    error: str | None = None


def add(connection: DbConnection, attempt: Attempt) -> None:
    """Appends it; the caller commits."""
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
