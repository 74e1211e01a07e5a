"""Commands about what members did beside buying: member event, member birthday, member code."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from twezah.cli.member import FORMATS, Number, Result, ask, enter, member, utc
from twezah.cli.options import Json, Who, Why

if TYPE_CHECKING:
    from loyalty.corrections import Decision
    from loyalty.member_events import Birthday
    from sql.db import DbConnection

When = Annotated[
    datetime | None,
    typer.Option("--at", formats=FORMATS, help="When it was; UTC. Now, if left out."),
]


def register(app: typer.Typer) -> None:  # noqa: ARG001  the group is that of members
    """Add these commands to those about members."""
    member.command(
        epilog=(
            "Example: `twezah member event 17 review --at 2026-11-02 --reason 'The app was down' "
            "--author 'Ana, support'`"
        )
    )(event)
    member.command(
        epilog=(
            "Example: `twezah member birthday 17 --reason 'Called us' --author 'Ana, support'`, "
            "and then type month and day"
        )
    )(birthday)
    member.command(
        epilog=(
            "Example: `twezah member code 17 VERAO-2027 --reason 'Called us' "
            "--author 'Ana, support'`"
        )
    )(code)


def event(
    member_id: Number,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What happened, as the rules name it.")
    ],
    reason: Why,
    author: Who,
    at: When = None,
    event_id: Annotated[
        str,
        typer.Option(
            "--id",
            help="The app's own id of it: the same one counts once. A new one, if left out.",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Enter something that a member did beside buying, where the loyalty app did not tell it.

    What it is worth the rules say; an event stays for good.
    """
    from sql import member_events

    own_id = event_id.strip() or f"desk-{uuid4()}"

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        told = member_events.AppEvent(
            member_id=member_id, name=name, event_id=own_id, happened_at=utc(at)
        )
        return member_events.add_by_hand(connection, told, decision, run_id)

    enter("event", reason, author, act, json=json)


def birthday(
    member_id: Number,
    reason: Why,
    author: Who,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the one that is kept. Its points stay.")
    ] = False,
    json: Json = False,
) -> None:
    """Enter, correct or remove a member's birthday; points for it come on the day.

    Month and day are asked for, or read from two lines of stdin: they must not be arguments.
    """
    from sql import member_events

    asked = None if remove else _ask_birthday()

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return member_events.set_birthday_by_hand(connection, member_id, asked, decision, run_id)

    enter("birthday", reason, author, act, json=json, post=False)


def code(
    member_id: Number,
    name: Annotated[str, typer.Argument(metavar="CODE", help="As the promotion has it.")],
    reason: Why,
    author: Who,
    at: When = None,
    json: Json = False,
) -> None:
    """Enter the code of a promotion for a member who could not.

    Sales from then on (`--at`: from when the member entered it) may earn by it.
    """
    from sql import promotion_codes

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return promotion_codes.enter_by_hand(connection, member_id, name, utc(at), decision, run_id)

    enter("code", reason, author, act, json=json)


def _ask_birthday() -> "Birthday":
    """A birthday, from the terminal or from two lines of stdin: no argument, as a phone is none."""
    from loyalty.member_events import birthday_of

    asked = birthday_of(ask("Month, 1 to 12"), ask("Day"))
    if asked is None:
        raise typer.BadParameter(
            "month and day are two numbers, as 12 and 31, and the year is none",
            param_hint="stdin",
        )
    return asked
