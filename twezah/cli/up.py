"""The command up: starts the whole stack and serves until Ctrl-C."""

from typing import Annotated

import typer

from twezah.cli.options import Simulator
from twezah.cli.output import say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Examples: `twezah up`, `twezah up --simulator --evolve-every 10`")(up)


def up(
    simulator: Simulator = False,
    evolve_every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0.1, max=86_400,
            help=(
                "With --simulator: how often something happens there: a sale, an edit, a void, a "
                "refund."
            ),
        ),
    ] = None,
) -> None:  # fmt: skip
    """Start database, Prefect, deployments, worker and the HTTP API, and serve until Ctrl-C."""
    from api.exposure_check import require_safe
    from settings import settings
    from twezah.cli.use_stack import stoppable
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
                if settings().has_front_page:
                    print(f"Open     {settings().http_url}/ (billing systems)", flush=True)
                print(f"Operate  {settings().ui_url} (Prefect)", flush=True)
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
