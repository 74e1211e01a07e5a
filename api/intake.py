"""Stores webhook events, and answers each only after its commit.

Many events share one transaction. The audit log is written on the side.

While one transaction waits for the disk, the events that arrive meanwhile gather for the next: a
burst costs a few commits, and a single event waits for nobody.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import psycopg

from api.attempts import Attempt, Gathered, parameters
from api.database import AWAY, AsyncConnection, Pool
from sql.named_queries import query
from sql.webhooks import NewEvent, store_parameters

EVENTS_AT_ONCE = 256
BYTES_AT_ONCE = 8_000_000
#: More than this is refused at once: the sender tries again.
WAITING_MAX = 5_000
WAITING_BYTES_MAX = 64_000_000
#: Vendors give up after three seconds at the soonest.
STORE_SECONDS_MAX = 2.5
AUDIT_SECONDS = 0.25
log = logging.getLogger(__name__)


class NotStoredError(RuntimeError):
    """The event could not be stored in time, or there is no room; it must not be acknowledged."""


@dataclass(eq=False)
class _Waiting:
    """An event on its way into the database.

    `event_no` becomes its number, or None for a repeated delivery.
    """

    event: NewEvent
    attempt: Attempt
    deadline: float
    event_no: "asyncio.Future[int | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Intake:
    """One per process; `running` does the work."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self.audit = Gathered()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works until the context is left; finishes what was accepted, and writes the audit."""
        tasks = [
            asyncio.create_task(self._store_forever()),
            asyncio.create_task(self._audit_forever()),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in self._waiting:
                if not waiting.event_no.done():
                    waiting.event_no.set_exception(NotStoredError("the API is stopping"))
            await self._write_audit()

    async def store(self, event: NewEvent, attempt: Attempt) -> int | None:
        """The event's number once it is committed; None if it is known, which is as good.

        Raises NotStoredError; the event may still be stored then, and a repetition is recognised.
        """
        if len(self._waiting) >= WAITING_MAX or self._bytes + len(event.body) > WAITING_BYTES_MAX:
            raise NotStoredError("too many events are waiting")
        waiting = _Waiting(event, attempt, time.monotonic() + STORE_SECONDS_MAX)
        self._waiting.append(waiting)
        self._bytes += len(event.body)
        self._arrived.set()
        try:
            async with asyncio.timeout(STORE_SECONDS_MAX):
                return await waiting.event_no
        except TimeoutError:
            raise NotStoredError("the database took too long") from None

    async def _store_forever(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            try:
                await self._store(batch)
            except asyncio.CancelledError:
                _refuse(batch, "the API is stopping")
                raise
            except Exception as error:  # this task must not end; the waiting senders get an answer
                log.exception("events could not be stored: %s", type(error).__name__)
                _refuse(batch, type(error).__name__)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < EVENTS_AT_ONCE and size < BYTES_AT_ONCE:
            waiting = self._waiting.popleft()
            self._bytes -= len(waiting.event.body)
            if not waiting.event_no.done():  # otherwise its sender has gone
                batch.append(waiting)
                size += len(waiting.event.body)
        return batch

    async def _store(self, batch: list[_Waiting]) -> None:
        while True:
            try:
                await self._commit(batch)
            except AWAY as error:
                batch = [
                    waiting
                    for waiting in batch
                    if waiting.deadline > time.monotonic() and not waiting.event_no.done()
                ]
                if not batch:
                    return
                if isinstance(error, psycopg.Error):
                    with contextlib.suppress(Exception):
                        await self._pool.check()
                await asyncio.sleep(0.05)
            except psycopg.Error as error:
                if len(batch) == 1:
                    # No traceback: its text may hold data of the event.
                    log.error("an event cannot be stored: %s", type(error).__name__)  # noqa: TRY400
                    _refuse(batch, type(error).__name__)
                    return
                for waiting in batch:  # one event is at fault: each is stored alone
                    await self._store([waiting])
                return
            else:
                return

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        first: dict[tuple[int, str], _Waiting] = {}
        for waiting in batch:
            first.setdefault((waiting.event.endpoint_no, waiting.event.dedup_key), waiting)
        async with self._pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                query("webhooks", "store"),
                store_parameters([waiting.event for waiting in first.values()]),
            )
            numbers = {(row[0], row[1]): int(row[2]) for row in await cursor.fetchall()}
            stored = {id(waiting): numbers.get(key) for key, waiting in first.items()}
            # Copies: whoever waited too long was answered otherwise meanwhile, and the audit has
            #     that answer as well.
            rows = [_answered(waiting.attempt, stored.get(id(waiting))) for waiting in batch]
            await _save(connection, rows)
        for waiting, row in zip(batch, rows, strict=True):
            if not waiting.event_no.done():
                attempt = waiting.attempt
                attempt.event_no, attempt.outcome, attempt.recorded = (
                    row.event_no,
                    row.outcome,
                    True,
                )
                attempt.status, attempt.elapsed_ms, attempt.at = row.status, row.elapsed_ms, row.at
                waiting.event_no.set_result(row.event_no)

    async def _audit_forever(self) -> None:
        while True:
            await asyncio.sleep(AUDIT_SECONDS)
            await self._write_audit()

    async def _write_audit(self) -> None:
        rows = self.audit.take()
        if not rows:
            return
        try:
            async with self._pool.connection() as connection:
                await _save(connection, rows)
        except (*AWAY, psycopg.Error) as error:
            log.warning(
                "%d rows of the audit wait for the database: %s", len(rows), type(error).__name__
            )
            for attempt in rows:
                self.audit.add(attempt)


def _answered(attempt: Attempt, event_no: int | None) -> Attempt:
    """The attempt as it is answered once its event, or the one like it, is stored."""
    answered = replace(
        attempt, event_no=event_no, outcome="duplicate" if event_no is None else "stored"
    )
    answered.close(200)
    return answered


def _refuse(batch: Sequence[_Waiting], why: str) -> None:
    for waiting in batch:
        if not waiting.event_no.done():
            waiting.event_no.set_exception(NotStoredError(why))


async def _save(connection: AsyncConnection, attempts: Sequence[Attempt]) -> None:
    await connection.execute(query("api", "save_attempts"), parameters(attempts))
