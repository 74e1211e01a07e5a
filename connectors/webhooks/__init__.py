"""How the webhooks of each billing system work: one declaration per system, read by `connectors.kit.webhooks`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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
    """How the webhooks of a system work, by the options of their address alone.

    For who does not know the block.

    Raises:
        Misconfigured: If the options cannot be as they are.
    """
    return webhook_for(Connection(system, ""), options)


def webhook_for(connection: Connection, options: Mapping[str, Any] = MappingProxyType({})) -> Webhook | None:
    """How the connection's webhooks work at an address; None.

    Its system sends none that could be verified.

    The one place where the settings are put together, for the API that verifies and for the run
    that reads.

    Args:
        connection: The block's values; those of an API, which knows no block, are empty.
        options: What is said of the address itself (`twezah webhooks create --option`): it counts
            before the block.

    Raises:
        Misconfigured: If they describe webhooks that cannot be as they are.
    """
    describe = DESCRIBED.get(connection.system)
    if describe is None:
        return WEBHOOKS.get(connection.system)
    return describe(replace(connection, options={**connection.options, **options}))
