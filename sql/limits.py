"""Requests to a billing system, counted for all workers of the account.

There are limits per window, for requests at the same time, and pauses that a vendor asked for.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from sql.db import DbConnection
from sql.named_queries import query
from sql.sync import AccountKey

#: A vendor that asks for a longer rest is asked again after this one.
REST_SECONDS_MAX = 86_400.0
log = logging.getLogger(__name__)


class SharedLimit:
    """The limit of one account.

    One connection of its own, used in turn by the threads of a client.
    """

    def __init__(
        self,
        dsn: str,
        account: AccountKey,
        windows: Sequence[tuple[int, float]],
        *,
        at_once: int,
        lease_seconds: float,
    ) -> None:
        """Nothing is sent before the first request.

        Args:
            dsn: The database.
            account: Whose requests are counted.
            windows: At most so many requests in so many seconds, each.
            at_once: At most so many under way.
            lease_seconds: A request that did not end by then is taken for lost: its worker was
                killed.
        """
        self._dsn = dsn
        self._parameters = account.parameters(
            counts=[count for count, _ in windows], seconds=[seconds for _, seconds in windows],
            at_once=at_once, lease_seconds=lease_seconds,
        )  # fmt: skip
        self._account = account
        self._lock = threading.Lock()
        self._connection: DbConnection | None = None

    def enter(self) -> tuple[int, float]:
        """(its number, 0), or (0, seconds until it is worth asking again).

        Raises psycopg.OperationalError.
        """
        with self._lock:
            try:
                return self._enter()
            except psycopg.OperationalError:  # the server was restarted since the last request
                self._close()
                return self._enter()

    def _enter(self) -> tuple[int, float]:
        row = self._open().execute(query("limits", "enter"), self._parameters).fetchone()
        assert row is not None
        return int(row[0]), float(row[1])

    def leave(self, number: int, rest_seconds: float) -> None:
        """The request ended.

        A failure is not raised: an answer is worth more, and the lease ends by itself.
        """
        with self._lock:
            try:
                self._open().execute(query("limits", "leave"), {"number": number})
                if rest_seconds > 0:
                    rest = self._account.parameters(seconds=min(rest_seconds, REST_SECONDS_MAX))
                    self._open().execute(query("limits", "rest"), rest)
            except psycopg.Error as error:
                log.warning("a request's end could not be counted: %s", type(error).__name__)
                self._close()

    def _open(self) -> DbConnection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._dsn, application_name="twezah limits", autocommit=True
            )
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        with self._lock:
            self._close()


@contextmanager
def shared_limit(
    dsn: str,
    account: AccountKey,
    windows: Sequence[tuple[int, float]],
    *,
    at_once: int,
    lease_seconds: float,
) -> Iterator[SharedLimit]:
    """The limit of one account, closed at the end; see `SharedLimit`."""
    made = SharedLimit(dsn, account, windows, at_once=at_once, lease_seconds=lease_seconds)
    try:
        yield made
    finally:
        made.close()
