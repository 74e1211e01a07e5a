"""The application: what is at which address, and what its requests share."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import psycopg
from fastapi import Depends, FastAPI

from api import (
    audit,
    billing,
    changes,
    docs_page,
    explain,
    front_page,
    health,
    member_events,
    member_segments,
    member_writes,
    members,
    openapi,
    problems,
    program,
    redemptions,
    sync,
    webhooks,
)
from api.config import Config
from api.database import AWAY, make_pool, rows
from api.guard import Guard
from api.intake import Intake
from api.limits import Limits
from api.metrics import Metrics
from api.runs import Runs
from api.state import State
from api.wake_worker import Nudge

#: How often the audit's months are looked after, and what is over is forgotten.
TIDY_SECONDS = 3_600.0
log = logging.getLogger(__name__)
_DESCRIPTION = """\
Sales become loyalty points: webhooks come in, sales and points go out.

Errors are problem details (RFC 9457): `type` says what kind, `detail` what to do, `request_id`
names the request in the logs. With 429 and 503 comes `Retry-After`, in seconds. Amounts are decimal
texts in whole currency units, times are UTC.
"""


def create_app(config: Config, runs: Runs | None = None) -> FastAPI:
    """The application of one process; `runs` is replaced where no Prefect server is."""
    readers = make_pool(config.dsn, "readers", size=config.readers)
    writers = make_pool(config.dsn, "writers", size=2)
    started = runs or Runs()
    nudge = Nudge(readers, started, config.events_deployment)
    state = State(
        config, readers, writers, Intake(writers), Limits(readers), Metrics(), started, nudge
    )
    app = FastAPI(
        title="Agua Twezah billing integration",
        version=version("twezah"),
        description=_DESCRIPTION,
        servers=[{"url": config.public_url}],
        generate_unique_id_function=openapi.short_id,
        dependencies=[Depends(openapi.refuse_unknown_parameters)],
        docs_url=None,  # its page loads programs from elsewhere; api.docs_page does not
        redoc_url=None,
        lifespan=lambda _: _running(state),
        redirect_slashes=False,
    )
    app.state.own = state
    app.state.endpoints = webhooks.Endpoints()
    problems.install(app)
    members_parts = (
        members,
        member_writes,
        member_events,
        member_segments,
        program,
        redemptions,
        changes,
    )
    for part in (
        webhooks,
        billing,
        explain,
        sync,
        *members_parts,
        audit,
        health,
        docs_page,
        front_page,
    ):
        app.include_router(part.router)
    openapi.describe(app)
    app.add_middleware(Guard, state=state)
    return app


@asynccontextmanager
async def _running(state: State) -> AsyncIterator[None]:
    async with AsyncExitStack() as leaving:
        for pool in (state.readers, state.writers):
            await pool.open(
                wait=False
            )  # the API also starts while the database is down; /health/ready says so
            leaving.push_async_callback(pool.close)
        await leaving.enter_async_context(state.intake.running())
        await leaving.enter_async_context(state.nudge.running())
        tidying = asyncio.create_task(_tidy_forever(state))
        leaving.callback(tidying.cancel)
        yield


async def _tidy_forever(state: State) -> None:
    while True:
        try:
            await rows(
                state.writers, "api", "keep_attempt_months", {"months": state.config.attempt_months}
            )
            await rows(state.writers, "api", "forget_requests", {})
            await rows(state.writers, "api", "forget_buckets", {})
            wait_seconds = TIDY_SECONDS
        except (*AWAY, psycopg.Error) as error:
            log.warning("tidying waits for the database: %s", type(error).__name__)
            wait_seconds = 30.0
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(wait_seconds)
