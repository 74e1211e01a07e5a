"""Connections of the API to the database.

There is a bounded pool for what it reads, and a connection of its own for what it stores.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from api.problems import retry_later
from sql.db import DbConnection, connect
from sql.named_queries import query

AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]
#: How long a request waits for a connection, and a statement for the database.
CONNECTION_SECONDS_MAX = 1.0
STATEMENT_SECONDS_MAX = 5.0
#: The same for what a thread computes from a member's whole history.
COMPUTATION_SECONDS_MAX = 15.0
#: The pool waits longer and longer between its attempts to connect. Given up early, the next
#: request tries at once: when the database is back, so is the API.
RECONNECT_SECONDS_MAX = 2.0
#: The database is away, or has no room.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, TooManyRequests)


class Pool(AsyncConnectionPool[AsyncConnection]):
    """A pool whose queue may be full of requests that have given up, and that connects again.

    Those stay in the queue of psycopg_pool 3.3 until a connection comes, and a full queue refuses
    requests before it tries to connect: it would do so never again.
    """

    async def getconn(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
    ) -> AsyncConnection:
        """A connection. Raises PoolTimeout, and TooManyRequests after having tried to connect."""
        try:
            return await super().getconn(timeout)
        except TooManyRequests:
            await self.check()
            raise


def make_pool(dsn: str, name: str, *, size: int) -> Pool:
    """A closed pool of up to `size` connections in autocommit mode."""
    return Pool(
        dsn,
        kwargs={"application_name": f"twezah api {name}", "autocommit": True, "connect_timeout": 2},
        min_size=1,
        max_size=size,
        max_waiting=50 * size,
        timeout=CONNECTION_SECONDS_MAX,
        reconnect_timeout=RECONNECT_SECONDS_MAX,
        configure=_configure,
        open=False,
        name=name,
    )


async def _configure(connection: AsyncConnection) -> None:
    limits = {"statement_ms": f"{STATEMENT_SECONDS_MAX}s", "lock_ms": f"{CONNECTION_SECONDS_MAX}s"}
    await connection.execute(query("api", "configure"), limits)


async def rows(
    pool: Pool, stem: str, name: str, parameters: Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    """The rows of a named query. A connection that the server closed is replaced once."""
    for last in (False, True):
        try:
            async with pool.connection() as connection:
                cursor = await connection.execute(query(stem, name), parameters)
                return [] if cursor.description is None else await cursor.fetchall()
        except (psycopg.errors.QueryCanceled, PoolTimeout, TooManyRequests):
            raise
        except psycopg.OperationalError:
            if last:
                raise
            await pool.check()
    raise AssertionError


async def row(
    pool: Pool, stem: str, name: str, parameters: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    """The first row of a named query; None if there is none."""
    answer = await rows(pool, stem, name, parameters)
    return answer[0] if answer else None


@contextmanager
def bounded(
    dsn: str, *, statement_seconds: float = COMPUTATION_SECONDS_MAX, lock_seconds: float = 3
) -> Iterator[DbConnection]:
    """A connection of a worker thread, whose transaction takes no statement for ever.

    The thread is one of few, and nobody waits any more when the request has timed out.
    """
    limits = {"statement_ms": f"{statement_seconds}s", "lock_ms": f"{lock_seconds}s"}
    with connect(dsn) as connection:
        connection.execute(query("api", "limit_transaction"), limits)
        yield connection


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turns an absent or slow database into 503: the sender tries again."""
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise retry_later(
            "too_slow", "The database took too long for this question. Ask for less at once."
        ) from None
    except AWAY:
        raise retry_later(
            "database_away", "The database does not answer. Nothing was done; try again."
        ) from None
