"""How the webhooks of each billing system work: one declaration per system, read by `connectors.kit.webhooks`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from connectors.kit.spec import Connection
from connectors.kit.webhooks import Webhook
from connectors.webhooks import custom, freshbooks, quickbooks, xero

#: Systems whose webhooks are described in code, by name.
WEBHOOKS: Final[Mapping[str, Webhook]] = MappingProxyType(
    {one.system: one for one in (quickbooks.WEBHOOK, xero.WEBHOOK, freshbooks.WEBHOOK)}
)
#: Systems whose webhooks an operator describes in a block.
DESCRIBED: Final[Mapping[str, Callable[[Connection], Webhook]]] = MappingProxyType({"custom": custom.webhook_from})


def declaration(system: str, options: Mapping[str, Any]) -> Webhook | None:
    """How the webhooks of a system work, with what its endpoint's options say; for who only verifies them.

    Raises:
        Misconfigured: If the options cannot be as they are.
    """
    return webhook_for(Connection(system, "", options=options))


def webhook_for(connection: Connection) -> Webhook | None:
    """How the connection's webhooks work; None: its system sends none that could be verified.

    Raises:
        Misconfigured: If the connection's options describe webhooks that cannot be as they are.
    """
    describe = DESCRIBED.get(connection.system)
    return describe(connection) if describe else WEBHOOKS.get(connection.system)
