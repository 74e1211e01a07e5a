"""The command status: what is stored, how fresh it is, and whether the stack is up."""

import typer

from twezah.cli.ledger import ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `twezah status --json`")(status)


def status(json: Json = False) -> None:
    """What is stored per system, how fresh it is, and whether the stack is up."""
    from settings import settings
    from sql import report
    from twezah.stack.up import running_stack

    up = running_stack(settings())
    with ledger() as dsn:
        rows = report.status(dsn)
    if json:
        print_json({"stack": up, "systems": rows})
        return
    print(
        f"The stack is up: {up.get('ui_url', 'starting')} (process {up.get('pid', 'unknown')})."
        if up is not None
        else "The stack is not up."
    )
    print_table("Ledger", rows)
    if not rows:
        print("The ledger is empty: nothing has been synced yet.")
