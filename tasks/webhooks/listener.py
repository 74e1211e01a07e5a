"""The long-lived run that awards webhooks.

It listens and claims deliveries in batches, one batch per endpoint at a time.

A run of its own for every event would spend seconds on starting. Only one listens at a time;
whoever stores an event and finds nobody listening starts a run. One whose time is over asks for a
successor, and serves until that one is ready.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql as text

from sql import webhooks
from sql.db import DbConnection, connect
from sql.webhooks import ClaimedEvent
from tasks.webhooks.process import Connections, process

log = logging.getLogger(__name__)
#: Deliveries claimed at a time.
CLAIMED_AT_ONCE: Final = 1_000
#: Endpoints worked on at once, each in a thread.
ENDPOINTS_AT_ONCE: Final = 4
#: How long to wait for a new event, or for a batch under way, before looking again.
_WAIT_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.05
#: How long a run whose time is over waits for its successor, and the successor for it.
HANDOVER_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True)
class Pace:
    """How long a run stays."""

    #: It leaves so long after the last event...
    linger_seconds: float = 600
    #: ...and so long after its start, as soon as nothing is due (after twice that at the latest).
    life_seconds: float = 600
    #: How long it waits where another run listens, which then makes way for it.
    wait_seconds: float = 0


@dataclass
class Listening:
    """What a run did."""

    #: Another run listens, so this one did nothing.
    busy: bool = False
    #: Events are due, for the next run.
    left: bool = False
    #: Another run has taken over.
    relieved: bool = False
    #: Batches that were begun.
    batches: int = 0
    #: Deliveries in them.
    deliveries: int = 0
    #: What ended the run; [] for nothing.
    errors: list[BaseException] = field(default_factory=list)


def listen(
    dsn: str,
    run_id: str,
    connections: Connections,
    key: bytes,
    pace: Pace,
    on_batch: Callable[[str, int], None],
    successor: Callable[[], None] | None = None,
    beside: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Listening:
    """Awards webhooks until there are none for a while.

    Args:
        dsn: The ledger.
        run_id: The run, kept with what it posts.
        connections: The jobs of the accounts.
        key: Decrypts the webhooks' secrets.
        pace: How long the run stays.
        on_batch: Called for each batch that is begun, with its connection and its number of
            deliveries.
        successor: Called when the run's time is over, to start the next one.
        beside: Entered while this run is the one that listens: what else it does.

    Raises:
        psycopg.Error: What was claimed is claimed again by another run once its lease is over.
    """
    listening, wait_seconds = Listening(), pace.wait_seconds
    started = time.monotonic()
    relief = _Relief(pace, started, successor)
    while True:
        with _alone(dsn, wait_seconds) as connection:
            if connection is None:
                listening.busy = listening.batches == 0
                return listening
            with beside():
                _serve(connection, dsn, run_id, connections, key, relief, listening, on_batch)
        wait_seconds = 0
        # An event that was stored while this run was leaving started no other run: it was still
        # listening.
        with connect(dsn) as connection:
            due = webhooks.next_due_seconds(connection)
        listening.left = due is not None and due <= 0
        if listening.errors:
            raise listening.errors[0]
        if (
            listening.relieved
            or not listening.left
            or time.monotonic() - started > pace.life_seconds
        ):
            return listening


@dataclass
class _Relief:
    """When a run leaves.

    It leaves when it is quiet, or when its time is over and its successor is there (or does not
    come).
    """

    pace: Pace
    started: float
    successor: Callable[[], None] | None
    _asked: bool = False

    @property
    def age(self) -> float:
        return time.monotonic() - self.started

    def has_come(self, connection: DbConnection) -> bool:
        """Whether the successor waits; asks for it once the time is over."""
        if self.successor is None or self.age <= self.pace.life_seconds:
            return False
        if not self._asked:
            self._asked = True
            self.successor()
        return webhooks.is_awaited(connection)

    def is_over(self, quiet_seconds: float) -> bool:
        """Whether to leave, now that nothing is due or under way."""
        waited = 0.0 if self.successor is None else HANDOVER_SECONDS_MAX
        return (
            quiet_seconds > self.pace.linger_seconds or self.age > self.pace.life_seconds + waited
        )

    @property
    def takes_no_more(self) -> bool:
        """Whether the run has served for so long that it claims nothing more.

        Its successor, which waits, may begin then.
        """
        return self.age > 2 * self.pace.life_seconds + HANDOVER_SECONDS_MAX


@contextmanager
def _alone(dsn: str, wait_seconds: float) -> Iterator[DbConnection | None]:
    """A connection that listens for events, while no other run does.

    None if another run listens, and does not leave in time.
    """
    with connect(dsn) as connection:
        connection.autocommit = True
        try:
            with webhooks.claiming(connection, wait_seconds=wait_seconds) as held:
                if held:
                    connection.execute(
                        text.SQL("LISTEN {}").format(text.Identifier(webhooks.CHANNEL))
                    )
                yield connection if held else None
                if held and not connection.closed:
                    connection.execute("UNLISTEN *")
        finally:
            if not connection.closed:
                connection.autocommit = False


def _serve(
    connection: DbConnection,
    dsn: str,
    run_id: str,
    connections: Connections,
    key: bytes,
    relief: _Relief,
    listening: Listening,
    on_batch: Callable[[str, int], None],
) -> None:
    running: dict[Future[None], int] = {}
    quiet_since = time.monotonic()
    with ThreadPoolExecutor(ENDPOINTS_AT_ONCE, thread_name_prefix="webhooks") as pool:
        while not listening.errors:
            listening.relieved = relief.has_come(connection)
            leaving = listening.relieved or relief.takes_no_more
            claimed = [] if leaving else _claim(dsn, run_id, set(running.values()))
            for endpoint_no, batch in claimed:
                listening.batches += 1
                listening.deliveries += len(batch)
                on_batch(batch[0].connection, len(batch))
                # Prefect's settings are in the context, which threads do not inherit; blocks are
                # read with them.
                context = copy_context()
                running[pool.submit(context.run, process, connections, dsn, run_id, batch, key)] = (
                    endpoint_no
                )
            if claimed or running:
                quiet_since = time.monotonic()
            elif leaving or relief.is_over(time.monotonic() - quiet_since):
                return
            _rest(connection, running, listening)
        wait(running)
        _reap(running, listening)


def _claim(dsn: str, run_id: str, busy: set[int]) -> list[tuple[int, list[ClaimedEvent]]]:
    """Deliveries that are due, by endpoint; none of endpoints whose batch is under way."""
    if len(busy) >= ENDPOINTS_AT_ONCE:
        return []
    with connect(dsn) as connection:
        claimed = webhooks.claim_events(connection, CLAIMED_AT_ONCE, run_id=run_id, busy=busy)
        connection.commit()
    batches: dict[int, list[ClaimedEvent]] = {}
    for event in claimed:
        batches.setdefault(event.endpoint_no, []).append(event)
    return list(batches.items())


def _rest(connection: DbConnection, running: dict[Future[None], int], listening: Listening) -> None:
    """Waits until a batch ends, an event is announced, or it is time to look again."""
    if running:
        wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        _reap(running, listening)
        return
    for _ in connection.notifies(timeout=_WAIT_SECONDS, stop_after=1):
        break


def _reap(running: dict[Future[None], int], listening: Listening) -> None:
    for future in [running_batch for running_batch in running if running_batch.done()]:
        del running[future]
        if (error := future.exception()) is not None:
            listening.errors.append(error)
