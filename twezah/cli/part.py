"""The command part: one part of the product alone, for installations on several machines."""

from typing import Annotated, Literal

import typer

from twezah.cli.output import say

Name = Annotated[
    Literal["prefect", "services", "caretaker", "worker", "api"],
    typer.Argument(metavar="NAME", help="prefect, services, caretaker, worker or api."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `twezah part worker`")(part)


def part(
    name: Name,
    simulator_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="For the caretaker: connect what is not connected to this simulator.",
        ),
    ] = None,
) -> None:
    """Run one part of the product alone, until Ctrl-C; a second caretaker waits and takes over.

    Settings that all machines share come from the environment: databases, Prefect's address and
    password, keys. What is missing is named.
    """
    from settings import settings
    from twezah.cli.use_stack import stoppable
    from twezah.stack.part import Part
    from twezah.stack.part_settings import SettingsMissing

    if simulator_url is not None and name != "caretaker":
        raise typer.BadParameter("is for the caretaker", param_hint="--simulator-url")
    with stoppable():
        try:
            Part(settings(), name, simulator_url=simulator_url, say=say).serve()
        except SettingsMissing as error:
            raise typer.BadParameter(str(error), param_hint="NAME") from None
        except KeyboardInterrupt:
            say("Stopped.")
