"""The command report: the month-end report as files."""

from datetime import date
from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, say

report = typer.Typer(no_args_is_help=True, help="Reports for managers and auditors.")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    report.command("month", epilog="Example: `twezah report month --month 2026-10`")(month)
    app.add_typer(report, name="report")


def month(
    month: Annotated[
        str, typer.Option(metavar="YYYY-MM", help="Which; by default the last that has ended.")
    ] = "",
    json: Json = False,
) -> None:
    """Write the month-end report as CSV, Parquet and PDF into the state folder's `reports`.

    It is written only if it ties out to the ledger to the point.
    """
    from panel.reports.month_end import make, summary
    from settings import settings
    from sql.db import connect
    from tasks.month_report import NotTiedOutError

    try:
        wanted = date.fromisoformat(f"{month}-01") if month else None
    except ValueError:
        raise typer.BadParameter("a month such as 2026-10", param_hint="--month") from None
    try:
        with ledger() as dsn, connect(dsn) as connection:
            folder, made = make(connection, settings().home, wanted, command_id("report"))
    except NotTiedOutError as error:
        say(f"No report was made, because it does not tie out: {error}.")
        raise typer.Exit(FAILED) from None
    except ValueError as error:
        say(f"Refused: {error}.")
        raise typer.Exit(FAILED) from None
    if json:
        lines = made.roll_forward.to_dicts()
        print_json({"folder": str(folder), "month": f"{made.month:%Y-%m}", "roll_forward": lines})
    else:
        print(summary(folder, made))
