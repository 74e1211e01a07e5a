"""Balances and histories of members, for the loyalty app."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request

from api.cursors import Cursors
from api.database import answering, bounded, row, rows
from api.keys import require
from api.models import (
    MEMBER,
    History,
    HistoryEntry,
    MemberPoints,
    PendingPoints,
    PhoneQuestion,
    PointsPart,
    SaleEntry,
)
from api.problems import Problem, described
from api.state import State, state_of
from connectors.kit.mapping.parse import dialled
from sql import expiry, member_outlook
from sql.balance import MemberBalance, can_expire, is_below_zero
from sql.expiry import Outlook
from sql.explain import Entry
from sql.member_outlook import MemberOutlook

router = APIRouter(
    prefix="/api/members", tags=["members"], dependencies=[Depends(require("members:read"))]
)
#: What becomes of points is computed from a member's whole history: so many at a time in a process.
_WORKERS = ThreadPoolExecutor(2, thread_name_prefix="outlook")


async def member_number(
    request: Request,
    member_id: Annotated[
        str,
        Path(
            pattern=MEMBER,
            description="The member's number, or their `public_id`.",
            examples=["42", "7d0c9f4e-5d3b-4f0e-9a58-1c2b3a4d5e6f"],
        ),
    ],
) -> int:
    """The number of the member in the address. Raises Problem (404)."""
    if member_id.isdigit():
        if int(member_id) >= 2**63:
            raise unknown_member()
        return int(member_id)
    async with answering():
        found = await row(state_of(request).readers, "members", "number", {"public_id": member_id})
    if found is None:
        raise unknown_member()
    return int(found[0])


MemberId = Annotated[int, Depends(member_number)]
_PLACE = (
    "after_at",
    "after_kind",
    "after_system",
    "after_account",
    "after_id",
    "after_no",
    "after_event_at",
)


@router.post(
    "/lookup",
    responses=described(401, 403, 404, 413, 422, 429, 503),
    summary="The balance of whoever has a phone",
)
async def lookup(request: Request, question: PhoneQuestion) -> MemberPoints:
    """The phone is in the body and never in an address: addresses are logged along the way."""
    state = state_of(request)
    phone = dialled_phone(state, question.phone)
    async with answering():
        member = await row(state.readers, "api", "member_by_phone", {"phone": phone})
    if member is None:
        raise Problem(
            404, "unknown_member", "No member has this phone; the first sale with it makes one."
        )
    return await _balance(state, int(member[0]))


def dialled_phone(state: State, text: str) -> str:
    """The phone in E.164. Raises Problem (422)."""
    phone = dialled(text, state.config.region)
    if phone is None:
        raise Problem(422, "no_phone", "This is no phone number that can be dialled.")
    return phone


@router.get(
    "/{member_id}/balance",
    responses=described(401, 403, 404, 422, 429, 503),
    summary="A member's points now",
)
async def balance(request: Request, member_id: MemberId) -> MemberPoints:
    """Always the sum of the ledger; with what an app shows beside it.

    What is pending, on hold and expires next, the way to the next tier, and promotions.
    """
    return await _balance(state_of(request), member_id)


async def _balance(state: State, member_id: int) -> MemberPoints:
    which, taken = {"member_id": member_id}, []
    async with answering():
        stored = await row(state.readers, "balance", "member", which)
        if stored is None:
            raise unknown_member()
        if is_below_zero(stored):
            taken = list(await rows(state.readers, "balance", "below_zero", which))
        expiries, becomes = await asyncio.get_running_loop().run_in_executor(
            _WORKERS, _outlook, state.config.dsn, stored
        )
    has = MemberBalance.of(stored, taken, expiries)
    return MemberPoints.model_validate(asdict(has) | asdict(becomes))


def _outlook(dsn: str, stored: Sequence[Any]) -> tuple[Outlook | None, MemberOutlook]:
    member_id, tier = stored[:2]
    with bounded(dsn) as connection:
        expiries = expiry.outlook(connection, member_id) if can_expire(stored) else None
        return expiries, member_outlook.outlook(connection, member_id, tier)


def unknown_member() -> Problem:
    """The problem 404."""
    return Problem(404, "unknown_member", "There is no member with this number or public id.")


@router.get(
    "/{member_id}/history",
    responses=described(400, 401, 403, 404, 422, 429, 503),
    summary="Why a member has these points",
)
async def history(
    request: Request,
    member_id: MemberId,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        str | None, Query(max_length=2000, description="`next_cursor` of the last page.")
    ] = None,
) -> History:
    """Everything that moved the balance, the latest first, with what explains it.

    The points of all sum to the balance.
    """
    state = state_of(request)
    filters = {"member_id": member_id}
    cursors = Cursors(state.config.key, "history")
    place = (
        dict.fromkeys(_PLACE)
        if cursor is None
        else dict(zip(_PLACE, cursors.read(cursor, filters), strict=True))
    )
    async with answering():
        movements = await rows(
            state.readers, "api", "history", {**filters, **place, "limit": limit + 1}
        )
        if not movements and await row(state.readers, "api", "is_member", filters) == (False,):
            raise unknown_member()
        words = dict(await rows(state.readers, "api", "promotion_words", {})) if movements else {}
    items = [_entry(movement, words) for movement in movements[:limit]]
    place_after = _place(movements[limit - 1]) if len(movements) > limit else None
    return History(
        member_id=member_id,
        items=items,
        next_cursor=None if place_after is None else cursors.write(place_after, filters),
    )


def _place(last: Sequence[Any]) -> list[Any]:
    kind, posted_at, _, _, event_at, _, _, external_id, system, account, _, entry_no, *_ = last
    return [
        posted_at.isoformat(),
        kind,
        system or "",
        account or "",
        external_id or "",
        entry_no,
        event_at.isoformat(),
    ]


def _entry(movement: Sequence[Any], words: Mapping[str, str]) -> HistoryEntry:
    (
        kind,
        posted_at,
        points,
        balance,
        event_at,
        run_id,
        reason,
        external_id,
        system,
        account,
        number,
        _,
        pending_points,
        available_at,
        awaits_payment,
        *rest,
    ) = movement
    entry = None if rest[0] is None else Entry(*rest)
    return HistoryEntry(
        kind=kind, posted_at=posted_at, points=points, balance_points=balance, event_at=event_at,
        reason=reason, run_id=run_id,
        explanation=entry.rule() if entry is not None else _of_no_sale(kind, reason, external_id),
        sale=None if entry is None else SaleEntry(
            system=system, account=account, transaction_id=external_id, transaction_number=number,
            entry_no=entry.entry_no,
            due_before=entry.due_before, due_after=entry.due_after, amount=entry.net_amount,
            currency=entry.currency, tier=entry.tier,
            parts=[PointsPart(**asdict(part)) for part in entry.parts(words)],
            program_version=entry.program_version,
            pending=None if pending_points is None else PendingPoints(
                points=pending_points, available_at=available_at, awaits_payment=awaits_payment,
            ),
        ),
    )  # fmt: skip


def _of_no_sale(kind: str, reason: str | None, number: str | None) -> str:
    if kind == "expiry":
        return "points that were not used in time expired, or an expiry was corrected"
    if kind == "redemption":
        return f"points spent (redemption {number}): {reason}"
    if kind == "redemption reversal":
        return f"points given back (redemption {number}): {reason}"
    what = {
        "adjustment": "by hand",
        "opening balance": "brought along from an earlier program",
        "opening balance void": "by hand, taking an opening balance back",
        "event": "for an event",
        "event void": "an event does not count after all, or counts otherwise",
    }.get(kind, "by hand, taking an adjustment back")
    return f"{what} (number {number}): {reason}"
