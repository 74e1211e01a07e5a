"""Commands about the keys of the HTTP API: keys create, list, rotate, revoke."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, print_table, say

# For an annotation only: `sql` imports the database driver, which no other command needs at start.
if TYPE_CHECKING:
    from sql.keys import NewKey

keys = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API.")
Prefix = Annotated[
    str,
    typer.Argument(metavar="PREFIX", help="The key's first part, as `twezah keys list` shows it."),
]
Days = Annotated[int, typer.Option(min=1, max=366, help="For how many days it works.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    example = "Example: `twezah keys create 'loyalty app' --scope members:read`"
    keys.command("create", epilog=example)(create)
    keys.command("list", epilog="Example: `twezah keys list --json`")(list_keys)
    keys.command("rotate", epilog="Example: `twezah keys rotate twz_abcdefghij --overlap-days 7`")(
        rotate
    )
    keys.command("revoke", epilog="Example: `twezah keys revoke twz_abcdefghij`")(revoke)
    app.add_typer(keys, name="keys")


@dataclass(frozen=True)
class _Row:
    prefix: str
    name: str
    scopes: str
    state: str
    expires: datetime
    last_used: datetime | None
    per_minute: int
    replaces: str | None


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who uses it, e.g. 'loyalty app'.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help=(
                "What it may do, repeatable: transactions:read, members:read, members:write, "
                "members:merge, tiers:write, referrals:write, events:write, codes:write, "
                "lists:write, points:spend, changes:read, status:read, sync:start, "
                "metrics:read, audit:read."
            )
        ),
    ],
    days: Days = 90,
    per_minute: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Requests per minute.")
    ] = 600,
    json: Json = False,
) -> None:
    """Make a key. It is shown once and cannot be shown again."""
    from sql import keys as stored
    from sql.db import connect

    if not 1 <= len(name) <= 100:
        raise typer.BadParameter("1 to 100 characters", param_hint="NAME")
    with ledger() as dsn, connect(dsn) as connection:
        try:
            made = stored.create(connection, name, scope, days=days, per_minute=per_minute)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--scope") from None
        connection.commit()
    _show(made, json=json)


def _show(made: "NewKey", *, json: bool) -> None:
    if json:
        print_json({"prefix": made.prefix, "key": made.secret, "expires_at": made.expires_at})
        return
    print(made.secret)
    say(
        f"This key is shown once. It works until {made.expires_at:%Y-%m-%d}; send it as "
        "`Authorization: Bearer ...`."
    )


def list_keys(json: Json = False) -> None:
    """List all keys: what they may do, when they end, and when they were last used."""
    from sql import keys as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as connection:
        entries = stored.listed(connection)
    now = datetime.now(UTC)
    rows = [
        _Row(
            entry.prefix, entry.name, ", ".join(entry.scopes), entry.state(now),
            entry.expires_at, entry.last_used_at, entry.requests_per_minute, entry.replaces,
        )
        for entry in entries
    ]  # fmt: skip
    if json:
        print_json(rows)
        return
    print_table("Keys", rows)
    if not rows:
        print("There is no key yet: `twezah keys create` makes one.")


def rotate(
    prefix: Prefix,
    days: Days = 90,
    overlap_days: Annotated[
        float, typer.Option(min=0, max=30, help="For how many days the old key works beside it.")
    ] = 7,
    json: Json = False,
) -> None:
    """Make a new key with the same name and scopes; the old one works for a while longer."""
    from sql import keys as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as connection:
        try:
            made = stored.rotate(
                connection, prefix, days=days, overlap=timedelta(days=overlap_days)
            )
        except stored.UnknownKeyError as error:
            say(str(error))
            raise typer.Exit(FAILED) from None
        connection.commit()
    _show(made, json=json)


def revoke(prefix: Prefix) -> None:
    """Revoke a key: it stops working at once."""
    from sql import keys as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as connection:
        try:
            stored.revoke(connection, prefix)
        except stored.UnknownKeyError as error:
            say(str(error))
            raise typer.Exit(FAILED) from None
        connection.commit()
    say(f"{prefix} is revoked.")
