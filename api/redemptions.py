"""Spending points: redemptions and holds, each request once per Idempotency-Key."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from api.cursors import Cursors
from api.database import answering, row, rows
from api.idempotency import transact
from api.keys import require
from api.members import MemberId, unknown_member
from api.models import (
    Balance,
    Id,
    Redemption,
    RedemptionBody,
    RedemptionDone,
    RedemptionFilter,
    Redemptions,
    ReleaseBody,
)
from api.problems import Problem, described, key_reused, sentence
from api.state import state_of
from sql import redemptions
from sql.corrections import CorrectionRefusedError, MemberErasedError, UnknownMemberError
from sql.db import DbConnection
from sql.keys import ApiKey
from sql.redemptions import (
    InsufficientPointsError,
    KeyReusedError,
    RedemptionRequest,
    Spent,
    WrongStateError,
)

router = APIRouter(prefix="/api/members/{member_id}/redemptions", tags=["spending"])
#: Requests of one member wait for each other: so many are under way in a process. No more than the
#: pool keeps open.
_WORKERS = ThreadPoolExecutor(4, thread_name_prefix="spend")
RedemptionId = Annotated[Id, Path(description="The redemption's number.", examples=[12])]
Spender = Annotated[ApiKey, Depends(require("points:spend"))]
Name = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description=(
            "Your own name for this request, kept for good. Repeated with it, by whatever API key, "
            "the request changes nothing and gets the redemption as it is now."
        ),
        examples=["order-5512-points"],
    ),
]
_ANSWERS = described(401, 403, 404, 409, 413, 422, 429, 503)
Act = Callable[[DbConnection, str], Spent]


@router.post("", status_code=201, responses=_ANSWERS, summary="Spend points, or hold them")
async def redeem(
    request: Request,
    response: Response,
    key: Spender,
    member_id: MemberId,
    body: RedemptionBody,
    name: Name,
) -> RedemptionDone:
    """Refused with 409 and the balance where the points do not suffice.

    Of requests at the same instant exactly those succeed that the points suffice for. With
    `hold_seconds` the points are reserved, until they are confirmed or cancelled or the time is
    over.
    """
    asked = RedemptionRequest(member_id=member_id, key=name, **body.model_dump())

    def act(connection: DbConnection, run_id: str) -> Spent:
        return redemptions.redeem(connection, asked, run_id)

    done = await _done(request, response, key, act)
    number = done.redemption.redemption_id
    response.headers["Location"] = f"/api/members/{member_id}/redemptions/{number}"
    return done


@router.post("/{redemption_id}/confirm", responses=_ANSWERS, summary="Spend the points of a hold")
async def confirm_redemption(
    request: Request,
    response: Response,
    key: Spender,
    member_id: MemberId,
    redemption_id: RedemptionId,
    name: Name,
) -> RedemptionDone:
    """Refused with 409 once the hold has ended, or was cancelled or confirmed."""

    def act(connection: DbConnection, run_id: str) -> Spent:
        return redemptions.confirm(connection, member_id, redemption_id, name, run_id)

    return await _done(request, response, key, act)


@router.post(
    "/{redemption_id}/cancel", responses=_ANSWERS, summary="Give the points of a hold free"
)
async def cancel_redemption(
    request: Request,
    response: Response,
    key: Spender,
    member_id: MemberId,
    redemption_id: RedemptionId,
    name: Name,
    body: ReleaseBody | None = None,
) -> RedemptionDone:
    """Refused with 409 once the hold has ended, or was cancelled or confirmed."""
    reason = None if body is None else body.reason

    def act(connection: DbConnection, run_id: str) -> Spent:
        return redemptions.cancel(connection, member_id, redemption_id, name, reason, run_id)

    return await _done(request, response, key, act)


@router.post("/{redemption_id}/reverse", responses=_ANSWERS, summary="Give spent points back")
async def reverse_redemption(
    request: Request,
    response: Response,
    key: Spender,
    member_id: MemberId,
    redemption_id: RedemptionId,
    name: Name,
    body: ReleaseBody,
) -> RedemptionDone:
    """All of them, once: refused with 409 afterwards. They keep the dates at which they expire."""

    def act(connection: DbConnection, run_id: str) -> Spent:
        return redemptions.reverse(connection, member_id, redemption_id, name, body.reason, run_id)

    return await _done(request, response, key, act)


@router.get(
    "",
    dependencies=[Depends(require("members:read"))],
    responses=described(400, 401, 403, 404, 422, 429, 503),
    summary="Redemptions and holds of a member",
)
async def list_redemptions(
    request: Request, member_id: MemberId, wanted: Annotated[RedemptionFilter, Query()]
) -> Redemptions:
    """The latest first; also those of members who were merged into this one."""
    state = state_of(request)
    filters = {"member_id": member_id, "state": wanted.state}
    cursors = Cursors(state.config.key, "redemptions")
    before = None if wanted.cursor is None else cursors.read(wanted.cursor, filters)[0]
    place = {**filters, "before": before, "limit": wanted.limit + 1}
    async with answering():
        found = await rows(state.readers, "redemptions", "of_member", place)
        if not found and await row(state.readers, "api", "is_member", filters) == (False,):
            raise unknown_member()
    items = [_shown(redemptions.Redemption(*one)) for one in found[: wanted.limit]]
    more = len(found) > wanted.limit
    return Redemptions(
        items=items,
        next_cursor=cursors.write([items[-1].redemption_id], filters) if more else None,
    )


@router.get(
    "/{redemption_id}",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="A redemption, and what became of it",
)
async def get_redemption(
    request: Request, member_id: MemberId, redemption_id: RedemptionId
) -> Redemption:
    """A hold that nobody confirmed in time is `ended`."""
    state = state_of(request)
    async with answering():
        found = await row(
            state.readers, "redemptions", "redemption", {"redemption_id": redemption_id}
        )
    if found is None or member_id not in found[1:3]:
        raise _unknown()
    return _shown(redemptions.Redemption(*found))


async def _done(request: Request, response: Response, key: ApiKey, act: Act) -> RedemptionDone:
    """Does it; a refusal is a problem."""
    busy = "Other requests spend points of this member."
    try:
        spent = await transact(request, key, _WORKERS, act, busy=busy)
    except CorrectionRefusedError as refusal:
        raise _problem(refusal) from None
    if spent.repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return RedemptionDone(
        redemption=_shown(spent.redemption),
        balance=Balance.model_validate(asdict(spent.balance)),
    )


def _problem(refusal: CorrectionRefusedError) -> Problem:
    detail = sentence(refusal)
    if isinstance(refusal, InsufficientPointsError):
        has = refusal.balance
        numbers = {
            "balance_points": has.balance_points,
            "held_points": has.held_points,
            "pending_points": has.pending_points,
            "available_points": has.available_points,
        }
        return Problem(409, "insufficient_points", detail, numbers=numbers)
    if isinstance(refusal, WrongStateError):
        return Problem(409, "wrong_redemption_state", detail)
    if isinstance(refusal, MemberErasedError):
        return Problem(409, "member_erased", detail)
    if isinstance(refusal, KeyReusedError):
        return key_reused()
    return unknown_member() if isinstance(refusal, UnknownMemberError) else _unknown()


def _unknown() -> Problem:
    return Problem(404, "unknown_redemption", "This member has no redemption with this number.")


def _shown(found: redemptions.Redemption) -> Redemption:
    values: dict[str, Any] = asdict(found)
    return Redemption(counts_for=values.pop("owner_id"), **values)
