"""The command `demo`: simulated billing systems, two rounds of synchronisation, a summary."""

import time
from typing import TYPE_CHECKING, Any

import typer

from twezah.cli.exit_codes import NEEDS_OPERATOR
from twezah.cli.options import Json
from twezah.cli.output import print_json, print_table, say

# For annotations only: following runs imports Prefect's client, which would add seconds to the
# start of every command.
if TYPE_CHECKING:
    from tasks.duplicates import ToldTwice
    from twezah.cli.use_stack import UsableStack
    from twezah.stack.follow_runs import FinishedRun

#: What happens at the simulated systems between the two rounds: enough for each kind of correction.
STEPS = 120
#: The systems that tell one sale, those first that know most of it.
SALE_ORDER = ("shopify", "woocommerce", "stripe", "paypal", "quickbooks")
#: They happen in so many systems, those with the most sales: a second round in more of them would
#: show no other kind of correction.
CHANGED_SYSTEMS = 3


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `twezah demo`")(demo)


def demo(json: Json = False) -> None:
    """Sync simulated billing systems through their deployments, print a summary, and stop.

    Then sales are edited, voided and refunded in some of them and the loyalty app sets tiers. A
    second round posts the differences.
    """
    from settings import settings
    from sql import report
    from twezah.cli.use_stack import exit_code, follow, stoppable, use_stack

    begun = time.monotonic()
    with stoppable(), use_stack(settings(), simulator=True) as stack:
        started_seconds = round(time.monotonic() - begun, 1)
        finished = follow(stack, {system: {} for system in stack.connected})
        happened, second = _second_round(stack) if all(run.ok for run in finished) else (0, [])
        ids = [run.flow_run_id for run in second]
        shown = {
            "systems": report.summary(stack.dsn),
            "tiers": report.tiers(stack.dsn),
            "second_round": report.posted(stack.dsn, ids),
            "examples": report.examples(stack.dsn, ids),
            "members": report.members(stack.dsn, limit=5),
            "told_twice": _told_twice(stack.dsn),
        }
    seconds = round(time.monotonic() - begun, 1)
    runs = [*finished, *second]
    if json:
        print_json(
            {
                "runs": [run.to_json() for run in runs],
                "happened": happened,
                **shown,
                "seconds": seconds,
            }
        )
    else:
        _print(shown, happened)
        for run in runs:
            if not run.ok:
                say(f"{run.system}: {run.state}. {run.message}")
        print(f"{seconds} s, of which {started_seconds} s to start. Look further:")
        print(
            f"  twezah up --simulator --evolve-every 10   then open {stack.ui_url}: runs, reports, "
            "schedules, connections"
        )
        print("  twezah psql                the same numbers in SQL; schemas loyalty and billing")
        print("  twezah explain SYSTEM INVOICE   why an invoice earned what it did")
    raise typer.Exit(exit_code(runs) if runs else NEEDS_OPERATOR)


def _second_round(stack: "UsableStack") -> tuple[int, "list[FinishedRun]"]:
    """Makes changes at the simulated systems and in the loyalty app, then runs again.

    Returns how many changes there were, and the runs; nothing where no system is simulated.
    """
    from connectors.kit.errors import block_name
    from sql import demo as app
    from sql import report
    from twezah.cli.use_stack import follow
    from twezah.stack import simulator_client

    accounts = simulator_client.accounts(stack.simulator_url)
    if not accounts:
        say("No simulated billing system is connected: there is no second round.")
        return 0, []
    members = app.give_tiers(stack.dsn, accounts)
    simulated = {system for system, _ in accounts}
    by_sales = sorted(report.summary(stack.dsn), key=lambda row: -row.sales)
    changed = [row.system for row in by_sales if row.system in simulated][:CHANGED_SYSTEMS]
    happened = simulator_client.evolve(stack.simulator_url, STEPS, changed)
    say(
        f"{happened} things happened at {len(changed)} of the simulated systems; the loyalty app "
        f"gave {members} members a tier. Second round:"
    )
    return happened, follow(stack, {block_name(system): {} for system in changed})


def _told_twice(dsn: str) -> "list[ToldTwice]":
    """What several systems tell of one sale; no precedence is declared, so all of it counts."""
    from sql.db import connect
    from tasks.duplicates import told_twice, wanted_precedence

    with connect(dsn) as connection:
        return told_twice(connection, wanted_precedence(SALE_ORDER))


def _print(shown: dict[str, Any], happened: int) -> None:
    print_table("Sales that became points", shown["systems"], totals=True)
    print_table("Tiers at work: what the sales give now", shown["tiers"])
    print_table(
        f"Second round: entries after {happened} changes", shown["second_round"], totals=True
    )
    print_table("One of each", shown["examples"])
    print_table("Members with the most points", shown["members"])
    print_table("Documents of one sale, which all count: none is declared", shown["told_twice"])
    if shown["told_twice"]:
        print(f"Whose points are they?  twezah duplicates find --order {','.join(SALE_ORDER)}")
