"""The command password: prints the password that Prefect's pages ask for."""

from urllib.parse import urlsplit

import typer

from twezah.cli.output import say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: `twezah password`")(password)


def password() -> None:
    """Print what Prefect's user interface asks for, once per browser.

    It is kept in `prefect.password` in the state folder, which only its owner can read.
    """
    from settings import settings

    installation = settings()
    text = installation.prefect_auth_string()
    if text is None:
        say(
            f"{urlsplit(installation.ui_url).netloc} is another Prefect server: its operator knows."
        )
        raise typer.Exit(1)
    print(text)
