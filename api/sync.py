"""POST /api/billing/sync: starts the deployment of a connection, once per Idempotency-Key.

GET /api/billing/sync/{run_id} tells how that run is doing.
"""

import asyncio
import hashlib
import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from psycopg.types.json import Jsonb

from api.billing import utc
from api.database import answering, row, rows
from api.keys import require
from api.models import SyncRequest, SyncRun, SyncStarted
from api.problems import Problem, described, key_reused, retry_later
from api.runs import SYNC, NoDeploymentError, PrefectAwayError, RunState
from api.state import State, state_of
from sql.actor import acting_as
from sql.keys import ApiKey

router = APIRouter(prefix="/api/billing", tags=["billing"])
#: A request that has no answer by then was cut off; its repetition takes over.
STALE_SECONDS = 30.0
#: How long a request may wait for the end of a run, and how often it looks.
WAIT_SECONDS_MAX = 15
LOOK_SECONDS = 0.5
Name = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Your own name for this request. Repeated with it, the request starts nothing and gets "
            "the first answer; for a day."
        ),
        examples=["6f1c2a0e-close-of-business"],
    ),
]


@router.post(
    "/sync",
    status_code=202,
    responses=described(401, 403, 404, 409, 413, 422, 429, 503),
    summary="Synchronise now",
)
async def sync(
    request: Request,
    response: Response,
    asked: SyncRequest,
    key: Annotated[ApiKey, Depends(require("sync:start"))],
    name: Name = None,
) -> SyncStarted:
    """Starts a run, which one can follow in Prefect's user interface.

    A connection runs once at a time: a second run waits.
    """
    state = state_of(request)
    since, until = utc(asked.since), utc(asked.until)
    if since is not None and until is not None and since >= until:
        raise Problem(422, "invalid_request", "`since` must be before `until`.")
    parameters: dict[str, Any] = {
        **({"since": since.isoformat()} if since else {}),
        **({"until": until.isoformat()} if until else {}),
        **({"dry_run": True} if asked.dry_run else {}),
    }
    with acting_as(f"key {key.prefix}"):
        if name is None:
            started = await _start(state, asked.system, parameters, None)
        else:
            started, repeated = await _once(state, key, name, asked, parameters)
            if repeated:
                response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = started.ui_url
    return started


@router.get(
    "/sync/{run_id}",
    dependencies=[Depends(require("sync:start", "status:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="How a synchronisation is doing, or how it ended",
)
async def get_sync(
    request: Request,
    run_id: Annotated[UUID, Path(description="`run_id` of the answer that started it.")],
    wait_seconds: Annotated[
        int,
        Query(ge=0, le=WAIT_SECONDS_MAX, description="Wait so long at most for its end."),
    ] = 0,
) -> SyncRun:
    """Answers as soon as the run has ended, or the time to wait is over."""
    state = state_of(request)
    deadline = time.monotonic() + wait_seconds
    while True:
        run = await _found(state, str(run_id))
        if run.succeeded is not None or time.monotonic() + LOOK_SECONDS > deadline:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return SyncRun(
        run_id=run.run_id,
        run_name=run.name,
        system=run.connection,
        state=run.state,
        ended=run.succeeded is not None,
        succeeded=run.succeeded,
        message=run.message,
        started_at=run.started_at,
        ended_at=run.ended_at,
        ui_url=f"{state.config.ui_url}/runs/flow-run/{run.run_id}",
    )


async def _found(state: State, run_id: str) -> RunState:
    try:
        run = await state.runs.find(run_id)
    except PrefectAwayError:
        raise retry_later("prefect_away", "The Prefect server does not answer.") from None
    if run is None:
        raise Problem(404, "unknown_run", "There is no synchronisation with this run_id.")
    return run


async def _once(
    state: State, key: ApiKey, name: str, asked: SyncRequest, parameters: dict[str, Any]
) -> tuple[SyncStarted, bool]:
    """The answer of the first request with this name; and whether this is a repetition."""
    identity = {"key_no": key.key_no, "idempotency_key": name}
    digest = hashlib.sha256(asked.model_dump_json().encode()).digest()
    async with answering():
        begun = await row(state.readers, "api", "begin_request", {**identity, "digest": digest})
        age = {**identity, "stale_seconds": STALE_SECONDS}
        first_answer = None if begun else await row(state.readers, "api", "known_request", age)
    if first_answer is not None:
        if bytes(first_answer[0]) != digest:
            raise key_reused()
        if first_answer[1] is not None:
            return SyncStarted(**first_answer[2]), True
        if not first_answer[3]:
            detail = "A request with this Idempotency-Key is under way."
            raise retry_later("idempotency_key_in_use", detail, status=409, seconds=2)
    try:
        # Prefect knows the name as well: a repetition of a request that was cut off gets its run.
        started = await _start(state, asked.system, parameters, f"api/{key.prefix}/{name}")
    except Problem:
        async with answering():
            await rows(state.readers, "api", "drop_request", identity)
        raise
    async with answering():
        answer = {**identity, "status": 202, "answer": Jsonb(started.model_dump())}
        await rows(state.readers, "api", "end_request", answer)
    return started, False


async def _start(
    state: State, system: str, parameters: dict[str, Any], idempotency_key: str | None
) -> SyncStarted:
    try:
        run = await state.runs.start(SYNC + system, parameters, idempotency_key=idempotency_key)
    except NoDeploymentError:
        detail = (
            "There is no connection of this name. GET /api/billing/status names those there are."
        )
        raise Problem(404, "unknown_connection", detail) from None
    except PrefectAwayError:
        raise retry_later(
            "prefect_away", "The Prefect server does not answer. Nothing was started."
        ) from None
    url = f"{state.config.ui_url}/runs/flow-run/{run.run_id}"
    return SyncStarted(
        system=system, run_id=run.run_id, run_name=run.name, state=run.state, ui_url=url
    )
