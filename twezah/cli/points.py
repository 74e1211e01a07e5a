"""Commands about points: adjust, void."""

from typing import Annotated, Any
from uuid import uuid4

import typer

from twezah.cli.ledger import command_id, ledger, refusals
from twezah.cli.operate import Json
from twezah.cli.output import print_json

points = typer.Typer(no_args_is_help=True, help="Give, take and compute points.")

Why = Annotated[str, typer.Option("--reason", help="Why; kept for good. No names, no phone numbers: analysts read it.")]
Who = Annotated[str, typer.Option("--author", help="Who decided it; kept for good.")]
Key = Annotated[
    str, typer.Option("--key", help="Safe to repeat: the same key never counts twice. A new one if not given.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    # A negative number is an argument here, not an option.
    negative = {"ignore_unknown_options": True}
    example = "Example: `twezah points adjust 17 -500 --reason 'Counted twice in May' --author 'Ana, support'`"
    points.command(context_settings=negative, epilog=example)(adjust)
    points.command(epilog="Example: `twezah points void 3 --reason 'Wrong member' --author 'Ana, support'`")(void)
    app.add_typer(points, name="points")


def adjust(
    member: Annotated[int, typer.Argument(metavar="MEMBER", help="The member's number.")],
    amount: Annotated[int, typer.Argument(metavar="POINTS", help="What to add; negative: to take.")],
    reason: Why,
    author: Who,
    key: Key = "",
    json: Json = False,
) -> None:
    """Give a member points, or take some, by hand.

    The adjustment stays in the ledger for good, with its reason and author; `twezah points void` takes it back.
    """
    from loyalty.corrections import Adjustment
    from sql import corrections
    from sql.db import connect

    with refusals():
        wanted = Adjustment(member_id=member, points=amount, reason=reason, author=author, key=key or uuid4().hex)
        with ledger() as dsn, connect(dsn) as connection:
            done = corrections.adjust(connection, wanted, command_id("points adjust"))
            connection.commit()
    _print(done, json=json)


def void(
    adjustment: Annotated[int, typer.Argument(metavar="ADJUSTMENT", help="The adjustment's number.")],
    reason: Why,
    author: Who,
    key: Key = "",
    json: Json = False,
) -> None:
    """Take an adjustment back, by adding its opposite. Nothing is deleted."""
    from loyalty.corrections import Decision
    from sql import corrections
    from sql.db import connect

    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn, connect(dsn) as connection:
            run_id = command_id("points void")
            done = corrections.void_adjustment(connection, adjustment, decision, key or uuid4().hex, run_id)
            connection.commit()
    _print(done, json=json)


def _print(done: Any, *, json: bool) -> None:
    if json:
        print_json(done)
        return
    print(done.to_text())
