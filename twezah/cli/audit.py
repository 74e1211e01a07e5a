"""Commands about the audit log: audit list, audit verify."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import ledger
from twezah.cli.options import Json, moment_utc
from twezah.cli.output import print_json, print_table, say

# For an annotation only: `sql` imports the database driver, which no other command needs at start.
if TYPE_CHECKING:
    from sql.audit import Head

audit = typer.Typer(
    no_args_is_help=True,
    help="Who did what, when, with what result; and whether that log is whole.",
)
#: File in the state folder: the heads of the chain that earlier checks saw, one a line.
HEADS = "audit-heads.txt"


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    audit.command("list", epilog="Example: `twezah audit list --operation key --since 2026-01-01`")(
        list_entries
    )
    audit.command("verify", epilog="Example: `twezah audit verify --json`")(verify)
    app.add_typer(audit, name="audit")


@dataclass(frozen=True)
class _Row:
    no: str
    at: datetime
    actor: str
    operation: str
    status: str
    subject: str
    records: int | None
    points: int | None
    error: str | None


def list_entries(  # noqa: PLR0913, PLR0917  one option per filter
    operation: Annotated[
        str | None, typer.Option(help="e.g. sync, webhooks, key, member.erase.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="e.g. schedule, operator, 'user ana'.")] = None,
    status: Annotated[str | None, typer.Option(help="success, error or pending.")] = None,
    system: Annotated[str | None, typer.Option(help="Billing system.")] = None,
    subject: Annotated[str | None, typer.Option(help="e.g. 'member 17'.")] = None,
    since: Annotated[str | None, typer.Option(help="From this date or time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many entries.")] = 50,
    before: Annotated[
        int | None, typer.Option(help="Only entries before the one of this number.")
    ] = None,
    json: Json = False,
) -> None:
    """The newest entries of the audit log."""
    from sql import audit as stored
    from sql.db import connect

    if status not in (None, *stored.STATUSES):
        raise typer.BadParameter(f"is one of {', '.join(stored.STATUSES)}", param_hint="--status")
    wanted = stored.Filter(
        since=_moment(since, "--since"), until=_moment(until, "--until"),
        actor=actor, operation=operation, status=status, system=system, subject=subject,
    )  # fmt: skip
    with ledger() as dsn, connect(dsn) as connection:
        entries = stored.entries(connection, wanted, limit=limit, before=before)
    if json:
        print_json(entries)
        return
    rows = [
        _Row(
            str(entry.entry_no), entry.at, entry.actor, entry.operation, entry.status,
            entry.subject, entry.records, entry.points, (entry.error or "")[:120] or None,
        )
        for entry in entries
    ]  # fmt: skip
    print_table("Audit log, newest first (UTC)", rows)
    if not rows:
        print("There is no such entry.")


def _moment(text: str | None, option: str) -> datetime | None:
    return None if text is None else datetime.fromisoformat(moment_utc(text, option))


def verify(
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER:HASH", help="A head noted earlier, elsewhere. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that no entry was changed, removed or put in, and note the head in the state folder.

    Exit code 1: broken.
    """
    from settings import settings
    from sql import audit as stored
    from sql.db import connect

    try:
        noted_heads = [stored.Head.of(text) for text in head or []]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--head") from None
    heads = settings().home / HEADS
    with ledger() as dsn, connect(dsn) as connection:
        verdict = stored.verify(connection, [*_read_heads(heads), *noted_heads])
    if verdict.head is not None:
        _append_head(heads, verdict.head.to_text())
    if json:
        print_json(
            {
                "ok": verdict.ok,
                "entries": verdict.entries,
                "head": verdict.head and verdict.head.to_text(),
                "broken_no": verdict.broken_no,
                "problem": verdict.problem,
            }
        )
    else:
        print(verdict.to_text())
    if not verdict.ok:
        raise typer.Exit(FAILED)
    if not json:
        say(
            "Note the head on another machine, where nobody who can change the database and this "
            "machine can change it."
        )


def _read_heads(path: Path) -> "list[Head]":
    from sql import audit as stored

    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    heads = []
    for number, text in enumerate(lines, 1):
        try:
            heads.append(stored.Head.of(text))
        except ValueError:
            message = (
                f"line {number} of {path} is not a head (NUMBER:HASH): restore the file, or move "
                "it away if you know why"
            )
            raise typer.BadParameter(message, param_hint=HEADS) from None
    return heads


def _append_head(path: Path, text: str) -> None:
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    if text not in lines[-1:]:
        with path.open("a", encoding="ascii") as file:
            file.write(text + "\n")
