"""/health for whoever restarts processes and balances load; /metrics for Prometheus."""

import time

import psycopg
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from psycopg_pool import PoolTimeout, TooManyRequests

from api.database import answering, row, rows
from api.keys import require
from api.models import Health
from api.problems import described
from api.state import state_of

router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="Is the process there?")
async def live() -> Health:
    """Always ok: a process that cannot say so is to be restarted."""
    return Health(status="ok")


@router.get(
    "/health",
    operation_id="health",
    summary="Can it do its work?",
    responses={503: {"model": Health}},
)
@router.get("/health/ready", summary="Can it do its work?", responses={503: {"model": Health}})
async def ready(request: Request, response: Response) -> Health:
    """503 while the database is away: send requests elsewhere."""
    try:
        for pool in (state_of(request).writers, state_of(request).readers):
            await row(pool, "api", "alive", {})
    except (psycopg.Error, PoolTimeout, TooManyRequests):
        response.status_code = 503
        response.headers["Retry-After"] = "5"
        return Health(status="unavailable", database="away")
    return Health(status="ok", database="ok")


@router.get(
    "/metrics",
    dependencies=[Depends(require("metrics:read"))],
    responses={**described(401, 403, 429, 503), 200: {"content": {"text/plain": {}}}},
    response_class=Response,
    summary="For Prometheus",
)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format.

    Prometheus sends the key as `authorization: {credentials: twz_...}` of its scrape configuration.
    """
    state = state_of(request)
    async with answering():
        runs = await rows(state.readers, "api", "status", {"hours": 24})
        events = await rows(state.readers, "api", "event_status", {"hours": 24})
    text = state.metrics.render(
        runs=runs, events=events, lost=state.intake.audit.lost, now=time.time()
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)
