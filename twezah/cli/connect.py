"""Commands about connections: connect, connection test."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from twezah.cli.exit_codes import FAILED, NEEDS_OPERATOR
from twezah.cli.options import Json, SystemKey, known_system
from twezah.cli.output import print_json, print_table, say

# For annotations only: these modules import httpx, polars and Prefect, which would add seconds to
# the start of every command.
if TYPE_CHECKING:
    from connectors.kit.http.consent import ConsentLink, Granted
    from connectors.kit.spec import GrantedAccount
    from panel.blocks import ConsentedConnection
    from panel.connect.check import CheckReport

#: How often an address may be pasted that belongs to another link.
PASTES_MAX = 3
ConnectionName = Annotated[
    str | None,
    typer.Option(
        help=(
            "Name of the connection, e.g. xero-lisboa for a second account. By default the "
            "system's."
        )
    ),
]
connection = typer.Typer(no_args_is_help=True, help="Test a connection.")

CLIENT_ID, CLIENT_SECRET = "TWEZAH_CLIENT_ID", "TWEZAH_CLIENT_SECRET"


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah connect xero`")(connect)
    connection.command("test", epilog="Example: `twezah connection test xero --json`")(
        try_connection
    )
    app.add_typer(connection, name="connection")


def connect(
    system: SystemKey,
    block: ConnectionName = None,
    account: Annotated[
        str | None, typer.Option(help="Which account, if the consent opens several.")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(envvar=CLIENT_ID, help="Client ID of your application.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1024, max=65535, help="Receive the answer at http://localhost:PORT/callback."
        ),
    ] = None,
    redirect_uri: Annotated[
        str | None, typer.Option(help="The redirect URI registered with your application.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the link.")] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="Paste the address the browser ends at, do not listen.")
    ] = False,
) -> None:
    """Connect an account: consent in the browser, then a test of the connection.

    Client ID and secret are taken from the block if there is one, from the environment
    (TWEZAH_CLIENT_ID, TWEZAH_CLIENT_SECRET), or asked for. Uses the stack that is up, or starts one
    for the duration.
    """
    from connectors.kit.errors import block_name
    from connectors.kit.http.urls import refuse_credentials
    from settings import settings
    from twezah.cli.use_stack import stoppable, use_stack

    system = known_system(system)
    name = block_name(block or system)
    try:
        refuse_credentials(redirect_uri or "", is_address=True)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--redirect-uri") from None
    with stoppable(), use_stack(settings(), simulator=False) as stack, exit_for_operator():
        from panel.connect import consent

        values = _application(name, system, client_id)
        target = consent.block_for(name, system, values)
        started = consent.start(target, port=port, redirect_uri=redirect_uri or "")
        granted = _await_consent(target, started, browser=not no_browser, paste=paste)
        chosen = _choose(target, name, granted, account)
        saved = consent.store(
            target, name, granted, chosen.account if chosen else "",
            redirect_uri=started.redirect_uri,
            dsn=stack.dsn, key=settings().fernet_key(),
        )  # fmt: skip
        if chosen is None:
            say(
                f"Consented. Enter one of these accounts in the block {name!r} "
                f"({stack.ui_url}/blocks): no second consent is needed."
            )
            raise typer.Exit(NEEDS_OPERATOR)
        say(f"Connected: {chosen.account} {chosen.name}".rstrip())
        result = _run_test(saved, stack.dsn)
        wrong = _subscribe(saved) if result.ok else ""
    _print(result, json=False)
    if wrong:
        say(f"Webhooks: {wrong}")
    if result.ok:
        say(f"Next: `twezah sync {name} --dry-run` keeps nothing and shows what would happen.")
    else:
        raise typer.Exit(_exit_code(result))


def try_connection(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|NAME", help="The connection: a system, or its block's name."
        ),
    ],
    json: Json = False,
) -> None:
    """Try everything a synchronisation needs, and say who can correct what does not work.

    Nothing is stored but the renewed token.
    """
    from settings import settings
    from twezah.cli.use_stack import stoppable, use_stack

    with stoppable(), use_stack(settings(), simulator=False) as stack, exit_for_operator():
        from panel.blocks.connected import find_block

        result = _run_test(find_block(name), stack.dsn)
    _print(result, json=json)
    if not result.ok:
        raise typer.Exit(_exit_code(result))


class exit_for_operator:  # noqa: N801  used like a function
    """Turns an error that an operator must correct into one line and an exit code."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from connectors.kit.errors import ConnectorError, NeedsOperator
        from panel.blocks import NotConnectedError

        if isinstance(error, ConnectorError | NotConnectedError):
            say(str(error))
            needs = isinstance(error, NeedsOperator | NotConnectedError)
            raise typer.Exit(NEEDS_OPERATOR if needs else FAILED) from None


def _application(name: str, system: str, client_id: str | None) -> dict[str, Any]:
    """Client id and secret, where the block does not have them already."""
    from pydantic import SecretStr

    from panel.blocks.connected import connections

    values: dict[str, Any] = {"client_id": client_id} if client_id else {}
    if secret := os.environ.get(CLIENT_SECRET):
        values["client_secret"] = SecretStr(secret)
    if connections().get(name) == system:
        return values
    if "client_id" not in values:
        values["client_id"] = typer.prompt("Client ID of your application", err=True).strip()
    if "client_secret" not in values:
        values["client_secret"] = SecretStr(
            typer.prompt("Client secret (not shown)", hide_input=True, err=True).strip()
        )
    return values


def _await_consent(
    block: "ConsentedConnection", started: "ConsentLink", *, browser: bool, paste: bool
) -> "Granted":
    from panel.connect import consent
    from panel.connect.callback import ConsentReceiver, address_of, serving

    title = consent.title_of(block)
    address = None if paste else address_of(started.redirect_uri)
    print(f"Open this link, sign in at {title} and allow access:\n\n{started.url}\n", flush=True)
    if address is None:
        _open(started.url, browser)
        say(
            f"The browser then ends at {started.redirect_uri}..., which may not load: that is fine."
        )
        return _redeem_pasted(started)
    with serving(ConsentReceiver(started, title), address) as receiver:
        _open(started.url, browser)
        say(
            f"Waiting for the answer at {started.redirect_uri} (the application must have exactly "
            "this redirect URI)."
        )
        say(
            "The browser is on another machine? Paste what it ends at: run this again with "
            "--paste. Ctrl-C gives up."
        )
        return receiver.wait(started.seconds_left)


def _redeem_pasted(started: "ConsentLink") -> "Granted":
    """Asks for the address that the browser ends at, a few times if it belongs to an older link.

    It is not shown while it is typed, because it holds the code.
    """
    from connectors.kit.http.consent import NotThisLink

    for _ in range(PASTES_MAX - 1):
        try:
            return started.redeem(_read_line())
        except NotThisLink as error:
            say(f"{error.detail}.")
    return started.redeem(_read_line())


def _read_line() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline(20_000)
    text: str = typer.prompt(
        "Paste that page's whole address (not shown)", hide_input=True, err=True
    )
    return text


def _open(link: str, browser: bool) -> None:
    import webbrowser

    if browser:
        try:
            webbrowser.open(link)
        except webbrowser.Error:
            say("No browser could be started.")


def _choose(
    block: "ConsentedConnection", name: str, granted: "Granted", account: str | None
) -> "GrantedAccount | None":
    from panel.connect import consent

    chosen, choices = consent.choose(block, name, granted, account or "")
    if chosen is not None:
        return chosen
    say("The consent opens several accounts:")
    for number, choice in enumerate(choices, 1):
        say(f"  {number}  {choice.account}  {choice.name}")
    if not sys.stdin.isatty():
        return None
    answer: int = typer.prompt("Which one", type=click.IntRange(1, len(choices)), err=True)
    return choices[answer - 1]


def _subscribe(block: Any) -> str:
    """Has the webhooks subscribed where the vendor has an API for it; what is wrong."""
    from uuid import uuid4

    from panel.connect.subscriptions import keep_subscribed
    from settings import settings

    return keep_subscribed(block, settings(), f"connect-{uuid4()}")


def _run_test(block: Any, dsn: str) -> "CheckReport":
    from panel.connect.check import check_connection
    from settings import settings

    return check_connection(block, dsn=dsn, key=settings().fernet_key())


def _print(result: "CheckReport", *, json: bool) -> None:
    if json:
        print_json(result.to_json())
        return
    print_table(f"Test of {result.connection}", result.checks)
    print_table("Latency", result.latency())
    say(f"{result.headline()}.")


def _exit_code(result: "CheckReport") -> int:
    """The exit code: 3 where someone must act, 1 where waiting is all that can be done."""
    return (
        NEEDS_OPERATOR
        if any(not check.ok and not check.who.startswith("nobody") for check in result.checks)
        else FAILED
    )
