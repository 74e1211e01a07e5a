"""Commands that make something happen: up, demo, sync."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from twezah.cli.exits import NEEDS_OPERATOR, OK
from twezah.cli.output import print_json, print_table, say

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Simulator = Annotated[
    bool, typer.Option("--simulator", help="Also start the simulated billing systems and connect them.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah up --simulator`")(up)
    app.command(epilog="Example: `twezah demo`")(demo)
    app.command(epilog="Example: `twezah sync xero --since 2026-01-01 --dry-run`")(sync)


def up(simulator: Simulator = False) -> None:
    """Start database, Prefect, deployments and worker, and serve until Ctrl-C."""
    from twezah.cli.serving import stoppable
    from twezah.settings import settings
    from twezah.stack.up import Stack

    with stoppable():
        try:
            with Stack(settings(), simulator=simulator, say=say) as stack:
                print(f"Operate  {settings().ui_url}", flush=True)
                print("Query    twezah psql", flush=True)
                print(f"Logs     {settings().logs}", flush=True)
                if stack.simulator_url:
                    print(f"Vendors  {stack.simulator_url} (simulated)", flush=True)
                print("Ctrl-C stops everything.", flush=True)
                stack.serve()
        except KeyboardInterrupt:
            say("Stopped.")


def demo(json: Json = False) -> None:
    """Simulated billing systems, synced through their deployments; a summary; stop."""
    from sql import report
    from twezah.cli.serving import exit_code, follow, serving, stoppable
    from twezah.settings import settings

    begun = time.monotonic()
    with stoppable(), serving(settings(), simulator=True) as stack:
        started_seconds = round(time.monotonic() - begun, 1)
        finished = follow(stack, {system: {} for system in stack.connected})
        rows, members = report.summary(stack.dsn), report.members(stack.dsn, limit=5)
    seconds = round(time.monotonic() - begun, 1)
    if json:
        print_json(
            {
                "runs": [run.to_json() for run in finished],
                "systems": rows,
                "members": members,
                "seconds": seconds,
            }
        )
    else:
        print_table("Sales that became points", rows, totals=True)
        print_table("Members with the most points", members)
        for run in finished:
            if not run.ok:
                say(f"{run.system}: {run.state}. {run.message}")
        print(f"{seconds} s, of which {started_seconds} s to start. Look further:")
        print(f"  twezah up --simulator      then open {stack.ui_url}: runs, reports, schedules, connections")
        print("  twezah psql                the same numbers in SQL; schemas loyalty and billing")
        print("  twezah explain SYSTEM INVOICE   why an invoice earned what it did")
    raise typer.Exit(exit_code(finished) if finished else NEEDS_OPERATOR)


def sync(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="Key of the billing system, e.g. xero.")],
    since: Annotated[str | None, typer.Option(help="From this date or time on, instead of from the last sync.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Fetch, map and validate, but store nothing.")] = False,
    simulator: Simulator = False,
    json: Json = False,
) -> None:
    """Run one system's deployment now and follow it to its end.

    Dates without a time are midnight, and times without an offset are local, in TWEZAH_TIMEZONE. Uses the
    stack that is up, or starts one for the duration.
    """
    from connectors.kit.errors import block_name
    from sql import report
    from twezah.cli.serving import exit_code, follow, serving, stoppable
    from twezah.settings import settings

    known_system(system)
    window = {"since": _utc(since, "--since"), "until": _utc(until, "--until")}
    if since and until and str(window["since"]) >= str(window["until"]):
        raise typer.BadParameter("must be later than --since", param_hint="--until")
    parameters = {**{k: v for k, v in window.items() if v}, **({"dry_run": True} if dry_run else {})}
    with stoppable(), serving(settings(), simulator=simulator) as stack:
        if system not in stack.connected:
            say(
                f"{system} is not connected: create a block named {block_name(system)} at {stack.ui_url}/blocks/catalog."
            )
            raise typer.Exit(NEEDS_OPERATOR)
        (run,) = follow(stack, {system: parameters})
        rows = [row for row in report.summary(stack.dsn) if row.system == system]
    if json:
        print_json({**run.to_json(), "systems": rows})
    else:
        print_table("In the ledger", rows)
        say(f"{system}: {run.state} after {run.seconds} s. {run.message}")
    code = exit_code([run])
    if code != OK:
        raise typer.Exit(code)


def known_system(system: str) -> Any:
    """Its connector specification; wrong usage if there is none."""
    from connectors import SYSTEMS

    if system not in SYSTEMS:
        known = ", ".join(sorted(SYSTEMS))
        raise typer.BadParameter(f"unknown system {system!r}; known: {known}", param_hint="SYSTEM")
    return SYSTEMS[system]


def _utc(text: str | None, option: str) -> str | None:
    """ISO 8601 in UTC, from a date or time as a person writes it."""
    from twezah.settings import settings

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no date like 2026-01-31 or 2026-01-31T10:00+01:00", param_hint=option
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(settings().timezone))
    return moment.astimezone(UTC).isoformat()
