"""Commands about who is told of changes by webhook: receivers set, list, rotate, ..."""

import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from sql.receivers import ReceiverRow

SECRET = "TWEZAH_RECEIVER_SECRET"  # noqa: S105 - the name of a variable
receivers = typer.Typer(
    no_args_is_help=True, help="Where the loyalty app is told of changes, by webhook."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What you call the receiver.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    example = "Example: `twezah receivers set app https://app.example.com/hooks/points`"
    receivers.command("set", epilog=example)(set_receiver)
    receivers.command("list", epilog="Example: `twezah receivers list`")(list_receivers)
    receivers.command("secret", epilog="Example: `twezah receivers secret`")(secret)
    receivers.command("rotate", epilog="Example: `twezah receivers rotate app`")(rotate)
    receivers.command("test", epilog="Example: `twezah receivers test app`")(test)
    receivers.command("replay", epilog="Example: `twezah receivers replay app`")(replay)
    receivers.command("end", epilog="Example: `twezah receivers end app`")(end)
    app.add_typer(receivers, name="receivers")


@dataclass(frozen=True)
class _Row:
    name: str
    url: str
    kinds: str
    state: str
    waiting: int
    parked: int
    last_accepted: datetime | None
    last_error: str


def set_receiver(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages go (https).")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only changes of this kind, e.g. points.changed. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Enter where the app is told of changes, or change it.

    The secret that signs is read from TWEZAH_RECEIVER_SECRET, or made and shown once.
    """
    from connectors.kit.webhooks.destination import networks
    from settings import settings
    from sql import receivers as stored
    from sql.db import connect
    from tasks.webhooks.receivers import ReceiverProblemError, enter_receiver, new_secret

    config = settings()
    with ledger() as dsn, connect(dsn) as db:
        before = stored.receiver(db, name)
        entered_secret = os.environ.get(SECRET, "").strip() or None
        is_made_here = entered_secret is None and (before is None or not before.secrets)
        secret = new_secret() if is_made_here else entered_secret
        try:
            entered = enter_receiver(
                db, name, url, kind or [], secret, config.fernet_key(),
                networks(config.webhook_receiver_networks),
            )  # fmt: skip
        except ReceiverProblemError as error:
            raise typer.BadParameter(str(error)) from None
        db.commit()
    shown = {"secret": secret} if is_made_here else {}
    if json:
        print_json({"name": name, "url": entered.row.url, "is_new": entered.is_new, **shown})
        return
    if is_made_here:
        print(f"Secret   {secret}   (shown once)")
    say(f"Next     `twezah receivers test {name}` sends a test message.")


def list_receivers(json: Json = False) -> None:
    """List all receivers: what they are told, and what waits for them."""
    from sql.db import connect
    from sql.receivers import receivers as stored

    with ledger() as dsn, connect(dsn) as db:
        rows = [
            _Row(
                row.name, row.url, ", ".join(row.kinds) or "all", row.state, row.waiting,
                row.parked, row.last_delivered_at,
                (row.end_reason or row.last_error or "") if row.failing_since or row.ended_at
                else "",
            )
            for row in stored(db)
        ]  # fmt: skip
    if json:
        print_json(rows)
        return
    print_table("Receivers", rows)
    if not rows:
        print("There is no receiver yet: `twezah receivers set` makes one.")


def secret() -> None:
    """Make a secret for a receiver, for example for the block in Prefect's UI. Nothing is kept."""
    from tasks.webhooks.receivers import new_secret

    print(new_secret())


def rotate(
    name: Name,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=720, help="How long the old secret signs as well.")
    ] = 24,
    json: Json = False,
) -> None:
    """Sign with a new secret, and with the old one for a while longer.

    The secret is read from TWEZAH_RECEIVER_SECRET, or made and shown once.
    """
    from settings import settings
    from sql import receivers as stored
    from sql.db import connect
    from tasks.webhooks.receivers import ReceiverProblemError, new_secret, require_usable

    entered = os.environ.get(SECRET, "").strip()
    secret = entered or new_secret()
    try:
        require_usable(name, secret)
    except ReceiverProblemError as error:
        raise typer.BadParameter(str(error), param_hint=SECRET) from None
    with ledger() as dsn, connect(dsn) as db:
        row = _row(db, name)
        stored.add_secret(
            db, row.receiver_no, secret, settings().fernet_key(),
            overlap_seconds=overlap_hours * 3600,
        )  # fmt: skip
        db.commit()
    if json:
        print_json({"name": name, **({} if entered else {"secret": secret})})
    elif not entered:
        print(f"Secret   {secret}   (shown once)")
    say(f"The secret signs now; the ones before for {overlap_hours:g} hours more.")


def test(name: Name) -> None:
    """Send a test message (`webhook.test`) and say what came back."""
    from connectors.kit.webhooks.destination import networks
    from settings import settings
    from sql.db import connect
    from tasks.webhooks.receivers import send_test

    config = settings()
    with ledger() as dsn, connect(dsn) as db:
        result = send_test(
            db, _row(db, name), config.fernet_key(), networks(config.webhook_receiver_networks)
        )
    if result.ok:
        say(f"{name} accepted the test message: HTTP {result.status}.")
        return
    say(f"{name} did not accept the test message: {result.error}.")
    raise typer.Exit(FAILED)


def replay(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One receiver; by default all.")
    ] = None,
) -> None:
    """Send parked and failed messages again now. Their ids are the same as before."""
    from sql import receivers as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as db:
        if name is not None:
            _row(db, name)
        count = stored.replay(db, name)
        db.commit()
    say(f"{count} messages are sent again." if count else "No message is parked or failed.")


def end(name: Name) -> None:
    """Tell a receiver nothing more, and drop what waits for it. `set` uses it again."""
    from sql import receivers as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as db:
        stored.end_receiver(db, _row(db, name).receiver_no)
        db.commit()
    say(f"{name} is told nothing more.")


def _row(db: Any, name: str) -> "ReceiverRow":
    from sql.receivers import receiver

    row = receiver(db, name)
    if row is None:
        say(f"There is no receiver {name}. `twezah receivers list` shows all.")
        raise typer.Exit(FAILED)
    return row
