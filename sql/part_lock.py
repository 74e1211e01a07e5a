"""The lock of a part of the product that may run once only, on however many machines.

PostgreSQL keeps it: an advisory lock of a session. It is free as soon as the session ends, so a
holder that is killed, or whose machine is, leaves nothing behind. A machine that is cut off ends
its own work (`HELD_SECONDS_MAX`) before the server lets anybody else begin (`SESSION_SECONDS_MAX`).
"""

import threading
import time
from contextlib import suppress
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from sql.named_queries import query

#: The parts that run once only, and the numbers of their locks.
PARTS: Final = {"prefect": 1, "services": 2, "caretaker": 3}
#: The first number of each of these locks: PostgreSQL's locks have two.
_CLASS: Final = 74_042
#: How often the holder asks the server.
ASK_SECONDS: Final = 1.0
#: A holder that has had no answer to a question of this age holds nothing any more.
HELD_SECONDS_MAX: Final = 12.0
#: The server ends a session that has asked nothing for so long.
SESSION_SECONDS_MAX: Final = 30.0
#: How a session notices that the network swallows everything: within some ten seconds.
_NETWORK: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class PartLock:
    """The lock of one part, taken and dropped by one thread, kept alive by another."""

    def __init__(self, dsn: str, part: str) -> None:
        """Name the lock; nothing is asked yet.

        Args:
            dsn: The ledger database: its primary server, without a pool of connections between.
            part: One of `PARTS`.
        """
        self._dsn = dsn
        self._part = PARTS[part]
        self._connection: psycopg.Connection | None = None
        self._answered_at = 0.0
        self._ended = threading.Event()

    def acquire(self) -> bool:
        """Tries once; True when taken. Raises psycopg.Error."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                make_conninfo(self._dsn, **_NETWORK),
                autocommit=True,
                application_name="twezah part",
            )
            milliseconds = int(SESSION_SECONDS_MAX * 1000)
            self._connection.execute(
                query("part_lock", "begin_session"), {"milliseconds": milliseconds}
            )
        asked_at = time.monotonic()
        parameters = {"class": _CLASS, "part": self._part}
        row = self._connection.execute(query("part_lock", "acquire"), parameters).fetchone()
        if row is None or not row[0]:
            return False
        self._answered_at = asked_at
        self._ended = threading.Event()
        threading.Thread(
            target=self._keep, args=[self._connection, self._ended], name="part lock", daemon=True
        ).start()
        return True

    def is_held(self) -> bool:
        """Whether the server has said so lately."""
        is_late = time.monotonic() - self._answered_at > HELD_SECONDS_MAX
        return self._connection is not None and not self._ended.is_set() and not is_late

    def release(self) -> None:
        """Drops it; harmless where it is not held."""
        self._ended.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _keep(self, connection: psycopg.Connection, ended: threading.Event) -> None:
        """Asks until the lock is dropped or lost; a question may wait for ever, this thread too."""
        while not ended.wait(ASK_SECONDS):
            asked_at = time.monotonic()
            try:
                row = connection.execute(query("part_lock", "is_primary")).fetchone()
            except psycopg.Error:
                break
            if row is None or not row[0]:
                break
            self._answered_at = asked_at
        ended.set()
