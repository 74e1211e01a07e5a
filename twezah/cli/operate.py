"""Commands that make something happen: up, sync."""

from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from twezah.cli.exits import NEEDS_OPERATOR, OK
from twezah.cli.output import print_json, print_table, say

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Simulator = Annotated[
    bool,
    typer.Option("--simulator", help="Also start the simulated billing systems and connect them."),
]

Connected = Annotated[
    str,
    typer.Argument(
        metavar="SYSTEM",
        help="The connection: a billing system, e.g. xero, or a further account's block.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Examples: `twezah up`, `twezah up --simulator --evolve-every 10`")(up)
    app.command(epilog="Example: `twezah sync xero --since 2026-01-01 --dry-run`")(sync)
    app.command(epilog="Example: `twezah replay xero --since 2026-01-01 --dry-run`")(replay)


def up(
    simulator: Simulator = False,
    evolve_every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0.1, max=86_400,
            help=(
                "With --simulator: let something happen there every so often: a sale, an edit, a "
                "void, a refund."
            ),
        ),
    ] = None,
) -> None:  # fmt: skip
    """Start database, Prefect, deployments, worker and the HTTP API, and serve until Ctrl-C."""
    from api.exposure_check import require_safe
    from settings import settings
    from twezah.cli.serving import stoppable
    from twezah.stack.up import Stack

    if evolve_every is not None and not simulator:
        raise typer.BadParameter("needs --simulator", param_hint="--evolve-every")
    with stoppable():
        try:
            require_safe(settings())
            with Stack(
                settings(), simulator=simulator, evolve_every_seconds=evolve_every, api=True,
                give_up_seconds=None, say=say,
            ) as stack:  # fmt: skip
                print(f"Operate  {settings().ui_url}", flush=True)
                if settings().is_own_prefect:
                    print("Password twezah password   (the pages ask once)", flush=True)
                print(
                    f"API      {settings().http_url} (what it takes and gives: /openapi.json)",
                    flush=True,
                )
                print("Query    twezah psql", flush=True)
                print(f"Logs     {settings().logs}", flush=True)
                if stack.simulator_url:
                    print(f"Vendors  {stack.simulator_url} (simulated)", flush=True)
                print("Ctrl-C stops everything.", flush=True)
                stack.serve()
        except KeyboardInterrupt:
            say("Stopped.")


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
    from twezah.cli.serving import exit_code, follow, serving, stoppable

    window = {"since": _utc(since, "--since"), "until": _utc(until, "--until")}
    if since and until and str(window["since"]) >= str(window["until"]):
        raise typer.BadParameter("must be later than --since", param_hint="--until")
    parameters = {**{k: v for k, v in window.items() if v}, **more}
    name = block_name(system)
    with stoppable(), serving(settings(), simulator=simulator) as stack:
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


def known_system(name: str) -> str:
    """The key of the system, which may be spelled with a dash or an underscore.

    Wrong usage if there is none of that name.
    """
    from connectors import DESCRIBED, SYSTEMS
    from connectors.kit.errors import block_name, system_name

    system = system_name(name)
    if system not in SYSTEMS and system not in DESCRIBED:
        names = ", ".join(sorted(map(block_name, [*SYSTEMS, *DESCRIBED])))
        raise typer.BadParameter(f"unknown system {name!r}; known: {names}", param_hint="SYSTEM")
    return system


def _utc(text: str | None, option: str) -> str | None:
    return None if text is None else moment_utc(text, option)


def moment_utc(text: str, option: str) -> str:
    """ISO 8601 in UTC, from a date or time as a person writes it."""
    from settings import settings

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no date like 2026-01-31 or 2026-01-31T10:00+01:00", param_hint=option
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(settings().timezone))
    return moment.astimezone(UTC).isoformat()
