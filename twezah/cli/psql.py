"""The command psql: SQL on the ledger's database."""

import signal
import subprocess
from typing import Annotated

import typer

from twezah.cli.ledger import ledger


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    passthrough = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    example = (
        "Examples: `twezah psql --analyst`, `twezah psql -c 'SELECT * FROM loyalty.member_balance "
        "LIMIT 5'`"
    )
    app.command(context_settings=passthrough, epilog=example)(psql)


def psql(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Passed on to psql as they are.")
    ] = None,
    analyst: Annotated[
        bool,
        typer.Option(
            "--analyst", help="Log in as the role analyst, which only reads. Comes first."
        ),
    ] = False,
) -> None:
    """The bundled psql on the ledger database, which is started if needed.

    `twezah psql -- --help` is psql's own help.
    """
    from settings import settings
    from twezah.stack import pginstall
    from twezah.stack.analyst import analyst_environment
    from twezah.stack.postgres import libpq_environment

    with ledger() as dsn:
        environment = analyst_environment(settings(), dsn) if analyst else libpq_environment(dsn)
        history = "psql_history_analyst" if analyst else "psql_history"
        environment.setdefault("PSQL_HISTORY", str(settings().home / history))
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to psql
        try:
            code = subprocess.run(
                [str(pginstall.program("psql")), *(arguments or [])], env=environment, check=False
            ).returncode
        finally:
            signal.signal(signal.SIGINT, previous)
    raise typer.Exit(code)
