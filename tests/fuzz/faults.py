"""Failures between any two exchanges with the database, and two workers who take turns."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from sql.db import engine
from tests.fuzz.events import Fault

#: How long a worker may take until it is looked whether it waits for the other one.
PATIENCE_SECONDS = 0.05
#: After this nothing moves: a deadlock that nobody sees.
STUCK_SECONDS = 60.0
# A broken connection is what is asked for here.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


class ProcessKilledError(psycopg.OperationalError):
    """The worker's process is gone: none of its code runs on."""


class StuckError(AssertionError):
    """Two workers wait for each other, or one of them for nobody."""


@dataclass
class Worker:
    """One of our processes, as far as the database can tell."""

    dsn: str
    fault: Fault | None = None
    exchanges: int = 0
    dead: bool = False
    turns: "Turns | None" = None
    #: How many processes it has been; a connection belongs to one of them.
    lives: int = 0
    statements: list[str] = field(default_factory=list)

    def ended(self) -> None:
        """Lets go of its connections, as the end of a process does."""
        engine(self.dsn).dispose()
        self.lives += 1
        self.fault, self.exchanges, self.dead, self.turns = None, 0, False, None


@dataclass
class Turns:
    """Whose turn it is, after each exchange."""

    order: random.Random
    #: Asks the database which workers' statements wait for a lock.
    blocked: Callable[[], bool]
    current: int = 0
    alive: set[int] = field(default_factory=lambda: {0, 1})
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, mine: int) -> None:
        """Waits for the turn of a worker, having given away its own where the order says so."""
        waited = 0.0
        with self._changed:
            if self.current == mine and len(self.alive) > 1 and self.order.random() < 0.4:
                self.current = 1 - mine
                self._changed.notify_all()
            while self.current != mine and self.current in self.alive:
                if self._changed.wait(PATIENCE_SECONDS):
                    continue
                waited += PATIENCE_SECONDS
                if self.blocked():  # the other one waits for a lock, which may be ours
                    self.current = mine
                if waited > STUCK_SECONDS:
                    raise StuckError("a worker does not come to an end")
            self.current = mine

    def leave(self, mine: int) -> None:
        """The worker is done."""
        with self._changed:
            self.alive.discard(mine)
            self.current = 1 - mine
            self._changed.notify_all()


class Faults:
    """Knows the workers by their connections. One of its kind may be `active` at a time."""

    def __init__(self, dsn: str) -> None:
        separator = "&" if "?" in dsn else "?"
        # Two names of one database: so each worker has a pool of its own.
        self.workers = [Worker(f"{dsn}{separator}keepalives_idle={60 + n}") for n in range(2)]
        self.observer = psycopg.connect(dsn, autocommit=True)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends the workers."""
        for worker in self.workers:
            worker.ended()
        self.observer.close()

    def of(self, connection: Any) -> Worker | None:
        """Whose connection it is; None of one that outlived its process.

        The garbage collector rolls such a one back, in whatever thread it runs: that thread must
        not wait for a turn that is not its own.
        """
        made_by = getattr(connection, "_made_by", None)
        return next((w for w in self.workers if (w.dsn, w.lives) == made_by), None)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Every exchange with the database passes here: statements, commits, copies, rollbacks."""
        connect, wait = psycopg.connect, psycopg.Connection.wait

        def connected(dsn: str = "", **options: Any) -> Any:
            worker = next((w for w in self.workers if w.dsn == dsn), None)
            if worker is not None and worker.dead:
                raise ProcessKilledError("the process was killed")
            connection = connect(dsn, **options)
            if worker is not None:
                connection._made_by = (worker.dsn, worker.lives)  # type: ignore[attr-defined]
            return connection

        def exchanged(connection: Any, gen: Any, *args: Any, **more: Any) -> Any:
            worker = self.of(connection)
            if worker is None:
                return wait(connection, gen, *args, **more)
            fault = self._before(worker, connection)
            result = wait(connection, gen, *args, **more)
            if fault is not None and fault.how == "answer lost":
                connection.pgconn.finish()
                raise psycopg.OperationalError("the server closed the connection")
            return result

        psycopg.connect = connected  # type: ignore[assignment]
        psycopg.Connection.wait = exchanged  # type: ignore[method-assign]
        try:
            yield
        finally:
            psycopg.connect = connect
            psycopg.Connection.wait = wait  # type: ignore[method-assign]

    def _before(self, worker: Worker, connection: Any) -> Fault | None:
        if worker.turns is not None:
            worker.turns.take(self.workers.index(worker))
        if worker.dead:
            connection.pgconn.finish()
            raise ProcessKilledError("the process was killed")
        worker.exchanges += 1
        fault = worker.fault
        if fault is None or worker.exchanges != fault.at + 1:
            return None
        worker.fault = None
        if fault.how == "process killed":
            worker.dead = True
            connection.pgconn.finish()
            raise ProcessKilledError("the process was killed")
        if fault.how == "lost":
            connection.pgconn.finish()
            raise psycopg.OperationalError("the connection was lost")
        if fault.how == "backend killed":
            self._kill(connection)
        return fault

    def _kill(self, connection: Any) -> None:
        with suppress(psycopg.Error), self._lock:
            pid = connection.info.backend_pid
            self.observer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    def blocked(self) -> bool:
        """Whether a worker's statement waits for a lock that another session holds."""
        with self._lock:
            row = self.observer.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock' AND application_name = 'twezah'"
            ).fetchone()
        return bool(row and row[0])
