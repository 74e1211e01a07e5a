"""Pages of what is stored of one member, the latest first; the first column numbers the rows."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from api.cursors import Cursors
from api.database import answering, row, rows
from api.members import unknown_member
from api.models import PageFilter
from api.state import state_of


async def member_page(
    request: Request, member_id: int, wanted: PageFilter, module: str, name: str
) -> tuple[Sequence[Sequence[Any]], str | None]:
    """The rows of a page of the named query, and the cursor of the next one.

    Raises Problem: there is no such member (404), or the cursor is of something else (400).
    """
    state, which = state_of(request), {"member_id": member_id}
    cursors = Cursors(state.config.key, f"{module} {name}")
    before = None if wanted.cursor is None else cursors.read(wanted.cursor, which)[0]
    place = {**which, "before": before, "limit": wanted.limit + 1}
    async with answering():
        stored = await rows(state.readers, module, name, place)
        if not stored and await row(state.readers, "api", "is_member", which) == (False,):
            raise unknown_member()
    page = stored[: wanted.limit]
    more = len(stored) > wanted.limit
    return page, cursors.write([page[-1][0]], which) if more else None
