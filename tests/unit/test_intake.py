"""What the audit says of an event whose sender stopped waiting while it was stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from api.attempts import Attempt
from api.client_address import Source
from api.intake import Intake, _Waiting
from sql.webhooks import NewEvent


class Database:
    """Stores event 7; while it does, `meanwhile` happens."""

    def __init__(self, meanwhile: Any) -> None:
        self.meanwhile, self.saved = meanwhile, list[dict[str, Any]]()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Database"]:
        yield self

    transaction = connection

    async def execute(self, _statement: bytes, parameters: dict[str, Any]) -> "Database":
        if "outcomes" in parameters:
            self.saved.append(parameters)
            self.meanwhile()
        return self

    async def fetchall(self) -> list[tuple[int, str, int]]:
        return [(1, "id:a", 7)]


async def committed(*, gone: bool) -> tuple[Attempt, Database]:
    event = NewEvent(
        endpoint_no=1,
        dedup_key="id:a",
        kind="sale",
        headers={},
        body=b"{}",
        source_ip=None,
        received_at=datetime.now(UTC),
    )
    waiting = _Waiting(event, Attempt("POST", Source(None)), deadline=0)

    def meanwhile() -> None:
        if gone:
            waiting.event_no.cancel()
            waiting.attempt.outcome = "not_stored"
            waiting.attempt.close(503)

    database = Database(meanwhile)
    await Intake(database)._commit([waiting])  # type: ignore[arg-type]
    return waiting.attempt, database


def test_who_waited_is_recorded_with_the_event() -> None:
    attempt, database = asyncio.run(committed(gone=False))
    assert (attempt.outcome, attempt.status, attempt.event_no, attempt.recorded) == (
        "stored",
        200,
        7,
        True,
    )
    assert database.saved[0]["outcomes"] == ["stored"]


def test_who_stopped_waiting_is_recorded_as_told() -> None:
    """Its event is stored and in the audit; the answer it got is in there as well, and never as a second "stored"."""
    attempt, database = asyncio.run(committed(gone=True))
    assert (attempt.outcome, attempt.status, attempt.recorded) == ("not_stored", 503, False)
    assert (database.saved[0]["outcomes"], database.saved[0]["statuses"]) == (["stored"], [200])
