"""Commands about what is kept of people: member consent."""

from typing import Annotated

import typer

from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.member import Number, member
from twezah.cli.options import Json, Who, Why
from twezah.cli.output import print_json


def register(app: typer.Typer) -> None:  # noqa: ARG001  they are commands of `member`
    """Add these commands to the application."""
    member.command(
        epilog=(
            "Example: `twezah member consent 17 --withdrawn --reason 'Request 12' "
            "--author 'Ana, support'`"
        )
    )(consent)


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
