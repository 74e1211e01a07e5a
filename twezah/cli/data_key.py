"""Commands about the keys that seal stored data: key rotate, key status."""

from typing import Annotated

import typer

from twezah.cli.exit_codes import FAILED, NEEDS_OPERATOR
from twezah.cli.ledger import ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, say

key = typer.Typer(no_args_is_help=True, help="The keys that seal stored pages and webhooks.")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    key.command(epilog="Example: `twezah key rotate`")(rotate)
    key.command(epilog="Example: `twezah key status --json`")(status)
    app.add_typer(key, name="key")


def rotate(
    drop_old: Annotated[
        bool,
        typer.Option(
            "--drop-old",
            help="Make no new key: take those out of the file that seal nothing any more.",
        ),
    ] = False,
) -> None:
    """Make a new key and seal everything anew with it. The stack goes on meanwhile.

    The old key opens what is not done yet. Interrupted, the next *maintenance* does the rest.

    Where the keys are in TWEZAH_DATA_KEY or come from a command, put the new one first there, and
    then call this.
    """
    from settings import settings
    from sql import audit
    from sql.db import connect
    from sql.sealing import REFRESH_SECONDS, KeyMissingError, keyring, reseal, sealed_with
    from tasks import data_key

    config = settings()
    with ledger() as dsn, connect(dsn) as connection:
        if drop_old:
            used = {one.key for one in sealed_with(connection)}
            connection.rollback()
            if not data_key.is_in_file(config):
                raise typer.BadParameter("the keys are not in a file", param_hint="--drop-old")
            if not data_key.is_known_to_all(config):
                minutes = 2 * REFRESH_SECONDS / 60
                say(f"Refused: keys changed within {minutes:.0f} minutes; not all know it yet.")
                raise typer.Exit(FAILED)
            count = data_key.drop_keys(config, used)
            audit.record(connection, "key.drop", "stored data", records=count)
            connection.commit()
            print(f"{count} keys dropped. Backups from before need them: keep those backups' own.")
            return
        if data_key.is_in_file(config):
            say(f"New key: {data_key.add_key(config)}.")
        count, closed = 0, ""
        try:
            for count in reseal(connection, keyring()):
                if count % 10_000 < 200:
                    say(f"{count} bodies sealed anew.")
        except KeyMissingError as error:
            closed = str(error)
        audit.record(connection, "key.rotate", "stored data", records=count)
        connection.commit()
    print(f"{count} bodies sealed with the key in use.")
    if closed:
        say(closed)
        raise typer.Exit(NEEDS_OPERATOR)


def status(json: Json = False) -> None:
    """How many stored bodies each key sealed. The key in use is the first of the keyring."""
    from settings import settings
    from sql.db import connect
    from sql.sealing import key_id, sealed_with

    keys = [key_id(one).hex() for one in settings().data_keys()]
    with ledger() as dsn, connect(dsn) as connection:
        counts = {one.key: one.bodies for one in sealed_with(connection)}
    if json:
        print_json({"keyring": keys, "bodies": {str(k): count for k, count in counts.items()}})
        return
    for number, name in enumerate(keys):
        print(f"{name}  {counts.pop(name, 0):>10} bodies{'  in use' if number == 0 else ''}")
    for missing, count in counts.items():
        print(f"{missing or 'not sealed'}  {count:>10} bodies{'  NO SUCH KEY' if missing else ''}")
