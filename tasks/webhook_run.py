"""The long-lived run that awards webhooks: listens, claims in batches, one batch per endpoint at a time, and ends when it is quiet.

A run of its own for every event would spend a second on starting. Only one listens at a time; whoever stores an event and finds
nobody listening starts a run.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final

from psycopg import sql as text

from sql import webhooks
from sql.db import Connection, connect
from sql.webhooks import ClaimedEvent
from tasks.webhooks import Connections, process

log = logging.getLogger(__name__)
#: Deliveries claimed at a time, and endpoints worked on at once.
CLAIMED_AT_ONCE: Final = 1_000
ENDPOINTS_AT_ONCE: Final = 4
#: How long to wait for a nudge, or for a batch under way, before looking again.
_WAIT_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.05
#: A run that finds nothing does not stay for more.
_NOTHING_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Pace:
    """How long a run stays: so long after the last event, and so long in all, as soon as nothing is due (or, at the latest, twice that)."""

    linger_seconds: float = 60
    life_seconds: float = 600


@dataclass
class Listening:
    """What a run did. `busy`: another run listens. `left`: events are due, for the next run."""

    busy: bool = False
    left: bool = False
    batches: int = 0
    deliveries: int = 0
    errors: list[BaseException] = field(default_factory=list)


def listen(
    dsn: str, run_id: str, connections: Connections, key: bytes, pace: Pace, on_batch: Callable[[str, int], None]
) -> Listening:
    """Awards webhooks until it is quiet. `on_batch` is told the connection and the number of deliveries of each batch that is begun.

    Raises psycopg.Error: what was claimed is claimed again by another run once its lease is over.
    """
    done = Listening()
    started = time.monotonic()
    while True:
        with _alone(dsn) as own:
            if own is None:
                done.busy = True
                return done
            _serve(own, dsn, run_id, connections, key, pace, started, done, on_batch)
        # Whoever stored something while we were leaving believed that we listen.
        with connect(dsn) as connection:
            due = webhooks.next_due_seconds(connection)
        done.left = due is not None and due <= 0
        if done.errors:
            raise done.errors[0]
        if not done.left or time.monotonic() - started > pace.life_seconds:
            return done


@contextmanager
def _alone(dsn: str) -> Iterator[Connection | None]:
    """A connection that listens for nudges, while no other run does; None if one does."""
    with connect(dsn) as own:
        own.autocommit = True
        try:
            with webhooks.claiming(own) as held:
                if held:
                    own.execute(text.SQL("LISTEN {}").format(text.Identifier(webhooks.CHANNEL)))
                yield own if held else None
                if held and not own.closed:
                    own.execute("UNLISTEN *")
        finally:
            if not own.closed:
                own.autocommit = False


def _serve(
    own: Connection,
    dsn: str,
    run_id: str,
    connections: Connections,
    key: bytes,
    pace: Pace,
    started: float,
    done: Listening,
    on_batch: Callable[[str, int], None],
) -> None:
    running: dict[Future[None], int] = {}
    quiet_since = time.monotonic()
    with ThreadPoolExecutor(ENDPOINTS_AT_ONCE, thread_name_prefix="webhooks") as pool:
        while not done.errors:
            age = time.monotonic() - started
            claimed = [] if age > 2 * pace.life_seconds else _claim(dsn, run_id, set(running.values()))
            for endpoint_no, batch in claimed:
                done.batches += 1
                done.deliveries += len(batch)
                on_batch(batch[0].connection, len(batch))
                # Prefect's settings are in the context, which threads do not inherit; blocks are read with them.
                context = copy_context()
                running[pool.submit(context.run, process, connections, dsn, run_id, batch, key)] = endpoint_no
            if claimed or running:
                quiet_since = time.monotonic()
            elif age > pace.life_seconds or time.monotonic() - quiet_since > _stay_seconds(pace, done):
                return
            _rest(own, running, done)
        wait(running)
        _reap(running, done)


def _stay_seconds(pace: Pace, done: Listening) -> float:
    return pace.linger_seconds if done.deliveries else min(pace.linger_seconds, _NOTHING_SECONDS)


def _claim(dsn: str, run_id: str, busy: set[int]) -> list[tuple[int, list[ClaimedEvent]]]:
    """Deliveries that are due, by endpoint; none of endpoints whose batch is under way."""
    if len(busy) >= ENDPOINTS_AT_ONCE:
        return []
    with connect(dsn) as connection:
        claimed = webhooks.claim_events(connection, CLAIMED_AT_ONCE, run_id=run_id, busy=busy)
        connection.commit()
    found: dict[int, list[ClaimedEvent]] = {}
    for event in claimed:
        found.setdefault(event.endpoint_no, []).append(event)
    return list(found.items())


def _rest(own: Connection, running: dict[Future[None], int], done: Listening) -> None:
    """Until a batch ends, an event is announced, or it is time to look."""
    if running:
        wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        _reap(running, done)
        return
    for _ in own.notifies(timeout=_WAIT_SECONDS, stop_after=1):
        break


def _reap(running: dict[Future[None], int], done: Listening) -> None:
    for future in [one for one in running if one.done()]:
        del running[future]
        if (error := future.exception()) is not None:
            done.errors.append(error)
