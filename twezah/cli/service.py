"""Commands about the service: service show, service install, service uninstall."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from twezah.cli.exit_codes import ENVIRONMENT
from twezah.cli.output import say

service = typer.Typer(
    no_args_is_help=True,
    help="`twezah up` as a service of systemd: at boot, and again when it ends.",
)
User = Annotated[
    str,
    typer.Option(metavar="NAME", help="Account to run as; default: the owner of the state folder."),
]
To = Annotated[Path, typer.Option(metavar="FOLDER", help="Where systemd looks for units.")]
_FOLDER = Path("/etc/systemd/system")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    service.command(epilog="Example: `twezah service show`")(show)
    service.command(epilog="Example: `sudo .venv/bin/twezah service install --user twezah`")(
        install
    )
    service.command(epilog="Example: `sudo .venv/bin/twezah service uninstall`")(uninstall)
    app.add_typer(service, name="service")


def show(user: User = "") -> None:
    """Print the unit; nothing is changed."""
    print(_unit(user), end="")


def install(user: User = "", to: To = _FOLDER) -> None:
    """Write the unit, start the service now and at every boot. Needs root."""
    from twezah.stack.systemd_unit import NAME

    text = _unit(user)
    try:
        to.mkdir(parents=True, exist_ok=True)
        (to / NAME).write_text(text)
    except OSError as error:
        say(f"Cannot write {to / NAME}: {error.strerror}. Run it with sudo.")
        raise typer.Exit(ENVIRONMENT) from None
    say(f"Written: {to / NAME}.")
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", "--no-block", NAME)
    say(f"The service starts. `systemctl status {NAME}`, `journalctl -u {NAME} -f`.")


def uninstall(to: To = _FOLDER) -> None:
    """Stop the service and remove the unit; the state folder stays. Needs root."""
    from twezah.stack.systemd_unit import NAME

    if not (to / NAME).exists():
        say(f"There is no {to / NAME}: nothing was changed.")
        return
    _systemctl("disable", "--now", NAME)
    (to / NAME).unlink()
    _systemctl("daemon-reload")
    say("The service is stopped and removed. The state folder stays.")


def _unit(user: str) -> str:
    from settings import settings
    from twezah.stack.systemd_unit import unit

    try:
        return unit(settings(), user or _owner(settings().home))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _owner(home: Path) -> str:
    try:
        return home.owner()
    except (OSError, KeyError):  # it is not there yet
        return os.environ.get("SUDO_USER") or getpass.getuser()


def _systemctl(*arguments: str) -> None:
    program = shutil.which("systemctl")
    if program is None or not Path("/run/systemd/system").exists():
        say(
            "systemd does not run here: use what starts services on this machine, with the command "
            "of ExecStart."
        )
        raise typer.Exit(ENVIRONMENT)
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = result.stderr.strip() or f"status {result.returncode}"
        say(f"systemctl {' '.join(arguments)} failed: {reason}")
        raise typer.Exit(ENVIRONMENT)
