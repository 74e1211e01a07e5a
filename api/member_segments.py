"""Whom promotions are for: codes that members enter, and lists that they are on."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.billing import utc
from api.database import answering, row, rows
from api.idempotency import IdempotencyKey
from api.keys import require
from api.member_models import (
    CodeBody,
    CodeEntered,
    CodeEntries,
    CodeEntry,
    ListBody,
    ListEndBody,
    ListEntry,
    MemberLists,
    OpenedPromotion,
)
from api.member_pages import member_page
from api.member_writes import ANSWERS, change_member, decision_of
from api.members import MemberId, unknown_member
from api.models import PageFilter
from api.problems import described
from api.state import state_of
from sql import member_lists, promotion_codes
from sql.db import DbConnection
from sql.keys import ApiKey
from sql.member_lists import ListSpan

router = APIRouter(prefix="/api/members", tags=["members"])
CodeWriter = Annotated[ApiKey, Depends(require("codes:write"))]
ListWriter = Annotated[ApiKey, Depends(require("lists:write"))]
ListName = Annotated[
    str,
    Path(
        pattern=r"^[a-z][a-z0-9_-]{0,62}$",
        description="As promotions name it in their conditions.",
        examples=["vip"],
    ),
]


@router.post(
    "/{member_id}/codes", status_code=201, responses=ANSWERS, summary="Enter a promotion's code"
)
async def enter_code(
    request: Request,
    response: Response,
    key: CodeWriter,
    member_id: MemberId,
    body: CodeBody,
    name: IdempotencyKey = None,
) -> CodeEntered:
    """The member's sales from now on earn by the promotions that it opens.

    Of requests at the same instant no more succeed than the code has uses. Refused with 409 where
    it is not its time, or it was used as often as it may be.
    """

    def act(connection: DbConnection, run_id: str) -> CodeEntered:
        entered = promotion_codes.enter(connection, member_id, body.code, run_id)
        return CodeEntered(
            entry_no=entered.entry_no, member_id=entered.member_id, code=entered.code,
            entered_at=entered.entered_at,
            promotions=[
                OpenedPromotion(
                    **asdict(each.promotion), counts_until=each.counts_until
                )
                for each in entered.opened
            ],
        )  # fmt: skip

    return await change_member(request, response, key, name, body, CodeEntered, act)


@router.get(
    "/{member_id}/codes",
    dependencies=[Depends(require("members:read"))],
    responses=described(400, 401, 403, 404, 422, 429, 503),
    summary="Codes that a member entered",
)
async def list_codes(
    request: Request, member_id: MemberId, wanted: Annotated[PageFilter, Query()]
) -> CodeEntries:
    """The latest first; also of members who were merged into this one."""
    page, cursor = await member_page(request, member_id, wanted, "promotion_codes", "of_member")
    names = ("entry_no", "member_id", "code", "entered_at")
    items = [CodeEntry(**dict(zip(names, each, strict=True))) for each in page]
    return CodeEntries(items=items, next_cursor=cursor)


@router.get(
    "/{member_id}/lists",
    dependencies=[Depends(require("members:read"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="Lists that a member is on",
)
async def get_lists(request: Request, member_id: MemberId) -> MemberLists:
    """Also those of the past, and of members who were merged into this one."""
    which, readers = {"member_id": member_id}, state_of(request).readers
    async with answering():
        stored = await rows(readers, "member_lists", "spans", which)
        if not stored and await row(readers, "api", "is_member", which) == (False,):
            raise unknown_member()
    return _shown([ListSpan(*each) for each in stored])


@router.put("/{member_id}/lists/{list_name}", responses=ANSWERS, summary="Put a member on a list")
async def put_on_list(
    request: Request,
    response: Response,
    key: ListWriter,
    member_id: MemberId,
    list_name: ListName,
    body: ListBody,
    name: IdempotencyKey = None,
) -> MemberLists:
    """From an instant on, also a past one: sales since then are computed again.

    To correct until when, put the member on it again from the same instant on.
    """

    def act(connection: DbConnection, run_id: str) -> MemberLists:
        times = utc(body.valid_from), utc(body.valid_to)
        member_lists.put(connection, member_id, list_name, times, decision_of(body), run_id)
        return _shown(member_lists.of_member(connection, member_id))

    return await change_member(request, response, key, name, body, MemberLists, act)


@router.post(
    "/{member_id}/lists/{list_name}/end", responses=ANSWERS, summary="Take a member off a list"
)
async def take_off_list(
    request: Request,
    response: Response,
    key: ListWriter,
    member_id: MemberId,
    list_name: ListName,
    body: ListEndBody,
    name: IdempotencyKey = None,
) -> MemberLists:
    """From an instant on; what was before stays. Nothing happens where they are not on it."""

    def act(connection: DbConnection, run_id: str) -> MemberLists:
        at = utc(body.valid_to)
        member_lists.take_off(connection, member_id, list_name, at, decision_of(body), run_id)
        return _shown(member_lists.of_member(connection, member_id))

    return await change_member(request, response, key, name, body, MemberLists, act)


def _shown(spans: list[ListSpan]) -> MemberLists:
    return MemberLists(items=[ListEntry(**asdict(each)) for each in spans])
