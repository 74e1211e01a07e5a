"""Commands that keep an installation safe: backup, restore."""

from pathlib import Path
from typing import Annotated

import typer

from twezah.cli.output import say


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah backup /backups/2026-05-01`")(backup)
    app.command(epilog="Example: `TWEZAH_HOME=/srv/restored twezah restore /backups/2026-05-01`")(
        restore
    )
    app.command("go-live", epilog="Example: `TWEZAH_HOME=/srv/restored twezah go-live`")(go_live)


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the backup.")],
) -> None:
    """Dump the ledger and Prefect's database and copy the secret key. The stack may be up.

    The backup holds secrets and personal data: keep it where only you can read it.
    """
    from settings import settings
    from twezah.stack import backup as backups

    for file in backups.backup(settings(), folder.absolute()):
        print(f"{file.stat().st_size:>12} {file}")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `twezah backup` wrote.")],
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="The original is stopped for good: be live at once."),
    ] = False,
) -> None:
    """Make the empty state folder TWEZAH_HOME what it was at the time of the backup.

    It then stands by: schedules are off, stored tokens are not used and webhooks not awarded,
    because a renewed token would end that of the original. `twezah go-live` switches it on.
    """
    from settings import settings
    from twezah.stack import backup as backups

    backups.restore(settings(), folder.absolute(), take_over=take_over)
    say(f"Restored into {settings().home}. Start it with `twezah up`.")
    if take_over:
        say(
            "It is live: systems read what came since by themselves. Never start the original "
            "again."
        )
    else:
        say(
            "It stands by: schedules are off, stored tokens are not used and webhooks not awarded. "
            "That is right for a drill. Once the original is stopped for good: `twezah go-live`."
        )


def go_live() -> None:
    """Switch a restored copy on: schedules, stored tokens, webhooks.

    Only once the installation it was copied from is stopped for good: two that are live end each
    other's tokens.
    """
    from sql import standby
    from sql.db import connect
    from twezah.cli.ledger import ledger

    with ledger() as dsn, connect(dsn) as connection:
        was_standby = standby.end(connection)
        connection.commit()
    if was_standby:
        say(
            "It is live. Schedules go on within a minute where the stack is up, else with the "
            "next `twezah up`. Systems read what came since the backup by themselves."
        )
    else:
        say("It is live already: nothing was changed.")
