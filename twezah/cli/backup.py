"""Commands that keep an installation safe: backup, restore."""

from pathlib import Path
from typing import Annotated

import typer

from twezah.cli.output import say


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah backup /backups/2026-05-01`")(backup)
    app.command(epilog="Example: `TWEZAH_HOME=/srv/restored twezah restore /backups/2026-05-01`")(restore)


def backup(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the backup.")]) -> None:
    """Dump the ledger and Prefect's database and copy the secret key. The stack may be up.

    The backup holds secrets and personal data: keep it where only you can read it.
    """
    from twezah.settings import settings
    from twezah.stack import backup as backups

    for file in backups.backup(settings(), folder.absolute()):
        print(f"{file.stat().st_size:>12} {file}")


def restore(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `twezah backup` wrote.")]) -> None:
    """Make the empty state folder TWEZAH_HOME what it was at the time of the backup."""
    from twezah.settings import settings
    from twezah.stack import backup as backups

    backups.restore(settings(), folder.absolute())
    say(f"Restored into {settings().home}. Start it with `twezah up`; systems read what came since by themselves.")
