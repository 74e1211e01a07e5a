"""Commands about exchange rates: load."""

import sys
from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting
from twezah.cli.options import Json
from twezah.cli.output import print_json, say

fx = typer.Typer(
    no_args_is_help=True, help="Exchange rates, for programs that convert sales to a base currency."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    fx.command(epilog="Example: `twezah fx load rates.csv --source 'Central bank' --carry-days 3`")(
        load
    )
    app.add_typer(fx, name="fx")


# Without this, typer would make a group of one command that command itself.
@fx.callback()
def _fx() -> None:
    pass


def load(
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE]", help="CSV; - is stdin; none: from the address in TWEZAH_FX_URL."
        ),
    ] = "",
    source: Annotated[
        str, typer.Option(help="Where the rates are from; kept with each rate.")
    ] = "",
    carry_days: Annotated[
        int,
        typer.Option(
            min=0,
            max=31,
            help="A rate without valid_until also counts for so many days after its own.",
        ),
    ] = 0,
    correct: Annotated[
        bool,
        typer.Option(
            "--correct",
            help="Replace rates that differ from the known ones; past sales are recomputed.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Load exchange rates, and post the points of sales that waited for them.

    The file's first line is `date,currency,base_currency,rate` (and `valid_until`, if you like),
    then one line per rate, such as `2026-03-02,EUR,AOA,925.5`: 925.5 kwanzas for one euro. Loading
    a file twice adds nothing.
    """
    from connectors.kit.http.download import DownloadError
    from loyalty.fx import BadRatesError
    from sql import fx as rates
    from sql.db import connect
    from sql.fx import RateChangedError
    from tasks.program.fx_rates import BYTES_MAX, read_rates

    run_id = command_id("fx load")
    text = sys.stdin.read(BYTES_MAX + 1) if file == "-" else ""
    try:
        parsed, origin = read_rates(
            text=text, file="" if file == "-" else file, source=source, carry_days=carry_days
        )
        with ledger() as dsn:
            with connect(dsn) as connection:
                loaded = rates.add(connection, parsed, origin, run_id, correct=correct)
                connection.commit()
            post_waiting(dsn, run_id)
    except (BadRatesError, RateChangedError, DownloadError) as error:
        say(f"Nothing was loaded: {error}.")
        raise typer.Exit(FAILED) from None
    if json:
        print_json(loaded)
    else:
        print(loaded.to_text())
