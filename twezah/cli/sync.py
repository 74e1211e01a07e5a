"""Commands that read sales into the ledger: sync, replay."""

from typing import Annotated, Any

import typer

from twezah.cli.exit_codes import NEEDS_OPERATOR, OK
from twezah.cli.options import Json, Simulator, moment_utc
from twezah.cli.output import print_json, print_table, say

Connected = Annotated[
    str,
    typer.Argument(
        metavar="SYSTEM",
        help="The connection: a billing system, e.g. xero, or a further account's block.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah sync xero --since 2026-01-01 --dry-run`")(sync)
    app.command(epilog="Example: `twezah replay xero --since 2026-01-01 --dry-run`")(replay)


def sync(
    system: Connected,
    since: Annotated[
        str | None, typer.Option(help="From this date or time on, instead of from the last sync.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Fetch, map and validate, but store nothing.")
    ] = False,
    simulator: Simulator = False,
    json: Json = False,
) -> None:
    """Run one connection's deployment now and follow it to its end.

    Dates without a time are midnight, and times without an offset are local, in TWEZAH_TIMEZONE.
    Uses the stack that is up, or starts one for the duration; two such commands at once share it.
    """
    _run(system, since, until, {"dry_run": True} if dry_run else {}, simulator=simulator, json=json)


def replay(
    system: Connected,
    since: Annotated[
        str | None,
        typer.Option(help="Pages fetched from this date or time on; all of them if not given."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Pages fetched up to this date or time.")
    ] = None,
    rejects: Annotated[
        bool,
        typer.Option(
            "--rejects", help="Only the records that are rejected, whenever they were read."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and store nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Map the stored pages of a connection again, with today's field mapping.

    The billing system is not asked. After a correction of the mapping, this brings the rejected
    sales in and corrects the others. With --rejects it brings in the rejected ones and leaves the
    others as they are. Nothing counts twice.
    """
    if rejects and (since or until):
        raise typer.BadParameter(
            "takes no --since and --until: it tries all open rejects", param_hint="--rejects"
        )
    parameters = {
        "rejects" if rejects else "replay": True,
        **({"dry_run": True} if dry_run else {}),
    }
    _run(system, since, until, parameters, simulator=False, json=json)


def _run(
    system: str,
    since: str | None,
    until: str | None,
    more: dict[str, Any],
    *,
    simulator: bool,
    json: bool,
) -> None:
    """Runs the connection's deployment and tells how it ended."""
    from connectors.kit.errors import block_name
    from settings import settings
    from sql import report
    from twezah.cli.use_stack import exit_code, follow, stoppable, use_stack

    window = {"since": _utc(since, "--since"), "until": _utc(until, "--until")}
    if since and until and str(window["since"]) >= str(window["until"]):
        raise typer.BadParameter("must be later than --since", param_hint="--until")
    parameters = {**{k: v for k, v in window.items() if v}, **more}
    name = block_name(system)
    with stoppable(), use_stack(settings(), simulator=simulator) as stack:
        if name not in stack.connected:
            _not_connected(name)
        kind = known_connection(name)
        (run,) = follow(stack, {name: parameters})
        rows = [row for row in report.summary(stack.dsn) if row.system == kind]
    if json:
        print_json({**run.to_json(), "systems": rows})
    else:
        print_table("In the ledger", rows)
        say(f"{name}: {run.state} after {run.seconds} s. {run.message}")
    code = exit_code([run])
    if code != OK:
        raise typer.Exit(code)


def _not_connected(name: str) -> None:
    """Says why the connection cannot be used, and ends the command.

    One reason is that there is no connection of that name.
    """
    from panel.blocks import NotConnectedError
    from panel.blocks.connected import load_block

    try:
        load_block(name)
    except NotConnectedError as error:
        say(str(error))
    raise typer.Exit(NEEDS_OPERATOR)


def known_connection(name: str) -> str:
    """The system of a connection."""
    from panel.blocks.connected import connections

    return connections()[name]


def _utc(text: str | None, option: str) -> str | None:
    return None if text is None else moment_utc(text, option)
