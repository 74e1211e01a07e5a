"""The points program in words."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from fastapi import APIRouter, Depends, Request

from api.database import answering, bounded
from api.keys import require
from api.models import ProgramWords
from api.problems import Problem, described
from api.state import state_of
from sql import member_outlook

router = APIRouter(prefix="/api/program", tags=["members"])
_WORKERS = ThreadPoolExecutor(1, thread_name_prefix="program")


@router.get(
    "",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="The points program in words",
)
async def get_program(request: Request) -> ProgramWords:
    """What earns points, tiers, expiry and promotions of now, in English and Portuguese."""
    async with answering():
        words = await asyncio.get_running_loop().run_in_executor(
            _WORKERS, _words, state_of(request).config.dsn
        )
    if words is None:
        raise Problem(404, "no_program", "No version of the points program is in force.")
    return ProgramWords.model_validate(asdict(words))


def _words(dsn: str) -> member_outlook.ProgramWords | None:
    with bounded(dsn) as connection:
        return member_outlook.program_in_words(connection)
