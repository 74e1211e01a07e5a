"""Commands about the login of analysts to the bundled database: analyst on, rotate, off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, say

# For an annotation only: the module imports the database driver.
if TYPE_CHECKING:
    from twezah.stack.analyst_access import Access

analyst = typer.Typer(
    no_args_is_help=True,
    help="The connection string with which analysts read the bundled database.",
)
#: A port that PostgreSQL servers of others seldom have.
PORT = 15432


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    analyst.command("on", epilog="Example: `twezah analyst on --port 15432`")(on)
    analyst.command("rotate", epilog="Example: `twezah analyst rotate`")(rotate)
    analyst.command("off", epilog="Example: `twezah analyst off`")(off)
    app.add_typer(analyst, name="analyst")


def on(
    port: Annotated[
        int, typer.Option(min=1024, max=65535, help="TCP port on this machine (127.0.0.1).")
    ] = PORT,
    json: Json = False,
) -> None:
    """Open a port of this machine to the role analyst, and print the connection string once.

    The bundled database starts again for that, which takes a second or two.
    """
    with _access() as run_id:
        from settings import settings
        from twezah.stack.analyst_access import switch_on

        _show(switch_on(settings(), port, run_id), json=json)


def rotate(json: Json = False) -> None:
    """Make a new password; the old one stops working at once, and open sessions end."""
    with _access() as run_id:
        from settings import settings
        from twezah.stack import pginstall
        from twezah.stack.analyst_access import switch_on

        port = pginstall.tcp_port(settings().home)
        if port is None:
            say("The access of analysts is off: `twezah analyst on` switches it on.")
            raise typer.Exit(FAILED)
        _show(switch_on(settings(), port, run_id), json=json)


def off() -> None:
    """Close the port, take the password away and end the sessions of analysts."""
    with _access() as run_id:
        from settings import settings
        from twezah.stack.analyst_access import switch_off

        switch_off(settings(), run_id)
    say("Analysts can no longer log in by TCP. `twezah psql --analyst` still works here.")


@contextmanager
def _access() -> Iterator[str]:
    """The database runs; yields the name of the command for the audit log."""
    from sql.analyst_role import NotSafeError

    with ledger():
        try:
            yield command_id("analyst")
        except NotSafeError as error:
            say(f"Refused: {error}.")
            raise typer.Exit(FAILED) from None


def _show(access: "Access", *, json: bool) -> None:
    if json:
        print_json({"url": access.url, "port": access.port, "password": access.password})
        return
    print(access.url)
    say(
        "This is shown once. It works on this machine while the database runs (`twezah up`); "
        "docs/analysts.md says how each tool takes it."
    )
