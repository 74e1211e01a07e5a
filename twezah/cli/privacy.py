"""Commands about what is kept of people: member consent, member certificate, hold."""

from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.member import Number, member
from twezah.cli.options import Json, Who, Why
from twezah.cli.output import print_json, say

hold = typer.Typer(
    no_args_is_help=True, help="Legal holds: what must not be deleted, whatever the settings say."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    member.command(
        epilog=(
            "Example: `twezah member consent 17 --withdrawn --reason 'Request 12' "
            "--author 'Ana, support'`"
        )
    )(consent)
    member.command(epilog="Example: `twezah member certificate 17`")(certificate)
    hold.command(
        epilog=(
            "Example: `twezah hold place --member 17 --reason 'Case 3' --author 'Ana, support'`"
        )
    )(place)
    hold.command(epilog="Example: `twezah hold lift 2 --reason 'Closed' --author 'Ana, support'`")(
        lift
    )
    hold.command("list", epilog="Example: `twezah hold list --json`")(list_holds)
    app.add_typer(hold, name="hold")


def consent(
    member_id: Number,
    reason: Why,
    author: Who,
    given: Annotated[
        bool,
        typer.Option("--given/--withdrawn", help="What the member decided.", show_default=False),
    ],
    json: Json = False,
) -> None:
    """Enter that a member withdrew consent, or gave it again. It counts from now on.

    Without consent, sales that happen later earn no points. Points and sales that are there stay.
    """
    from loyalty.corrections import Decision
    from sql import consent as consents
    from sql.db import connect

    run_id = command_id("member consent")
    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn:
            with connect(dsn) as connection:
                result = consents.decide(connection, member_id, decision, run_id, given=given)
                connection.commit()
            post_waiting(dsn, run_id)
    if json:
        print_json(result)
    else:
        print(result.to_text())


def certificate(member_id: Number, json: Json = False) -> None:
    """The certificates of a member's erasure: what was removed where, and what remains.

    They name nobody, and can be given to the person who asked. Exit code 1: there is none.
    """
    from sql import certificates
    from sql.db import connect

    with refusals(), ledger() as dsn, connect(dsn) as connection:
        found = certificates.of_member(connection, member_id)
    if json:
        print_json(found)
    else:
        print("\n".join(one.to_text() for one in found), end="")
    if not found:
        say(f"Member {member_id} was not erased.")
        raise typer.Exit(FAILED)


def place(
    reason: Why,
    author: Who,
    member_id: Annotated[
        int | None,
        typer.Option("--member", min=1, help="Member who must not be erased; else nobody may be."),
    ] = None,
    json: Json = False,
) -> None:
    """Place a legal hold: until it is lifted, its member (else anybody) cannot be erased.

    Nor does retention delete stored pages, webhooks and customer numbers meanwhile.
    """
    from loyalty.corrections import Decision
    from sql import holds
    from sql.db import connect

    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn, connect(dsn) as connection:
            result = holds.place(connection, member_id, decision, command_id("hold place"))
            connection.commit()
    if json:
        print_json(result)
    else:
        print(result.to_text())


def lift(
    hold_no: Annotated[int, typer.Argument(metavar="HOLD", help="The hold's number.")],
    reason: Why,
    author: Who,
    json: Json = False,
) -> None:
    """Lift a legal hold."""
    from loyalty.corrections import Decision
    from sql import holds
    from sql.db import connect

    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn, connect(dsn) as connection:
            result = holds.lift(connection, hold_no, decision, command_id("hold lift"))
            connection.commit()
    if json:
        print_json(result)
    else:
        print(f"Lifted. {result.to_text()}")


def list_holds(json: Json = False) -> None:
    """The legal holds in force."""
    from sql import holds
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as connection:
        found = holds.in_force(connection)
    if json:
        print_json(found)
    else:
        print("\n".join(one.to_text() for one in found) or "There is no hold in force.")
