"""What members do beside buying, as the loyalty app tells it, and their birthdays."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from api.billing import utc
from api.database import answering, row
from api.keys import require
from api.member_models import (
    BirthdayBody,
    EventBody,
    MemberBirthday,
    MemberEvent,
    MemberEvents,
)
from api.member_pages import member_page
from api.member_writes import ANSWERS, change_member
from api.members import MemberId, unknown_member
from api.models import PageFilter
from api.problems import described
from api.state import state_of
from sql import member_events
from sql.db import DbConnection
from sql.keys import ApiKey
from sql.member_events import AppEvent, Birthday, EventEntered

router = APIRouter(prefix="/api/members", tags=["members"])
Teller = Annotated[ApiKey, Depends(require("events:write"))]


@router.post(
    "/{member_id}/events",
    status_code=201,
    responses={**ANSWERS, 200: {"model": MemberEvent}},
    summary="Tell what a member did",
)
async def add_event(
    request: Request,
    response: Response,
    key: Teller,
    member_id: MemberId,
    body: EventBody,
) -> MemberEvent:
    """201: the event is new; 200: it was told before, and nothing was added.

    It is kept whether or not a rule gives points for it: a rule may come later. The points are
    posted some seconds later.
    """
    asked = AppEvent(
        member_id=member_id,
        name=body.name,
        event_id=body.event_id,
        happened_at=utc(body.happened_at),
    )
    new = True

    def act(connection: DbConnection, run_id: str) -> MemberEvent:
        nonlocal new
        entered = member_events.add(connection, asked, run_id)
        new = not entered.repeated
        return _shown(entered)

    answer = await change_member(request, response, key, None, body, MemberEvent, act)
    response.status_code = 201 if new else 200
    return answer


@router.get(
    "/{member_id}/events",
    dependencies=[Depends(require("members:read"))],
    responses=described(400, 401, 403, 404, 422, 429, 503),
    summary="What a member did beside buying",
)
async def list_events(
    request: Request, member_id: MemberId, wanted: Annotated[PageFilter, Query()]
) -> MemberEvents:
    """The last told first; also of members who were merged into this one.

    The times of a birthday are the first day of its year: the day is personal data.
    """
    page, cursor = await member_page(request, member_id, wanted, "member_events", "of_member")
    return MemberEvents(items=[_shown(EventEntered(*each)) for each in page], next_cursor=cursor)


@router.get(
    "/{member_id}/birthday",
    dependencies=[Depends(require("events:write"))],
    responses=described(401, 403, 404, 422, 429, 503),
    summary="A member's birthday",
)
async def get_birthday(request: Request, member_id: MemberId) -> MemberBirthday:
    """Personal data: it needs the scope of whoever may enter it."""
    which, readers = {"member_id": member_id}, state_of(request).readers
    async with answering():
        stored = await row(readers, "member_events", "birthday", which)
        if stored is None and await row(readers, "api", "is_member", which) == (False,):
            raise unknown_member()
    month, day = stored or (None, None)
    return MemberBirthday(member_id=member_id, month=month, day=day)


@router.put(
    "/{member_id}/birthday", responses=ANSWERS, summary="Enter, correct or remove a birthday"
)
async def set_birthday(
    request: Request,
    response: Response,
    key: Teller,
    member_id: MemberId,
    body: BirthdayBody,
) -> MemberBirthday:
    """Month and day, never the year. What the rules give for it comes on the day, once a year.

    Nulls remove it. Points that it gave stay. Sent again it changes nothing: it takes no
    `Idempotency-Key`, and no answer is kept.
    """
    asked = (
        None if body.month is None or body.day is None else Birthday(month=body.month, day=body.day)
    )

    def act(connection: DbConnection, run_id: str) -> MemberBirthday:
        member_events.set_birthday(connection, member_id, asked, run_id)
        return MemberBirthday(member_id=member_id, month=body.month, day=body.day)

    return await change_member(request, response, key, None, body, MemberBirthday, act)


def _shown(stored: EventEntered) -> MemberEvent:
    values = asdict(stored)
    values.pop("repeated")
    return MemberEvent(**values)
