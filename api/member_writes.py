"""Members: registered, tiers and referrals entered and corrected, phones changed, two merged.

All of it changes nothing when it is so already, and is taken back by another request.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from api.billing import utc
from api.database import answering, row, rows
from api.idempotency import IdempotencyKey, change
from api.keys import require
from api.member_models import (
    DecisionBody,
    Member,
    MemberChange,
    MergeBody,
    MergeResult,
    PhoneBody,
    Referral,
    ReferralBody,
    RegistrationBody,
    TierBody,
    TierEndBody,
    TierEntry,
    Tiers,
)
from api.members import MemberId, dialled_phone, unknown_member
from api.problems import Problem, described, sentence
from api.runs import NoDeploymentError, PrefectAwayError
from api.state import State, state_of
from sql import corrections, members, merge_preview
from sql.actor import actor
from sql.corrections import (
    CorrectionRefusedError,
    MemberErasedError,
    MergedMemberError,
    PhoneTakenError,
    UnknownMemberError,
)
from sql.db import DbConnection
from sql.keys import ApiKey
from sql.member_events import (
    EventInFutureError,
    EventReusedError,
    EventTooOldError,
    NoBirthdayError,
    OwnEventError,
)
from sql.member_lists import ListTimesError
from sql.members import (
    Decision,
    MemberDetails,
    ReferralCircleError,
    TierRow,
    UnknownTierError,
)
from sql.promotion_codes import (
    CodeNotValidError,
    CodeUsedError,
    CodeUsedUpError,
    UnknownCodeError,
)

router = APIRouter(prefix="/api/members", tags=["members"])
Writer = Annotated[ApiKey, Depends(require("members:write"))]
Merger = Annotated[ApiKey, Depends(require("members:merge"))]
TierWriter = Annotated[ApiKey, Depends(require("tiers:write"))]
ReferralWriter = Annotated[ApiKey, Depends(require("referrals:write"))]
Answer = TypeVar("Answer", bound=BaseModel)
#: The deployment that posts the points of members who wait for it.
AWARD: Final = "award-waiting"
log = logging.getLogger(__name__)
_posting: set[asyncio.Task[None]] = set()
#: What requests that change a member may be answered with.
ANSWERS: Final = described(401, 403, 404, 409, 413, 422, 429, 503)


@router.post(
    "",
    status_code=201,
    responses={**described(401, 403, 413, 422, 429, 503), 200: {"model": Member}},
    summary="Register a member before the first sale",
)
async def register_member(
    request: Request,
    response: Response,
    key: Writer,
    body: RegistrationBody,
    name: IdempotencyKey = None,
) -> Member:
    """201: the member is new; 200: somebody has this phone already, and is the answer.

    Sales under the phone are theirs from now on.
    """
    phone = dialled_phone(state_of(request), body.phone)
    new = False

    def act(connection: DbConnection, run_id: str) -> Member:
        nonlocal new
        registered = members.register(connection, phone, run_id)
        new = not registered.repeated
        return _member(connection, registered.member_id)

    answer = await change_member(request, response, key, name, body, Member, act)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/api/members/{answer.public_id}"
    return answer


@router.get(
    "/{member_id}",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="Who a member is",
)
async def get_member(request: Request, member_id: MemberId) -> Member:
    """Ids, tier and referral; no phone."""
    which = {"member_id": member_id}
    async with answering():
        stored = await row(state_of(request).readers, "members", "member", which)
    if stored is None:
        raise unknown_member()
    return _shown(MemberDetails(*stored))


@router.get(
    "/{member_id}/tiers",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="Tiers that were set for a member",
)
async def list_tiers(request: Request, member_id: MemberId) -> Tiers:
    """What was entered for this member, as it counts; not what the program evaluates."""
    which, readers = {"member_id": member_id}, state_of(request).readers
    async with answering():
        stored = await rows(readers, "members", "tiers", which)
        if not stored and await row(readers, "api", "is_member", which) == (False,):
            raise unknown_member()
    return _tiers(member_id, [TierRow(*each) for each in stored])


@router.post("/{member_id}/tiers", responses=ANSWERS, summary="Set a tier")
async def set_tier(
    request: Request,
    response: Response,
    key: TierWriter,
    member_id: MemberId,
    body: TierBody,
    name: IdempotencyKey = None,
) -> Tiers:
    """From an instant on, also a past one: sales since then are computed again.

    To correct a tier, set another one at the same instant.
    """

    def act(connection: DbConnection, run_id: str) -> Tiers:
        at = utc(body.valid_from)
        members.set_tier(connection, member_id, body.tier, at, decision_of(body), run_id)
        return _tiers(member_id, members.tiers(connection, member_id))

    return await change_member(request, response, key, name, body, Tiers, act)


@router.post("/{member_id}/tiers/end", responses=ANSWERS, summary="End the tier that is set")
async def end_tier(
    request: Request,
    response: Response,
    key: TierWriter,
    member_id: MemberId,
    body: TierEndBody,
    name: IdempotencyKey = None,
) -> Tiers:
    """From then on the entry tier counts, or the one that the program evaluates."""

    def act(connection: DbConnection, run_id: str) -> Tiers:
        at = utc(body.valid_from)
        members.set_tier(connection, member_id, None, at, decision_of(body), run_id)
        return _tiers(member_id, members.tiers(connection, member_id))

    return await change_member(request, response, key, name, body, Tiers, act)


@router.put(
    "/{member_id}/referral", responses=ANSWERS, summary="Enter, correct or withdraw a referral"
)
async def set_referral(
    request: Request,
    response: Response,
    key: ReferralWriter,
    member_id: MemberId,
    body: ReferralBody,
    name: IdempotencyKey = None,
) -> Member:
    """Who referred this member. Rewards that another referrer was given are taken back.

    Refused with 409 where the member referred them, directly or over others.
    """

    def act(connection: DbConnection, run_id: str) -> Member:
        referrer = None if body.referrer is None else members.number_of(connection, body.referrer)
        at = utc(body.referred_at)
        members.set_referral(connection, member_id, referrer, at, decision_of(body), run_id)
        return _member(connection, member_id)

    return await change_member(request, response, key, name, body, Member, act)


@router.post("/{member_id}/phone", responses=ANSWERS, summary="Change a member's phone")
async def change_phone(
    request: Request,
    response: Response,
    key: Writer,
    member_id: MemberId,
    body: PhoneBody,
    name: IdempotencyKey = None,
) -> Member:
    """Sales under the former number still count here, unless it is given up.

    Refused with 409 where the phone is another member's: merge them, if both are one customer.
    """
    phone = dialled_phone(state_of(request), body.phone)

    def act(connection: DbConnection, run_id: str) -> Member:
        if (known := corrections.member_of_phone(connection, phone)) is None or (
            known.member_id != member_id
        ):
            corrections.change_phone(
                connection, member_id, phone, decision_of(body), run_id,
                keep_former=not body.give_up_former,
            )  # fmt: skip
        return _member(connection, member_id)

    return await change_member(request, response, key, name, body, Member, act)


@router.post("/{member_id}/merge", responses=ANSWERS, summary="Merge a member into another one")
async def merge_members(
    request: Request,
    response: Response,
    key: Merger,
    member_id: MemberId,
    body: MergeBody,
    name: IdempotencyKey = None,
) -> MergeResult:
    """Two members who are one customer: all that this one earned and will earn is `into`'s.

    With `dry_run` it only says what would change. `unmerge` takes it back.
    """

    def act(connection: DbConnection, run_id: str) -> MergeResult:
        into = members.number_of(connection, body.into)
        decision = decision_of(body)
        shown = merge_preview.preview(
            connection, member_id, into, decision, run_id, tiers=body.tiers
        )
        if not body.dry_run:
            corrections.merge(connection, member_id, into, decision, run_id, tiers=body.tiers)
        return MergeResult(
            state="preview" if body.dry_run else "merged",
            member_id=member_id,
            owner_id=shown.merged.owner_id,
            changes=[MemberChange(**asdict(each)) for each in shown.changes],
        )

    return await change_member(request, response, key, name, body, MergeResult, act)


@router.post("/{member_id}/unmerge", responses=ANSWERS, summary="Take a merge back")
async def unmerge_member(
    request: Request,
    response: Response,
    key: Merger,
    member_id: MemberId,
    body: DecisionBody,
    name: IdempotencyKey = None,
) -> Member:
    """Everybody has the points that they would have without the merge."""

    def act(connection: DbConnection, run_id: str) -> Member:
        corrections.unmerge(connection, member_id, decision_of(body), run_id)
        return _member(connection, member_id)

    return await change_member(request, response, key, name, body, Member, act)


def decision_of(body: DecisionBody) -> Decision:
    """Why, and who decided it: the API key, if nobody is named."""
    return Decision(reason=body.reason, author=body.author or actor())


def _member(connection: DbConnection, member_id: int) -> Member:
    return _shown(members.details(connection, member_id))


def _shown(stored: MemberDetails) -> Member:
    values = asdict(stored)
    referrer, at, in_circle = (
        values.pop(name) for name in ("referrer_id", "referred_at", "referral_in_circle")
    )
    referral = (
        None
        if referrer is None
        else Referral(referrer_id=referrer, referred_at=at, counts=not in_circle)
    )
    return Member(**values, referral=referral)


def _tiers(member_id: int, stored: Sequence[TierRow]) -> Tiers:
    return Tiers(member_id=member_id, items=[TierEntry(**asdict(each)) for each in stored])


async def change_member(
    request: Request,
    response: Response,
    key: ApiKey,
    name: str | None,
    body: BaseModel,
    kind: type[Answer],
    act: Callable[[DbConnection, str], Answer],
) -> Answer:
    """Does it once per name, and has the points posted; a refusal is a problem."""
    try:
        answer = await change(request, response, key, name, body, kind, act)
    except CorrectionRefusedError as refusal:
        raise _problem(refusal) from None
    task = asyncio.create_task(_post_points(state_of(request)))
    _posting.add(task)
    task.add_done_callback(_posting.discard)
    return answer


async def _post_points(state: State) -> None:
    """Asks for a run that posts the points of members who wait; one for many changes."""
    try:
        await state.runs.ensure(AWARD)
    except (NoDeploymentError, PrefectAwayError) as error:
        log.warning("the next synchronisation posts the points: %s", type(error).__name__)


#: The problem of each refusal: status and name.
_PROBLEMS: Final[dict[type[CorrectionRefusedError], tuple[int, str]]] = {
    UnknownMemberError: (404, "unknown_member"),
    UnknownTierError: (422, "unknown_tier"),
    MergedMemberError: (409, "member_merged"),
    MemberErasedError: (409, "member_erased"),
    PhoneTakenError: (409, "phone_taken"),
    ReferralCircleError: (409, "referral_circle"),
    OwnEventError: (422, "own_event"),
    EventInFutureError: (422, "event_in_future"),
    EventTooOldError: (422, "event_too_old"),
    EventReusedError: (409, "event_reused"),
    NoBirthdayError: (422, "no_such_day"),
    UnknownCodeError: (404, "unknown_code"),
    CodeNotValidError: (409, "code_not_valid"),
    CodeUsedError: (409, "code_used"),
    CodeUsedUpError: (409, "code_used_up"),
    ListTimesError: (422, "wrong_times"),
    CorrectionRefusedError: (409, "contradiction"),  # any other
}


def _problem(refusal: CorrectionRefusedError) -> Problem:
    status, name = _PROBLEMS.get(type(refusal), _PROBLEMS[CorrectionRefusedError])
    return Problem(status, name, sentence(refusal))
