"""Commands that import what is known of members: balances, tiers, referrals, lists."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.options import Confirm, Json, Who, Why
from twezah.cli.output import print_json, say

if TYPE_CHECKING:
    from loyalty.bulk import BulkKind

bulk = typer.Typer(
    no_args_is_help=True,
    help="Import opening balances, tiers and referrals of an earlier program, or lists, from CSV.",
)

File = Annotated[str, typer.Argument(metavar="FILE", help="CSV; - is stdin.")]
Apply = Annotated[
    bool, typer.Option("--apply", help="Do it. Without, only say what would be entered.")
]
Correct = Annotated[
    bool, typer.Option("--correct", help="Replace what differs from what is entered.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command, name in (
        (balances, "balances"), (tiers, "tiers"), (referrals, "referrals"), (lists, "lists"),
    ):  # fmt: skip
        bulk.command(
            epilog=(
                f"Example: `twezah import {name} {name}.csv --reason 'Earlier program' --author "
                "'Ana, marketing' --apply`"
            )
        )(command)
    app.add_typer(bulk, name="import")


def balances(
    file: File,
    reason: Why,
    author: Who,
    apply: Apply = False,
    correct: Correct = False,
    confirm: Confirm = 0,
    json: Json = False,
) -> None:
    """Import the points that members bring along, as opening balances.

    Columns: `member_id` or `phone`, `points`, `earned_at`, from which on they expire. A member may
    have several lines, one a date. Importing a file twice adds nothing.
    """
    _import("balances", file, reason, author, apply, correct, confirm, json=json)


def tiers(
    file: File,
    reason: Why,
    author: Who,
    apply: Apply = False,
    correct: Correct = False,
    json: Json = False,
) -> None:
    """Import tiers of members: `member_id` or `phone`, `tier`, `valid_from`."""
    _import("tiers", file, reason, author, apply, correct, 0, json=json)


def referrals(
    file: File, reason: Why, author: Who, apply: Apply = False, json: Json = False
) -> None:
    """Import who referred whom: friend, referrer, `referred_at`.

    Columns: `friend_id` or `friend_phone`, `referrer_id` or `referrer_phone`. One that is entered
    already is corrected by `twezah member referral`.
    """
    _import("referrals", file, reason, author, apply, False, 0, json=json)


def lists(
    file: File,
    reason: Why,
    author: Who,
    apply: Apply = False,
    correct: Correct = False,
    json: Json = False,
) -> None:
    """Import who is on a list: `member_id` or `phone`, `list`, `valid_from`, and `valid_to`.

    Promotions name the list in their conditions. An empty or missing `valid_to` is for good; to
    take somebody off, import the line with one, and --correct.
    """
    _import("lists", file, reason, author, apply, correct, 0, json=json)


def _import(
    kind: "BulkKind",
    file: str,
    reason: str,
    author: str,
    apply: bool,
    correct: bool,
    confirm: int,
    *,
    json: bool,
) -> None:
    from loyalty.bulk import BadImportError
    from loyalty.corrections import Decision
    from tasks.bulk_import import import_text

    run_id = command_id(f"import {kind}")
    try:
        with refusals():
            decision, text = Decision(reason=reason, author=author), _read(file)
            with ledger() as dsn:
                result = import_text(
                    dsn, kind, text, decision, run_id,
                    dry_run=not apply, correct=correct, confirm=confirm,
                )  # fmt: skip
                if apply and not result.is_empty:
                    post_waiting(dsn, run_id)
    except BadImportError as error:
        say(f"Nothing was imported: {error}.")
        raise typer.Exit(FAILED) from None
    if json:
        print_json(result)
    else:
        print(result.to_text())


def _read(file: str) -> str:
    from tasks.bulk_import import BYTES_MAX, decoded

    if file == "-":
        return decoded(sys.stdin.buffer.read(BYTES_MAX + 1))
    try:
        with Path(file).open("rb") as opened:
            return decoded(opened.read(BYTES_MAX + 1))
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
