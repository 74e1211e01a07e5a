"""The command `twezah`: each module registers the commands that it is named after.

What the exit codes mean is in `twezah.cli.exit_codes`. Commands import what they use inside their
functions: Prefect, polars and the database driver take seconds to import, and `twezah --help` or
`twezah status` should not wait for what they do not use.
"""

import os
import sys
from importlib.metadata import version

import typer

from twezah.cli import (
    analyst,
    audit,
    backup,
    bulk,
    connect,
    data_key,
    demo,
    duplicates,
    explain,
    export,
    fx,
    keys,
    mapping,
    member,
    member_events,
    part,
    password,
    points,
    privacy,
    program,
    psql,
    receivers,
    report,
    service,
    status,
    sync,
    up,
    webhooks,
)
from twezah.cli.exit_codes import ENVIRONMENT, INTERRUPTED, USAGE
from twezah.stack.private_files import UMASK

app = typer.Typer(
    name="twezah",
    help="Every sale becomes loyalty points: operate and query the billing integration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=(
        "Exit codes: 0 done, 1 failed or answered no, 2 wrong usage, 3 needs an operator, 4 "
        "environment."
    ),
)
up.register(app)
part.register(app)
sync.register(app)
password.register(app)
connect.register(app)
demo.register(app)
status.register(app)
explain.register(app)
psql.register(app)
analyst.register(app)
mapping.register(app)
backup.register(app)
keys.register(app)
webhooks.register(app)
receivers.register(app)
points.register(app)
program.register(app)
duplicates.register(app)
fx.register(app)
member.register(app)
member_events.register(app)
bulk.register(app)
privacy.register(app)
data_key.register(app)
audit.register(app)
export.register(app)
report.register(app)
service.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("twezah"))
        raise typer.Exit


@app.callback()
def _root(
    show_version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point: runs the command.

    An error that an operator can act on becomes one line and an exit code.
    """
    os.umask(UMASK)
    try:
        app(prog_name="twezah")
    except KeyboardInterrupt:
        _fail("Interrupted.", INTERRUPTED)
    except Exception as error:
        explanation = _explain(error)
        if explanation is None:
            raise
        _fail(*explanation)


def _fail(message: str, code: int) -> None:
    print(f"twezah: {message}", file=sys.stderr)
    sys.exit(code)


def _explain(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of a failure whose cause is outside the program; None for a defect."""
    from pydantic import ValidationError

    from api.exposure_check import UnsafeError
    from settings import DatabaseNotRunning, KeysUnusableError
    from sql.migrate import MigrationChangedError
    from twezah.stack.errors import StackError, explained, is_out_of_space

    ours = StackError | DatabaseNotRunning | MigrationChangedError | UnsafeError | KeysUnusableError
    sealing = sys.modules.get("sql.sealing")
    is_of_keys = sealing is not None and isinstance(error, sealing.KeyMissingError)
    if is_of_keys or isinstance(error, ours):
        return str(error), ENVIRONMENT
    if isinstance(error, ValidationError) and error.title == "Settings":
        return f"A setting is wrong: {_settings_problems(error)}", USAGE
    if isinstance(error, PermissionError):
        return f"{error}. Set TWEZAH_HOME to a folder of your own.", ENVIRONMENT
    if isinstance(error, OSError) and is_out_of_space(error):
        return explained(error), ENVIRONMENT
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.OperationalError):
        return f"The database does not answer: {str(error).strip()}", ENVIRONMENT
    return None


def _settings_problems(error: object) -> str:
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    names = (
        (".".join(map(str, problem["loc"])).upper(), problem["msg"]) for problem in error.errors()
    )
    return "; ".join(
        f"TWEZAH_{name}: {text}"
        if name and not name.startswith("PREFECT_API")
        else f"{name} {text}".strip()
        for name, text in names
    )
