"""Commands about webhook endpoints: webhooks create, list, rotate, disable, replay; and api."""

import os
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED, NEEDS_OPERATOR
from twezah.cli.ledger import ledger
from twezah.cli.options import Json, SystemKey, known_system
from twezah.cli.output import print_json, print_table, say

# For annotations only: these modules import httpx and the database driver, which would slow down
# the start of every command.
if TYPE_CHECKING:
    from connectors.kit.webhooks.scheme import Webhook
    from sql.endpoints import EndpointRow

SECRET = "TWEZAH_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
webhooks = typer.Typer(no_args_is_help=True, help="Where billing systems send webhooks.")
EndpointId = Annotated[
    str, typer.Argument(metavar="ID", help="The last part of the address, or its first characters.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    example = (
        "Examples: `twezah webhooks create xero`, `twezah webhooks create custom --connection shop "
        "--default`"
    )
    webhooks.command("create", epilog=example)(create)
    webhooks.command("list", epilog="Example: `twezah webhooks list`")(list_endpoints)
    webhooks.command("subscriptions", epilog="Example: `twezah webhooks subscriptions`")(
        list_subscriptions
    )
    webhooks.command("subscribe", epilog="Example: `twezah webhooks subscribe stripe`")(subscribe)
    webhooks.command("rotate", epilog="Example: `twezah webhooks rotate Xy3k --overlap-hours 24`")(
        rotate
    )
    webhooks.command("disable", epilog="Example: `twezah webhooks disable Xy3k`")(disable)
    webhooks.command("replay", epilog="Example: `twezah webhooks replay --connection xero`")(replay)
    app.add_typer(webhooks, name="webhooks")
    app.command(epilog="Example: `twezah api`")(api)


def api() -> None:
    """Serve the HTTP API alone, until Ctrl-C; `twezah up` serves it with the rest."""
    from api.exposure_check import require_safe
    from api.serve import serve
    from settings import settings
    from twezah.stack.processes import require_free

    require_safe(settings())
    require_free(settings().api_host, settings().api_port, "TWEZAH_API_PORT")
    with ledger():
        say(f"API      {settings().http_url} (Ctrl-C stops it)")
        try:
            serve(settings())
        except KeyboardInterrupt:
            say("Stopped.")


@dataclass(frozen=True)
class _Row:
    id: str
    connection: str
    system: str
    state: str
    secrets: int
    networks: str
    events: int
    last_event: datetime | None


@dataclass(frozen=True)
class _SubscriptionRow:
    connection: str
    system: str
    state: str
    expires: datetime | None
    checked: datetime
    next_check: datetime
    detail: str


def list_subscriptions(json: Json = False) -> None:
    """List what became of subscriptions that the program makes at the billing systems."""
    from sql import subscriptions
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as db:
        states = subscriptions.read_all(db).values()
    rows = [
        _SubscriptionRow(
            state.connection, state.system, state.state, state.expires_at, state.checked_at,
            state.next_at, state.detail,
        )
        for state in states
    ]  # fmt: skip
    if json:
        print_json(rows)
        return
    print_table("Webhook subscriptions", rows)
    if not rows:
        print(
            "None was made yet: a run of a connection does it, where there is a public https "
            "address (TWEZAH_API_PUBLIC_URL)."
        )


def subscribe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|NAME", help="The connection: a system, or its block's name."
        ),
    ],
    json: Json = False,
) -> None:
    """Subscribe, renew or remove at the billing system now, as the block says.

    Nobody needs to: runs of the connection do it. For after something was corrected at the vendor.
    """
    from uuid import uuid4

    from settings import settings
    from twezah.cli.connect import exit_for_operator
    from twezah.cli.use_stack import stoppable, use_stack

    with stoppable(), use_stack(settings(), simulator=False), exit_for_operator():
        from panel.blocks.connected import load_block
        from panel.connect import subscriptions
        from sql.subscriptions import SubscriptionsBusyError
        from sql.tokens import StandbyError
        from tasks.webhooks.subscriptions import NEEDS_SOMEBODY

        try:
            state = subscriptions.subscribe(load_block(name), settings(), f"subscribe-{uuid4()}")
        except (subscriptions.NoSubscriptionsError, SubscriptionsBusyError, StandbyError) as error:
            say(str(error))
            raise typer.Exit(FAILED) from None
        words = subscriptions.sentence(state, is_public=settings().has_public_api)
    if json:
        print_json({"connection": state.connection, "state": state.state, "detail": state.detail})
    else:
        say(f"{state.connection}: {words}")
    if state.state in NEEDS_SOMEBODY:
        raise typer.Exit(NEEDS_OPERATOR)


def create(
    system: SystemKey,
    connection: Annotated[
        str | None, typer.Option(help="Name of the block; by default the system's.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Accept only senders in this network, e.g. 203.0.113.0/24. Repeatable."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="For custom: a webhook field of the block, NAME=VALUE. Repeatable."),
    ] = None,
    default: Annotated[
        bool,
        typer.Option("--default", help="Also reachable as /api/webhooks/billing; only one can be."),
    ] = False,
    body_kib: Annotated[int, typer.Option(min=1, max=16_384, help="Largest body, in KiB.")] = 1_024,
    json: Json = False,
) -> None:
    """Make an address for a connection's webhooks, and say what to enter where.

    The signing secret is read from TWEZAH_WEBHOOK_SECRET, or asked for. It is no option, because
    shells keep command lines. For a custom system one is made if none is given.
    """
    from connectors.forms import forms
    from settings import settings
    from sql import webhooks as stored
    from sql.db import connect
    from sql.endpoints import NewEndpoint, create_endpoint

    known_system(system)
    options = dict(_option(text) for text in option or [])
    webhook = _webhook_of(system, options)
    networks = _networks(allow or [])
    awaited = webhook.confirm is not None
    secret, made_here = ("", False) if awaited else _secret(system, webhook, interactive=not json)
    wanted = NewEndpoint(
        system, connection or system, options=options, allowed_networks=networks,
        is_default=default, body_bytes_max=body_kib * 1024,
        handshake="awaited" if awaited else "none",
    )  # fmt: skip
    with ledger() as dsn, connect(dsn) as db:
        _require_no_default(db, wanted=default)
        made = create_endpoint(db, wanted)
        if secret:
            stored.add_secret(
                db, made.endpoint_no, secret, settings().fernet_key(), overlap_seconds=0
            )
        db.commit()
    url = f"{settings().http_url}/api/webhooks/billing/{made.endpoint_id}"
    shown = {"secret": secret} if made_here else {}
    if json:
        print_json({"id": made.endpoint_id, "url": url, **shown})
        return
    print(f"URL      {url}")
    if default:
        print(f"or       {settings().http_url}/api/webhooks/billing")
    if made_here:
        print(f"Secret   {secret}   (shown once)")
    hint = forms()[system].webhook_hint
    say(f"Next     {hint.format(id=made.endpoint_id[:8])}")
    if settings().api_public_url is None:
        say(
            "The URL is this machine's own. Set TWEZAH_API_PUBLIC_URL to how the billing system "
            "reaches it (docs/api.md)."
        )


def _option(text: str) -> tuple[str, Any]:
    """Name and value of an option; what is a JSON object (*Events*) is read as one."""
    from json import loads
    from typing import get_origin

    from connectors.kit.described.webhook_settings import WebhookSettings

    name, equals, value = text.partition("=")
    if not equals or not name.startswith("webhook_"):
        raise typer.BadParameter(f"{text!r} is not webhook_NAME=VALUE", param_hint="--option")
    field = WebhookSettings.model_fields.get(name)
    if field is None:
        names = ", ".join(WebhookSettings.model_fields)
        raise typer.BadParameter(
            f"there is no option {name}; there are: {names}", param_hint="--option"
        )
    if get_origin(field.annotation) is not dict:
        return name, value
    try:
        return name, loads(value)
    except ValueError:
        raise typer.BadParameter(
            f"the value of {name} is not valid JSON", param_hint="--option"
        ) from None


def _webhook_of(system: str, options: dict[str, Any]) -> "Webhook":
    from connectors.kit.errors import Misconfigured
    from connectors.registry import DESCRIBED_WEBHOOKS, WEBHOOKS, declaration

    if options and system not in DESCRIBED_WEBHOOKS:
        raise typer.BadParameter("only custom systems have options", param_hint="--option")
    try:
        webhook = declaration(system, options)
    except Misconfigured as error:
        raise typer.BadParameter(str(error), param_hint="--option") from None
    if webhook is None:
        systems = ", ".join(sorted([*WEBHOOKS, *DESCRIBED_WEBHOOKS]))
        message = (
            f"{system} sends no webhooks that could be verified; it is polled. Those that do: "
            f"{systems}"
        )
        raise typer.BadParameter(message, param_hint="SYSTEM")
    return webhook


def _networks(texts: list[str]) -> list[str]:
    from ipaddress import ip_network

    try:
        return [str(ip_network(text)) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow") from None


def _secret(system: str, webhook: "Webhook", *, interactive: bool) -> tuple[str, bool]:
    """The signing secret, "" if it is entered later; and whether it was made here."""
    import base64
    import secrets

    from pydantic import SecretStr

    from connectors.kit.webhooks.scheme import unusable
    from connectors.registry import DESCRIBED_WEBHOOKS

    secret = os.environ.get(SECRET, "").strip()
    if not secret and system in DESCRIBED_WEBHOOKS:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(), True
    if not secret and interactive and sys.stdin.isatty():
        secret = typer.prompt(
            "Secret (Enter: later)", hide_input=True, default="", show_default=False
        ).strip()
    if secret and (problem := unusable(webhook, SecretStr(secret))):
        raise typer.BadParameter(
            f"the secret cannot be one of {system}: {problem}", param_hint=SECRET
        )
    return secret, False


def _require_no_default(db: Any, *, wanted: bool) -> None:
    from sql.endpoints import endpoints

    taken = next(
        (
            endpoint
            for endpoint in endpoints(db)
            if endpoint.is_default and endpoint.disabled_at is None
        ),
        None,
    )
    if wanted and taken is not None:
        message = (
            f"{taken.endpoint_id} is the default endpoint: `twezah webhooks disable "
            f"{taken.endpoint_id[:8]}` first"
        )
        raise typer.BadParameter(message, param_hint="--default")


def list_endpoints(json: Json = False) -> None:
    """List all endpoints: what they accept, and when something last arrived."""
    from sql.db import connect
    from sql.endpoints import endpoints

    with ledger() as dsn, connect(dsn) as db:
        entries = endpoints(db)
    rows = [
        _Row(
            entry.endpoint_id, entry.connection, entry.system, _state(entry), entry.secrets,
            ", ".join(entry.allowed_networks) or "all", entry.events, entry.last_event_at,
        )
        for entry in entries
    ]  # fmt: skip
    if json:
        print_json(rows)
        return
    print_table("Webhook endpoints", rows)
    if not rows:
        print("There is no endpoint yet: `twezah webhooks create` makes one.")


def _state(endpoint: "EndpointRow") -> str:
    if endpoint.disabled_at is not None:
        return "disabled"
    if endpoint.handshake in ("awaited", "seen"):
        return "awaits verification"
    return (
        ("default" if endpoint.is_default else "active") if endpoint.secrets else "needs its secret"
    )


def _endpoint_by_prefix(db: Any, beginning: str) -> "EndpointRow":
    from sql.endpoints import endpoints

    matches = [
        endpoint
        for endpoint in endpoints(db)
        if endpoint.endpoint_id.startswith(beginning) and endpoint.disabled_at is None
    ]
    if len(matches) != 1:
        say(
            f"{len(matches) or 'No'} endpoints in use begin with {beginning!r}. `twezah webhooks "
            "list` shows all."
        )
        raise typer.Exit(FAILED)
    return matches[0]


def rotate(
    endpoint_id: EndpointId,
    overlap_hours: Annotated[
        float,
        typer.Option(
            min=0, max=720, help="For how long signatures with the old secret are accepted."
        ),
    ] = 24,
    json: Json = False,
) -> None:
    """Enter a new secret (a custom system's is made); the old one is good for a while longer.

    For FreshBooks, its next verification is awaited instead.
    """
    from settings import settings
    from sql import webhooks as stored
    from sql.db import connect
    from sql.endpoints import await_handshake

    with ledger() as dsn, connect(dsn) as db:
        endpoint = _endpoint_by_prefix(db, endpoint_id)
        webhook = _webhook_of(endpoint.system, {**endpoint.block_options, **endpoint.options})
        if webhook.confirm is not None:
            await_handshake(db, endpoint.endpoint_no)
            db.commit()
            say("The next verification is awaited: ask for it again at the billing system.")
            return
        secret, made_here = _secret(endpoint.system, webhook, interactive=True)
        if not secret:
            raise typer.BadParameter(
                f"no secret was entered; {SECRET} may hold it", param_hint="ID"
            )
        overlap_seconds = overlap_hours * 3600
        stored.add_secret(
            db,
            endpoint.endpoint_no,
            secret,
            settings().fernet_key(),
            overlap_seconds=overlap_seconds,
        )
        db.commit()
    if json:
        print_json({"id": endpoint.endpoint_id, **({"secret": secret} if made_here else {})})
    elif made_here:
        print(f"Secret   {secret}   (shown once)")
    say(f"The secret is in use now; the ones before it for {overlap_hours:g} hours more.")


def disable(endpoint_id: EndpointId) -> None:
    """Accept nothing more at this address: senders get a 410. What was stored stays."""
    from sql.db import connect
    from sql.endpoints import disable_endpoint

    with ledger() as dsn, connect(dsn) as db:
        endpoint = _endpoint_by_prefix(db, endpoint_id)
        disable_endpoint(db, endpoint.endpoint_id)
        db.commit()
    say(f"{endpoint.endpoint_id} is disabled.")


def replay(
    connection: Annotated[str | None, typer.Option(help="Only events of this connection.")] = None,
    event: Annotated[
        list[int] | None, typer.Option(help="Only the event of this number. Repeatable.")
    ] = None,
) -> None:
    """Try parked and failed events again now, after a correction. Nothing counts twice."""
    from sql import webhooks as stored
    from sql.db import connect

    with ledger() as dsn, connect(dsn) as db:
        count = stored.replay(db, event_nos=event or None, of=connection)
        db.commit()
        stored.nudge(db)
        db.commit()
    say(
        f"{count} events are tried again."
        if count
        else "There is no such event that is parked or failed."
    )
    if not count:
        raise typer.Exit(FAILED)
