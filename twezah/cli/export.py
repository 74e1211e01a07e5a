"""The command export: tables as files, for analysts or for a member who asks."""

from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, refusals
from twezah.cli.options import Json
from twezah.cli.output import print_json, say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog=(
            "Examples: `twezah export --table sales --parquet`, `twezah export --member 17 "
            "--personal`"
        )
    )(export)


def export(
    table: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Repeatable: sales, sale_lines, awards, points_history, redemptions, members, "
                "tiers, changes, opening_balances, referrals, audit. All if not given."
            )
        ),
    ] = None,
    member: Annotated[
        int | None, typer.Option(help="Only rows about the member with this number.")
    ] = None,
    personal: Annotated[
        bool,
        typer.Option(
            "--personal",
            help=(
                "With phones; of one member, also a page that the member can read. The audit log "
                "says so."
            ),
        ),
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Parquet files instead of CSV.")
    ] = False,
    rows_max: Annotated[
        int, typer.Option(min=1, max=50_000_000, help="Refuse tables with more rows.")
    ] = 1_000_000,
    json: Json = False,
) -> None:
    """Write tables into a new folder under the state folder's `exports`, readable by you only.

    Without personal data, unless asked for.
    """
    from settings import settings
    from sql.db import connect
    from sql.export import TABLES, ExportTooLargeError
    from sql.export import export as write
    from tasks.person import hand_over

    if unknown := sorted(set(table or []) - set(TABLES)):
        raise typer.BadParameter(
            f"{', '.join(unknown)}: tables are {', '.join(TABLES)}", param_hint="--table"
        )
    whole = member is not None and personal and not table and not parquet
    try:
        if member is not None and whole:
            with refusals(), ledger():
                result = hand_over(settings(), member, command_id("export"))
            print_json(result) if json else print(result.to_text())
            return
        with refusals(), ledger() as dsn, connect(dsn) as connection:
            result = write(
                connection, settings().home, command_id("export"), tables=table or TABLES,
                member_id=member, personal=personal,
                kind="parquet" if parquet else "csv", rows_max=rows_max,
            )  # fmt: skip
    except ExportTooLargeError as error:
        say(f"Refused: {error}.")
        raise typer.Exit(FAILED) from None
    if json:
        print_json(result)
    else:
        print(result.to_text())
