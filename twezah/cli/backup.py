"""Commands that keep an installation safe: backup, restore."""

import sys
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
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="Encrypt it for this public key of age (age1...). Repeatable."),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Encrypt it with a passphrase, which is asked for.")
    ] = False,
) -> None:
    """Dump the ledger and Prefect's database and copy the keys. The stack may be up.

    Encrypted for TWEZAH_BACKUP_RECIPIENTS, unless something else is said. Without any of these the
    backup holds secrets and personal data in the clear: keep it where only you can read it.
    """
    from settings import settings
    from twezah.stack import backup as backups
    from twezah.stack.backup_encryption import passphrase_recipients, recipients_of

    if recipient and passphrase:
        raise typer.BadParameter("either recipients or a passphrase", param_hint="--passphrase")
    texts = recipient or settings().backup_recipients.replace(",", " ").split()
    recipients = recipients_of(texts) if texts else None
    if passphrase:
        recipients = passphrase_recipients(_ask(confirm=True))
    for file in backups.backup(settings(), folder.absolute(), recipients):
        print(f"{file.stat().st_size:>12} {file}")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `twezah backup` wrote.")],
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="The original is stopped for good: be live at once."),
    ] = False,
    identity: Annotated[
        Path | None,
        typer.Option(help="File with the identity (AGE-SECRET-KEY-...) that opens the backup."),
    ] = None,
) -> None:
    """Make the empty state folder TWEZAH_HOME what it was at the time of the backup.

    It then stands by: schedules are off, stored tokens are not used and webhooks not awarded,
    because a renewed token would end that of the original. `twezah go-live` switches it on.
    """
    from settings import settings
    from twezah.stack import backup as backups
    from twezah.stack.backup_encryption import IDENTITY, identity_of_file

    folder = folder.absolute()
    opens = None if identity is None else identity_of_file(identity)
    asks = opens is None and (folder / IDENTITY).is_file()
    passphrase = _ask(confirm=False) if asks else None
    backups.restore(settings(), folder, take_over=take_over, identity=opens, passphrase=passphrase)
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


def _ask(*, confirm: bool) -> str:
    """The passphrase, from the terminal or from the first line of stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    text = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return str(text)


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
