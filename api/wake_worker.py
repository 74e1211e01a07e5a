"""Wakes the worker that awards stored events.

At once, once for a burst of events, and again later should the wake-up be lost.

Where webhooks are expected somebody always listens: a run that is started only when an event comes
takes seconds to begin.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from api.database import Pool, row, rows
from api.runs import NoDeploymentError, PrefectAwayError, Runs

#: Events within this time cost one wake-up.
GATHER_SECONDS = 0.02
#: Two runs are not started closer to each other: a run that was started needs a moment until it
#: claims.
START_SECONDS_MIN = 3.0
#: How often it is looked whether something waits that nobody works on.
LOOK_SECONDS = 15.0
log = logging.getLogger(__name__)


class Nudge:
    """One per process.

    `deployment` is what starts the claiming run; None: only who listens is woken.
    """

    def __init__(self, pool: Pool, runs: Runs, deployment: str | None) -> None:
        self._pool = pool
        self._runs = runs
        self._deployment = deployment
        self._poked = asyncio.Event()
        self._started_at = -START_SECONDS_MIN
        self._looked = False

    def poke(self) -> None:
        """An event was stored: wakes whoever awards."""
        self._poked.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works until the context is left.

        Begins with a look at what was stored before the last process ended.
        """
        task = asyncio.create_task(self._forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if self._looked else GATHER_SECONDS):
                    await self._poked.wait()
            stored = self._poked.is_set()
            await asyncio.sleep(GATHER_SECONDS)
            self._poked.clear()
            try:
                await self._wake(stored=stored)
            except (PrefectAwayError, NoDeploymentError) as error:
                log.warning(
                    "no run could be started: %s; tried again in %.0f s", error, LOOK_SECONDS
                )
            except psycopg.Error as error:
                log.warning(
                    "nobody could be woken: %s; tried again in %.0f s",
                    type(error).__name__,
                    LOOK_SECONDS,
                )
            except Exception as error:  # this task must not end
                log.exception("nobody could be woken: %s", type(error).__name__)

    async def _wake(self, *, stored: bool) -> None:
        if not stored:
            due = await row(self._pool, "webhooks", "next_due", {})
            expected = await row(self._pool, "webhooks", "any_endpoint", {})
            self._looked = True
            if expected != (True,) and (due is None or due[0] is None or due[0] > 0):
                return
        await rows(self._pool, "webhooks", "nudge", {})
        held = await row(self._pool, "webhooks", "claims_locked", {"granted": True})
        if held == (True,) or self._deployment is None:
            return
        if (early := self._started_at + START_SECONDS_MIN - time.monotonic()) > 0:
            await asyncio.sleep(early)
            held = await row(self._pool, "webhooks", "claims_locked", {"granted": True})
            if held == (True,):
                return
        self._started_at = time.monotonic()
        run = await self._runs.ensure(self._deployment)
        log.info("run %s is to award webhooks", run.name)
