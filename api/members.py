"""Balances and histories of members, for the loyalty app."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from api.cursors import Cursors
from api.database import answering, row, rows
from api.keys import require
from api.models import Balance, History, HistoryEntry, Id, PhoneQuestion
from api.problems import Problem, described
from api.state import State, state_of
from connectors.kit.mapping.parse import dialled
from sql.explain import Entry

router = APIRouter(prefix="/api/members", tags=["members"], dependencies=[Depends(require("members:read"))])
MemberId = Annotated[Id, Path(description="The member's number.", examples=[42])]
_PLACE = ("after_at", "after_id", "after_no", "after_account", "after_system")


@router.post(
    "/lookup", responses=described(401, 403, 404, 413, 422, 429, 503), summary="The balance of whoever has a phone"
)
async def lookup(request: Request, question: PhoneQuestion) -> Balance:
    """The phone is in the body and never in an address: addresses are logged along the way."""
    state = state_of(request)
    phone = dialled(question.phone, state.config.region)
    if phone is None:
        raise Problem(422, "no_phone", "This is no phone number that can be dialled.")
    async with answering():
        found = await row(state.readers, "api", "member_by_phone", {"phone": phone})
    if found is None:
        raise Problem(404, "unknown_member", "No member has this phone; the first sale with it makes one.")
    return await _balance(state, int(found[0]))


@router.get("/{member_id}/balance", responses=described(401, 403, 404, 422, 429, 503), summary="A member's points now")
async def balance(request: Request, member_id: MemberId) -> Balance:
    """Always the sum of the ledger."""
    return await _balance(state_of(request), member_id)


async def _balance(state: State, member_id: int) -> Balance:
    async with answering():
        found = await row(state.readers, "api", "balance", {"member_id": member_id})
    if found is None:
        raise _unknown()
    return Balance(**dict(zip(Balance.model_fields, found, strict=True)))


def _unknown() -> Problem:
    return Problem(404, "unknown_member", "There is no member with this number.")


@router.get(
    "/{member_id}/history",
    responses=described(400, 401, 403, 404, 422, 429, 503),
    summary="Why a member has these points",
)
async def history(
    request: Request,
    member_id: MemberId,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the last page.")] = None,
) -> History:
    """Every entry of the ledger, the latest first, with the sale, the rule and the version that explain it."""
    state = state_of(request)
    filters = {"member_id": member_id}
    cursors = Cursors(state.config.key, "history")
    place = dict.fromkeys(_PLACE) if cursor is None else dict(zip(_PLACE, cursors.read(cursor, filters), strict=True))
    async with answering():
        found = await rows(state.readers, "api", "history", {**filters, **place, "limit": limit + 1})
        if not found and await row(state.readers, "api", "is_member", filters) == (False,):
            raise _unknown()
    items = [_entry(one) for one in found[:limit]]
    more = len(found) > limit
    return History(
        member_id=member_id, items=items, next_cursor=cursors.write(_place(items[-1]), filters) if more else None
    )


def _place(last: HistoryEntry) -> list[Any]:
    return [last.posted_at.isoformat(), last.transaction_id, last.entry_no, last.account, last.system]


def _entry(found: Sequence[Any]) -> HistoryEntry:
    system, account, external_id, number, _, _, *rest = found
    entry = Entry(*rest)
    return HistoryEntry(
        posted_at=entry.posted_at,
        points=entry.points,
        reason=entry.reason,
        system=system,
        account=account,
        transaction_id=external_id,
        transaction_number=number,
        entry_no=entry.entry_no,
        due_before=entry.due_before,
        due_after=entry.due_after,
        amount=entry.net_amount,
        currency=entry.currency,
        tier=entry.tier,
        breakdown=entry.breakdown,
        program_version=entry.program_version,
        event_at=entry.event_at,
        run_id=entry.run_id,
        explanation=entry.rule(),
    )
