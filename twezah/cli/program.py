"""Commands about the rules: check, diff, apply, show."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.options import Confirm, Json, Who, Why, moment_utc
from twezah.cli.output import print_json, say
from twezah.cli.rules_file import read_rules_file

if TYPE_CHECKING:
    from sql.db import DbConnection

program = typer.Typer(
    no_args_is_help=True, help="The rules of the points program, as a file: check, compare, apply."
)

File = Annotated[
    str, typer.Argument(metavar="FILE", help="The rules, e.g. points.toml; - is stdin.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    program.command(epilog="Example: `twezah program check points.toml`")(check)
    program.command(epilog="Example: `twezah program diff points.toml --as-if 2026-01-01`")(diff)
    example = (
        "Example: `twezah program apply points.toml --reason 'Black November' --author 'Ana, "
        "marketing'`"
    )
    program.command(epilog=example)(apply)
    program.command(epilog="Example: `twezah program show > points.toml`")(show)
    app.add_typer(program, name="program")


def check(file: File, json: Json = False) -> None:
    """Check the file: every problem at once, with the key and what to do.

    Problems are also names that nothing has, and promotions that can never apply. The database is
    not needed; where it answers, the file is read as it would be applied, and notes tell what was
    never sold so far, and what stays in force without being named.
    """
    from loyalty.authoring import BadRulesError
    from tasks.program.change import finding_lines
    from tasks.program.findings import check_file

    text, problems, notes, named = read_rules_file(file), [], [], []
    try:
        with _database() as connection:
            rules, findings = check_file(text, connection)
        problems, notes = list(findings.mistakes), list(findings.notes)
        named = [
            *(["program"] if rules.program else []),
            *(promotion.promotion_id for promotion in rules.promotions),
        ]
        lines = finding_lines(findings)
    except BadRulesError as error:
        problems = lines = error.problems
    if json:
        print_json({"ok": not problems, "problems": problems, "notes": notes, "holds": named})
    else:
        right = [] if problems else [f"The file is right. It holds: {', '.join(named)}."]
        print("\n".join([*right, *lines]))
    if problems:
        raise typer.Exit(FAILED)


@contextmanager
def _database() -> Iterator["DbConnection | None"]:
    """The ledger, where it answers and is up to date; nothing is started or brought up to date."""
    import psycopg

    from settings import DatabaseNotRunning, settings
    from sql.migrate import is_current

    try:
        connection = psycopg.connect(settings().dsn(), connect_timeout=2)
    except (psycopg.Error, DatabaseNotRunning):
        yield None
        return
    with connection:
        yield connection if is_current(connection) else None


def diff(
    file: File,
    as_if: Annotated[
        str | None,
        typer.Option(
            "--as-if",
            metavar="DATE",
            help="As if the changes had begun then: what they would have meant.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """What the file would change, for how many members, by how many points. Changes nothing."""
    from sql.db import connect
    from tasks.program.change import preview_change

    text = read_rules_file(file)
    since = None if as_if is None else datetime.fromisoformat(moment_utc(as_if, "--as-if"))
    with _bad_rules(), ledger() as dsn, connect(dsn) as connection:
        found = preview_change(connection, text, since=since)
    _print(found, json=json)


def apply(
    file: File,
    reason: Why,
    author: Who,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Also for past sales: post what the change means for them."
        ),
    ] = False,
    confirm: Confirm = 0,
    json: Json = False,
) -> None:
    """Apply the file: what changed becomes a new version, from its valid_from on.

    Who, when, why and the file are kept.

    A change that reaches into the past needs `--recompute`; look at `twezah program diff` first.
    """
    from loyalty.corrections import Decision
    from sql.program import RulesChangedError
    from tasks.program.change import ChangeRefusedError, apply_rules

    run_id, text = command_id("program apply"), read_rules_file(file)
    with refusals(), _bad_rules():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn:
            try:
                done = apply_rules(
                    dsn, text, decision, run_id, recompute=recompute, confirm=confirm
                )
            except ChangeRefusedError as error:
                _print(error.preview, json=json)
                say(f"Not applied: {error}.")
                raise typer.Exit(FAILED) from None
            except RulesChangedError as error:
                say(f"Not applied: {error}.")
                raise typer.Exit(FAILED) from None
            if done.recomputed:
                post_waiting(dsn, run_id)
    _print(done.preview, json=json, change_id=done.change_id)
    if done.change_id is not None:
        say(f"Applied as change {done.change_id}.")


def show() -> None:
    """The rules in force, in the notation of points.toml: the latest version of each part."""
    from loyalty.authored import write_rules
    from sql import member_history as facts
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as connection:
        rules = facts.rules(connection)
    latest = {
        promotion.promotion_id: promotion
        for promotion in sorted(rules.promotions, key=lambda p: p.version)
    }
    print(write_rules(max(rules.programs, key=lambda p: p.version), list(latest.values())), end="")


def _print(found: Any, *, json: bool, change_id: int | None = None) -> None:
    from zoneinfo import ZoneInfo

    from settings import settings
    from tasks.program.change import shown

    if json:
        print_json(found.to_json() | {"change_id": change_id})
    else:
        print("\n".join(shown(found, ZoneInfo(settings().timezone))))


@contextmanager
def _bad_rules() -> Iterator[None]:
    """Problems of the file, one per line, and exit code 1."""
    from loyalty.authoring import BadRulesError

    try:
        yield
    except BadRulesError as error:
        say("\n".join(error.problems))
        raise typer.Exit(FAILED) from None
