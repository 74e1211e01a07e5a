"""GET /api/audit: who did what, when, with what result."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.billing import utc
from api.cursors import Cursors
from api.database import answering, rows
from api.keys import require
from api.problems import described
from api.state import state_of

router = APIRouter(prefix="/api/audit", tags=["audit"])
Name = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]


class AuditFilter(BaseModel):
    """Which entries."""

    model_config = ConfigDict(extra="forbid")

    since: datetime | None = Field(default=None, description="From this time on.")
    until: datetime | None = Field(default=None, description="Up to this time.")
    actor: Name | None = Field(default=None, description="e.g. schedule, operator, user ana.")
    operation: Name | None = Field(
        default=None, description="e.g. sync, or key for key.create, key.revoke, ..."
    )
    status: Literal["success", "error", "pending"] | None = None
    system: Name | None = Field(default=None, description="Billing system.")
    subject: Name | None = Field(default=None, description="e.g. member 17.")
    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(
        default=None, max_length=2000, description="`next_cursor` of the last page."
    )


class AuditEntry(BaseModel):
    """One operation."""

    entry_no: int
    at: datetime
    actor: str
    operation: str
    status: Literal["success", "error", "pending"]
    subject: str
    system: str | None
    account: str | None
    records: int | None
    points: int | None
    error: str | None
    run_id: str | None
    details: dict[str, Any]


class AuditEntries(BaseModel):
    """A page of them."""

    items: list[AuditEntry]
    next_cursor: str | None


@router.get(
    "",
    dependencies=[Depends(require("audit:read"))],
    responses=described(400, 401, 403, 422, 429, 503),
    summary="Who did what, when",
)
async def entries(request: Request, wanted: Annotated[AuditFilter, Query()]) -> AuditEntries:
    """The newest first, a page at a time. New entries do not move the pages that follow."""
    state = state_of(request)
    filters = wanted.model_dump(exclude={"limit", "cursor"})
    filters |= {"since": utc(wanted.since), "until": utc(wanted.until)}
    cursors = Cursors(state.config.key, "audit")
    before = None if wanted.cursor is None else cursors.read(wanted.cursor, filters)[0]
    async with answering():
        stored = await rows(
            state.readers,
            "audit",
            "entries",
            {**filters, "before": before, "limit": wanted.limit + 1},
        )
    names = list(AuditEntry.model_fields)
    items = [AuditEntry(**dict(zip(names, entry, strict=True))) for entry in stored[: wanted.limit]]
    more = len(stored) > wanted.limit
    return AuditEntries(
        items=items, next_cursor=cursors.write([items[-1].entry_no], filters) if more else None
    )
