"""Options and arguments that several commands share, and how their values are read."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
#: The first argument of commands about a billing system.
SystemKey = Annotated[
    str, typer.Argument(metavar="SYSTEM", help="Key of the billing system, e.g. xero.")
]
Simulator = Annotated[
    bool,
    typer.Option("--simulator", help="Also start the simulated billing systems and connect them."),
]
Why = Annotated[
    str,
    typer.Option(
        "--reason", help="Why; kept for good. No names, no phone numbers: analysts read it."
    ),
]

Who = Annotated[str, typer.Option("--author", help="Who decided it; kept for good.")]
#: Of changes that post points, up to the limit without being asked.
Confirm = Annotated[
    int,
    typer.Option(
        "--confirm",
        metavar="POINTS",
        min=0,
        help="Confirm a change of this many points, where it exceeds the limit.",
    ),
]


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
