"""The ledger's database, for commands that use it without Prefect."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.output import say


@contextmanager
def ledger() -> Iterator[str]:
    """The ledger's URL; the embedded database is started if needed and brought up to date."""
    from settings import settings
    from sql.migrate import migrate
    from twezah.stack.postgres import running

    with running(settings()) as dsn:
        if settings().is_embedded:
            migrate(dsn)
        yield dsn


@contextmanager
def refusals() -> Iterator[None]:
    """Turns a refusal into one line and exit code 1, and a wrong argument into exit code 2."""
    from pydantic import ValidationError

    from sql.corrections import CorrectionRefusedError

    try:
        yield
    except CorrectionRefusedError as error:
        say(f"Refused: {error}.")
        raise typer.Exit(FAILED) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise typer.BadParameter(problems) from None


def command_id(name: str) -> str:
    """The name under which the ledger records a command as a run: which command, and by whom."""
    return f"command {name} by {_user()} ({uuid4().hex[:12]})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's nameless user
        return "unknown"


def post_waiting(dsn: str, run_id: str) -> None:
    """Posts what is due to members who wait for it, and says what that was."""
    from tasks.award.members import award_members
    from tasks.run_database import RunDatabase

    done = award_members(RunDatabase(dsn, run_id), None)
    say(
        f"Posted {done.entries} entries of {done.members} members: {done.points:+d} points"
        f"{done.beside_sales()}."
    )
    for reason, count in done.reasons.most_common(5):
        say(f"Rejected {count}: {reason}")
