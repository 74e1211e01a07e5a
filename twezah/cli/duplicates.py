"""Commands about one sale told by several systems: find, declare."""

from datetime import date
from typing import Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.options import Confirm, Json, Who, Why
from twezah.cli.output import print_json, say

duplicates = typer.Typer(
    no_args_is_help=True,
    help="One sale in several systems, as a shop's order and its payment: which of them counts.",
)

Order = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="SYSTEM,SYSTEM,...",
        help="Systems, or system/account, the one that counts first.",
    ),
]
Within = Annotated[
    int | None,
    typer.Option(
        "--within-hours",
        metavar="HOURS",
        min=1,
        max=168,
        help="Switch the rule on: same customer, amount and currency within so many hours.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help="Only for sales from this day on."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    duplicates.command(
        epilog="Example: `twezah duplicates find --order shopify,stripe,quickbooks`"
    )(find)
    duplicates.command(
        epilog="Example: `twezah duplicates declare --order shopify,stripe --reason 'One shop' "
        "--author 'Ana, finance'`"
    )(declare)
    app.add_typer(duplicates, name="duplicates")


def find(
    order: Order = "", within_hours: Within = None, since: Since = None, json: Json = False
) -> None:
    """Which documents tell one sale, how that is known, and whose points would go.

    Changes nothing. Without an order: what is declared now.
    """
    from sql.db import connect
    from tasks.duplicates import DeclarationRefusedError
    from tasks.duplicates import find as preview

    if not order and (within_hours is not None or since is not None):
        raise typer.BadParameter("name the systems", param_hint="--order")
    with ledger() as dsn, connect(dsn) as connection:
        try:
            precedence = _wanted(order, within_hours, since) if order else None
            found = preview(connection, precedence)
        except DeclarationRefusedError as error:
            say(f"Refused: {error}.")
            raise typer.Exit(FAILED) from None
    _print(found, json=json)


def declare(
    reason: Why,
    author: Who,
    order: Order = "",
    none: Annotated[
        bool, typer.Option("--none", help="Declare nothing any more: every document counts.")
    ] = False,
    within_hours: Within = None,
    since: Since = None,
    confirm: Confirm = 0,
    json: Json = False,
) -> None:
    """Declare which system's document counts, and post what that means for stored sales.

    Who, when and why are kept. Look at `twezah duplicates find` first.
    """
    from loyalty.corrections import Decision
    from tasks.duplicates import DeclarationRefusedError
    from tasks.duplicates import declare as declare_precedence

    if bool(order) == none:
        raise typer.BadParameter("name the systems, or --none: one of both", param_hint="--order")
    run_id = command_id("duplicates declare")
    with refusals():
        decision = Decision(reason=reason, author=author)
    with ledger() as dsn:
        try:
            wanted = _wanted(order, within_hours, since)
            declared = declare_precedence(dsn, wanted, decision, run_id, confirm=confirm)
        except DeclarationRefusedError as error:
            if error.preview is not None:
                _print(error.preview, json=json)
            say(f"Not declared: {error}.")
            raise typer.Exit(FAILED) from None
        if declared.precedence_no is not None:
            post_waiting(dsn, run_id)
    _print(declared.preview, json=json)
    number = declared.precedence_no
    say("It was declared before." if number is None else f"Declared as number {number}.")


def _wanted(order: str, within_hours: int | None, since: str | None) -> Any:
    from tasks.duplicates import wanted_precedence

    try:
        day = None if since is None else date.fromisoformat(since)
    except ValueError:
        raise typer.BadParameter(
            f"{since!r} is no date like 2026-01-31", param_hint="--since"
        ) from None
    names = [name.strip() for name in order.split(",") if name.strip()]
    return wanted_precedence(names, within_hours, day)


def _print(found: Any, *, json: bool) -> None:
    from zoneinfo import ZoneInfo

    from settings import settings
    from tasks.duplicates import shown

    if json:
        print_json(found.to_json())
    else:
        print("\n".join(shown(found, ZoneInfo(settings().timezone))))
