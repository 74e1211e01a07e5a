"""GET /api/changes: what changed for members, for the loyalty app to follow."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.database import answering, row, rows
from api.keys import require
from api.models import Id, Zulu
from api.problems import Problem, described
from api.state import State, state_of
from sql.changes import KINDS, PUBLISHED_AT_ONCE

router = APIRouter(prefix="/api/changes", tags=["changes"])
#: How long a request may wait for the next change, and how often it looks.
WAIT_SECONDS_MAX: Final = 15
LOOK_SECONDS: Final = 0.25
#: Requests of one process that wait at once; a further one is answered at once.
WAITING_MAX: Final = 100
_waiting = 0


class ChangesFilter(BaseModel):
    """Which changes."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(
        default=0, ge=0, le=2**63 - 1,
        description="`next_after` of the last page; 0: from the beginning.",
    )  # fmt: skip
    member_id: Id | None = Field(default=None, description="Only those of this member.")
    limit: int = Field(default=100, ge=1, le=1_000)
    wait_seconds: int = Field(
        default=0, ge=0, le=WAIT_SECONDS_MAX,
        description="Where there is no change yet: wait for one, for so long at most.",
    )  # fmt: skip


class Change(BaseModel):
    """A change of a member. Webhooks say the same."""

    change_no: int = Field(description="Position in the feed; may leave numbers out.", examples=[7])
    type: str = Field(
        description="; ".join(f"{kind}: {what}" for kind, what in KINDS.items()),
        examples=["points.changed"],
    )
    member_id: int = Field(examples=[42])
    balance_points: int = Field(
        description=(
            "The member's balance when this was published. That of the member's last change is the "
            "balance of now."
        ),
        examples=[3600],
    )
    happened_at: Zulu
    published_at: Zulu
    data: dict[str, Any] = Field(
        description="What changed, by type (docs/api.md). Further fields may come.",
        examples=[{"points": 1800, "entries": 1, "reasons": ["award"]}],
    )


class Changes(BaseModel):
    """A page, in the order of the feed."""

    items: list[Change]
    next_after: int = Field(
        description="`after` of the next request, also where `items` is empty.", examples=[7]
    )
    has_more: bool = Field(description="Ask again at once: there is more.")
    latest_change_no: int = Field(description="The last change of all members.", examples=[7])


@router.get(
    "",
    dependencies=[Depends(require("changes:read"))],
    responses=described(401, 403, 409, 422, 429, 503),
    summary="What changed for members",
)
async def list_changes(request: Request, wanted: Annotated[ChangesFilter, Query()]) -> Changes:
    """In one order, complete: nothing ever appears before a change that was shown.

    Keep `next_after` with what you made of the items, in one transaction. The changes of a member
    are in the order in which they were published.
    """
    state = state_of(request)
    page = await _page(state, wanted)
    if page.items or page.has_more or not wanted.wait_seconds:
        return page
    return await _awaited(state, wanted, page)


async def _awaited(state: State, wanted: ChangesFilter, page: Changes) -> Changes:
    global _waiting  # noqa: PLW0603 - counts the requests of this process
    if _waiting >= WAITING_MAX:
        return page
    _waiting += 1
    try:
        deadline = time.monotonic() + wanted.wait_seconds
        while not page.items and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            page = await _page(state, wanted)
        return page
    finally:
        _waiting -= 1


async def _page(state: State, wanted: ChangesFilter) -> Changes:
    parameters = wanted.model_dump(include={"after", "member_id"})
    async with answering():
        published = await row(state.readers, "changes", "publish", {"limit": PUBLISHED_AT_ONCE})
        stored = await rows(
            state.readers, "changes", "after", {**parameters, "limit": wanted.limit + 1}
        )
        latest = await row(state.readers, "changes", "latest", {"after": wanted.after})
    latest_no, goes_on = latest or (0, False)
    if not goes_on:
        raise Problem(
            409, "feed_restored",
            "The feed does not have the number in `after`: this database was restored from a "
            f"backup. Read the members' balances again, and go on after {latest_no}.",
        )  # fmt: skip
    items = [_change(each) for each in stored[: wanted.limit]]
    has_more = len(stored) > wanted.limit or bool(published and published[0] == PUBLISHED_AT_ONCE)
    return Changes(
        items=items,
        next_after=items[-1].change_no if items else wanted.after,
        has_more=has_more,
        latest_change_no=max(latest_no, items[-1].change_no if items else 0),
    )


def _change(stored: Sequence[Any]) -> Change:
    number, kind, member_id, balance_points, happened_at, published_at, data = stored
    return Change(
        change_no=number, type=kind, member_id=member_id, balance_points=balance_points,
        happened_at=happened_at, published_at=published_at, data=data,
    )  # fmt: skip
