"""Makes the addresses for webhooks, and takes their secrets from the connections' blocks.

So an operator needs no command line for webhooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr

from connectors.kit.described.webhook_settings import WebhookSettings
from connectors.kit.errors import ConnectorError
from connectors.kit.spec import NO_SECRET
from connectors.kit.webhooks.scheme import Webhook, unusable
from connectors.registry import DESCRIBED_WEBHOOKS, WEBHOOKS, declaration
from panel.blocks import BillingConnection, NotConnectedError
from panel.blocks.connected import find_block
from panel.markdown import plain, table
from sql import endpoints as stored
from sql import subscriptions, webhooks
from sql.db import DbConnection, connect
from sql.endpoints import EndpointRow, NewEndpoint
from sql.subscriptions import SubscriptionState
from sql.tokens import TokenUnreadableError

#: How long signatures with the previous secret are accepted: a day.
OVERLAP_SECONDS: Final = 86_400.0
#: States of a subscription that needs nothing more at the vendor.
_BY_ITSELF: Final = ("subscribed", "waiting", "elsewhere")
_NOW_IN_USE: Final = "The secret of the block is in use now; the one before it for a day more."


class NoWebhooksError(ValueError):
    """The system sends none, or its secret cannot be used. The message says what to do."""


@dataclass(frozen=True)
class AddressState:
    """The webhook addresses of a connection."""

    #: The addresses that are in use.
    addresses: Sequence[EndpointRow]
    #: How many of them are new.
    made: int = 0
    #: Whether the block had a secret that is in use only from now on.
    secret_taken: bool = False

    @property
    def state(self) -> str:
        """What is still to be done, in a few words."""
        if any(endpoint.handshake in ("awaited", "seen") for endpoint in self.addresses):
            return "awaits the vendor's verification"
        return (
            "ready" if all(endpoint.secrets for endpoint in self.addresses) else "needs its secret"
        )


def can_announce(system: str) -> bool:
    """Whether the system sends webhooks that can be verified."""
    return system in WEBHOOKS or system in DESCRIBED_WEBHOOKS


def subscribes(system: str) -> bool:
    """Whether the system has an API by which the program subscribes its address."""
    hook = WEBHOOKS.get(system)
    return hook is not None and hook.subscriptions is not None


def ensure_addresses(
    db: DbConnection,
    block: BillingConnection,
    key: bytes,
    *,
    make: bool = True,
    endpoints: Sequence[EndpointRow] | None = None,
) -> AddressState:
    """Makes the connection's missing addresses, and takes the block's options and secret.

    The caller commits. Raises NoWebhooksError.

    Args:
        db: The ledger database.
        block: The connection.
        key: Encrypts the secret.
        make: False: only look at the addresses that exist.
        endpoints: All of them, where the caller has read them already (reading them counts events).
    """
    if not can_announce(block.system):
        others = ", ".join(sorted([*WEBHOOKS, *DESCRIBED_WEBHOOKS]))
        raise NoWebhooksError(
            f"{block.system} sends no webhooks that could be verified; it is polled. Those that "
            f"do: {others}"
        )
    options = _options(block)
    hook = _webhook_of(block, options)
    secret: SecretStr = getattr(block, "webhook_secret", NO_SECRET)
    if _secret_is_subscribed(db, block, hook):
        secret = NO_SECRET
    if secret.get_secret_value() and (problem := unusable(hook, secret)):
        raise NoWebhooksError(f'field "Webhook secret" of block "{block.name}": {problem}')
    current, made = (
        _addresses_of(stored.endpoints(db) if endpoints is None else endpoints, block),
        0,
    )
    while make and len(current) < block.made_from.webhook_addresses:
        stored.create_endpoint(
            db,
            NewEndpoint(block.system, block.name, handshake="awaited" if hook.confirm else "none"),
        )
        current, made = _addresses_of(stored.endpoints(db), block), made + 1
    taken = False
    for endpoint in current:
        _take_options(db, endpoint, options, asked=make)
        if secret.get_secret_value():
            taken |= _take_secret(db, endpoint, secret.get_secret_value(), key, asked=make)
    return AddressState(
        _addresses_of(stored.endpoints(db), block) if make else current, made, taken
    )


def adopt_block_secrets(dsn: str, key: bytes) -> list[str]:
    """Takes the secrets that are new in the blocks of connections that have an address.

    Returns a sentence for each connection whose secret was taken, or cannot be used. Raises
    psycopg.Error.
    """
    sentences = []
    with connect(dsn) as db:
        endpoints = stored.endpoints(db)
        for name in sorted(
            {endpoint.connection for endpoint in endpoints if endpoint.disabled_at is None}
        ):
            try:
                if ensure_addresses(
                    db, find_block(name), key, make=False, endpoints=endpoints
                ).secret_taken:
                    sentences.append(f"{name}: the webhook secret of the block is in use now")
            except NotConnectedError:  # the page "Billing systems" shows that
                continue
            except (NoWebhooksError, TokenUnreadableError) as error:
                sentences.append(f"{name}: {error}")
        db.commit()
    return sentences


def _secret_is_subscribed(db: DbConnection, block: BillingConnection, hook: Webhook) -> bool:
    """Whether the secret came with a subscription that the program made.

    The one in the block is then that of a subscription before, and must not replace it.
    """
    if hook.subscriptions is None or hook.subscriptions.signed_with == "account":
        return False
    state = subscriptions.read(db, block.name)
    return state is not None and bool(state.vendor_ids)


def _addresses_of(endpoints: Sequence[EndpointRow], block: BillingConnection) -> list[EndpointRow]:
    return [
        endpoint
        for endpoint in endpoints
        if endpoint.connection == block.name and endpoint.disabled_at is None
    ]


def _options(block: BillingConnection) -> dict[str, Any]:
    """How webhooks are signed, where the block differs from the usual way."""
    if block.system not in DESCRIBED_WEBHOOKS:
        return {}
    fields = WebhookSettings.model_fields
    values = {name: getattr(block, name) for name in fields}
    return {
        name: value
        for name, value in values.items()
        if value != fields[name].get_default(call_default_factory=True)
    }


def _take_options(
    db: DbConnection, endpoint: EndpointRow, of_block: Mapping[str, Any], *, asked: bool
) -> None:
    """Stores what the block says about the address.

    Options that were given for the address itself win, until somebody asks for the block's.
    """
    options = {
        name: value
        for name, value in endpoint.options.items()
        if name not in of_block or (not asked and of_block[name] != value)
    }
    if (options, dict(of_block)) != (dict(endpoint.options), dict(endpoint.block_options)):
        stored.set_options(db, endpoint.endpoint_no, options, of_block)


def _webhook_of(block: BillingConnection, options: Mapping[str, Any]) -> Webhook:
    try:
        hook = declaration(block.system, options)
    except ConnectorError as error:
        raise NoWebhooksError(f'block "{block.name}": {error.detail}') from None
    assert hook is not None
    return hook


def _take_secret(
    db: DbConnection, endpoint: EndpointRow, secret: str, key: bytes, *, asked: bool
) -> bool:
    target = webhooks.endpoint(db, endpoint.endpoint_id, key)
    if target is None or secret in target.secrets:
        return False
    # A secret that was replaced on the command line stays replaced: the block holds the older one.
    # Only when an operator asks for it is the block's secret used again.
    if not asked and webhooks.had_secret(db, endpoint.endpoint_no, secret, key):
        return False
    webhooks.add_secret(db, endpoint.endpoint_no, secret, key, overlap_seconds=OVERLAP_SECONDS)
    return True


def markdown(
    block: BillingConnection,
    title: str,
    kept: AddressState,
    http_url: str,
    *,
    public: bool,
    subscription: SubscriptionState | None = None,
) -> str:
    """The addresses and what to do with them, as Prefect's UI shows it.

    Args:
        block: The connection; its block is linked to.
        title: What people call the billing system.
        kept: Its addresses.
        http_url: Base URL of the HTTP API.
        public: Whether that URL is one that the vendor can reach.
        subscription: What came of subscribing by the vendor's API; None: it has none.
    """
    rows = [
        [f"`{address(http_url, endpoint.endpoint_id)}`", endpoint.last_event_at]
        for endpoint in kept.addresses
    ]
    link = f"[block](/blocks/block/{block._block_document_id})"
    steps = block.made_from.webhook_steps.format(block=link)
    if subscription is not None and subscription.state in _BY_ITSELF:
        steps = f"It was subscribed at {title} by itself: there is nothing to do there."
    elif subscription is not None and subscription.detail:
        steps = f"**Not subscribed by itself.** {plain(subscription.detail)}\n\nBy hand:\n\n{steps}"
    parts = [
        f"# Webhooks of {title}",
        f"**{kept.state.capitalize()}.** {_NOW_IN_USE if kept.secret_taken else ''}",
        table(["Address", "Last webhook"], rows),
        steps,
        (
            "Polling goes on beside it: a sale whose webhook is lost comes with the next poll, and "
            "none counts twice."
        ),
    ]
    if not public:
        parts.append(
            "**The address is this machine's own.** Set TWEZAH_API_PUBLIC_URL to how the billing "
            "system reaches it (docs/api.md), and restart."
        )
    return "\n\n".join(parts)


def address(http_url: str, endpoint_id: str) -> str:
    """Where webhooks are sent to."""
    return f"{http_url}/api/webhooks/billing/{endpoint_id}"
