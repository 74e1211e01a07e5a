"""The API's connections while the database is away for long, and when it is back."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout, TooManyRequests

from api.database import Pool, make_pool
from tests.support.database import Databases

#: More than may wait at a pool of one connection.
REQUESTS = 60


def let_in(databases: Databases, dsn: str, *, allowed: bool) -> None:
    """Whether the server lets anybody into the database."""
    name = sql.Identifier(urlsplit(dsn).path.removeprefix("/"))
    with psycopg.connect(databases.dsn_of("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(allowed))
        )


async def ask(pool: Pool) -> str:
    """What a request gets."""
    try:
        async with pool.connection():
            return "served"
    except (PoolTimeout, TooManyRequests) as error:
        return type(error).__name__


async def ask_until(pool: Pool, answer: str) -> None:
    """Until a request gets this answer; TimeoutError after a minute."""
    async with asyncio.timeout(60):
        while await ask(pool) != answer:  # noqa: ASYNC110  the server tells nobody
            await asyncio.sleep(0.05)


def test_it_connects_again_although_its_queue_is_full_of_requests_that_gave_up(
    databases: Databases,
) -> None:
    dsn = databases.create()

    async def story() -> None:
        let_in(databases, dsn, allowed=False)
        pool = make_pool(dsn, "test", size=1)
        await pool.open()
        try:
            answers = Counter(await asyncio.gather(*(ask(pool) for _ in range(REQUESTS))))
            assert answers == {"PoolTimeout": 50, "TooManyRequests": 10}
            async with asyncio.timeout(60):
                while pool.get_stats()["pool_size"]:  # noqa: ASYNC110  until it has given up
                    await asyncio.sleep(0.05)
            assert await ask(pool) == "TooManyRequests"
            let_in(databases, dsn, allowed=True)
            await ask_until(pool, "served")
        finally:
            await pool.close()

    try:
        asyncio.run(story())
    finally:
        databases.drop(dsn)
