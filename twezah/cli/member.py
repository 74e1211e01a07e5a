"""Commands about members: find, merge, unmerge, phone, erase."""

import sys
from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.options import Json, Who, Why
from twezah.cli.output import print_json, say

member = typer.Typer(
    no_args_is_help=True, help="Who is who: find a member, merge two, change a phone."
)

Number = Annotated[int, typer.Argument(metavar="MEMBER", help="The member's number.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    member.command(epilog="Example: `twezah member find --json`, and then type the phone")(find)
    member.command(
        epilog=(
            "Example: `twezah member merge 17 4 --reason 'Same customer' --author 'Ana, support'`"
        )
    )(merge)
    member.command(
        epilog="Example: `twezah member unmerge 17 --reason 'Two people' --author 'Ana, support'`"
    )(unmerge)
    example = (
        "Example: `twezah member phone 17 --reason 'New number' --author 'Ana, support'`, and then "
        "type the phone"
    )
    member.command(epilog=example)(phone)
    member.command(
        epilog=(
            "Example: `twezah member erase 17 --reason 'Request 12' --author 'Ana, support' "
            "--apply`"
        )
    )(erase)
    app.add_typer(member, name="member")


def find(json: Json = False) -> None:
    """The number of the member with a phone.

    The phone is asked for, or read from stdin: it must not be an argument.
    """
    from sql import corrections
    from sql.db import connect

    wanted = _ask_phone()
    with ledger() as dsn, connect(dsn) as connection:
        result = corrections.member_of_phone(connection, wanted)
    if result is None:
        say("No member has that phone.")
        raise typer.Exit(FAILED)
    if json:
        print_json(result)
    elif result.owner_id == result.member_id:
        print(f"member {result.member_id}")
    else:
        print(f"member {result.member_id}, merged into {result.owner_id}")


def merge(
    member_id: Number,
    into: Annotated[
        int, typer.Argument(metavar="INTO", help="The member who earns for both from now on.")
    ],
    reason: Why,
    author: Who,
    json: Json = False,
) -> None:
    """Merge two members who are one customer: MEMBER's points become INTO's, at INTO's tier.

    This is for all that MEMBER earned and will earn. The sales stay as they are; the points move by
    entries of their own. `twezah member unmerge` takes it back.
    """
    _decide("merge", member_id, into, reason, author, json=json)


def unmerge(member_id: Number, reason: Why, author: Who, json: Json = False) -> None:
    """Take a merge back: everybody has the points they would have without it."""
    _decide("unmerge", member_id, None, reason, author, json=json)


def _decide(
    what: str, member_id: int, into: int | None, reason: str, author: str, *, json: bool
) -> None:
    """Enters a merge, or (`into` is None) its undoing, and posts what is due then."""
    from loyalty.corrections import Decision
    from sql import corrections
    from sql.db import connect

    run_id = command_id(f"member {what}")
    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn:
            with connect(dsn) as connection:
                if into is None:
                    result = corrections.unmerge(connection, member_id, decision, run_id)
                else:
                    result = corrections.merge(connection, member_id, into, decision, run_id)
                connection.commit()
            post_waiting(dsn, run_id)
    if json:
        print_json(result)
    else:
        print(result.to_text())


def phone(
    member_id: Number,
    reason: Why,
    author: Who,
    give_up_former: Annotated[
        bool,
        typer.Option(
            "--give-up-former",
            help="Sales under the former number are a new customer's from now on.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Give a member another phone. It is asked for, or read from stdin: it must not be an argument.

    Billing systems go on naming the former number for a while; sales under it still count here,
    unless it is given up.
    """
    from loyalty.corrections import Decision
    from sql import corrections
    from sql.db import connect

    run_id = command_id("member phone")
    with refusals():
        decision = Decision(reason=reason, author=author)
        wanted = _ask_phone()
        with ledger() as dsn, connect(dsn) as connection:
            result = corrections.change_phone(
                connection, member_id, wanted, decision, run_id, keep_former=not give_up_former
            )
            connection.commit()
    if json:
        print_json(result)
    else:
        print(result.to_text())


def erase(
    member_id: Number,
    reason: Why,
    author: Who,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it. Without, only say what would be removed.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a member's personal data: phone, and what stored records say of them.

    Sales and points stay; it cannot be undone.

    A sale that comes later under that phone makes a new member. Remove the customer at the billing
    system first. What cannot be removed here: docs/audit.md.
    """
    from loyalty.corrections import Decision
    from settings import settings
    from tasks.erase import erase_everywhere

    run_id = command_id("member erase")
    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger():
            result = erase_everywhere(settings(), member_id, decision, run_id, dry_run=not apply)
    if json:
        print_json(result)
    else:
        print(result.to_text())


def _ask_phone() -> str:
    """The phone in E.164, from the terminal or from the first line of stdin.

    A phone on the command line would stay in the shell's history.
    """
    from connectors.kit.mapping.parse import dialled
    from settings import settings

    text = (
        typer.prompt("Phone", err=True) if sys.stdin.isatty() else sys.stdin.readline(100).strip()
    )
    number = dialled(text, settings().region)
    if number is None:
        raise typer.BadParameter(
            "that is not a phone number as billing systems write it", param_hint="stdin"
        )
    return number
