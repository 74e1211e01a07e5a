"""What members did beside buying, from a form: events, birthdays, codes of promotions."""

from datetime import datetime
from typing import Annotated, Any

from prefect.client.schemas.objects import State
from pydantic import Field

from loyalty.corrections import Decision
from loyalty.member_events import AppEvent, birthday_of
from panel.runs.changing_flow import changing_flow
from panel.runs.member_decision import Result, decided, utc
from panel.runs.private_parameters import forget_parameters
from panel.runs.refused_state import refused_state
from sql import member_events, promotion_codes
from sql.db import DbConnection


@changing_flow(name="member-event", flow_run_name="event of member {member}")
def member_event(
    member: Annotated[int, Field(ge=1)],
    name: str,
    reason: str,
    author: str,
    happened_at: datetime | None = None,
    event_id: str = "",
) -> State[Any]:
    """Enter something that a member did beside buying, where the loyalty app did not tell it.

    What it is worth the rules say; an event stays for good. A run that is retried counts once.

    Args:
        member: The member's number.
        name: What happened, as the rules name it, e.g. review. Registrations and birthdays are
            noted by the program itself.
        reason: Why it is entered by hand; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        happened_at: When. Empty: now.
        event_id: The app's own id of the event, if it has one: it counts once, also if the app
            tells it later. Empty: this run's own.
    """

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        event = AppEvent(
            member_id=member, name=name.strip(), event_id=event_id.strip() or f"desk-{run_id}",
            happened_at=utc(happened_at),
        )  # fmt: skip
        return member_events.add_by_hand(connection, event, decision, run_id)

    return decided(reason, author, act)


@changing_flow(name="member-birthday", flow_run_name="birthday of member {member}")
def member_birthday(
    member: Annotated[int, Field(ge=1)],
    reason: str,
    author: str,
    month: str = "",
    day: str = "",
    remove: bool = False,
) -> State[Any]:
    """Enter, correct or remove a member's birthday.

    What the rules give for it comes on the day, once a year, with the next award step.

    Month and day are taken out of this run's parameters as soon as they were read: to try again,
    start another run.

    Args:
        member: The member's number.
        reason: Why; kept for good. No names, no phone numbers, and no birthday: analysts read it.
        author: Who decided it; kept for good.
        month: Month of birth, 1 to 12.
        day: Day of birth in that month. Never the year.
        remove: Instead: remove the birthday that is kept. Points that it gave stay.
    """
    forget_parameters("month", "day")
    asked = birthday_of(month, day)
    if remove == bool(month.strip() or day.strip()):
        return refused_state("enter month and day, or remove the birthday that is kept")
    if not remove and asked is None:
        return refused_state("month and day are two numbers, as 12 and 31, and the year is none")

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        return member_events.set_birthday_by_hand(connection, member, asked, decision, run_id)

    # (Points that are posted at once would tell that the birthday is today.)
    return decided(reason, author, act, post=False)


@changing_flow(name="enter-code", flow_run_name="code of member {member}")
def enter_code(
    member: Annotated[int, Field(ge=1)],
    code: str,
    reason: str,
    author: str,
    entered_at: datetime | None = None,
) -> State[Any]:
    """Enter the code of a promotion for a member who could not.

    The member's sales from then on may earn by it. A run that is retried enters it once.

    Args:
        member: The member's number.
        code: As the promotion has it; small letters are read as capital ones.
        reason: Why it is entered by hand; kept for good. No names, no phone numbers.
        author: Who decided it; kept for good.
        entered_at: When the member entered it: sales from then on are computed again. Empty: now.
    """
    at = utc(entered_at)

    def act(connection: DbConnection, decision: Decision, run_id: str) -> Result:
        return promotion_codes.enter_by_hand(connection, member, code, at, decision, run_id)

    return decided(reason, author, act)
