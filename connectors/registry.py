"""Finds the billing systems: each folder beside `kit/` that has a `connector.py` is one.

`connector.py` gives `SPEC`, or `NAME` and `spec_from` where an operator describes the system in a
`connector.py` gives `SPEC`, or `NAME` and `spec_from` where an operator describes the system in a
block; `SPEC` and `spec_from` where some options of the account change what its records mean.
`webhooks.py`, where the system announces sales, gives `WEBHOOK`, or `webhook_from`, or both, in the
same way. What an operator fills in is `connectors.forms`.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

from connectors.kit.spec import Account, ConnectorSpec
from connectors.kit.webhooks.scheme import Webhook

_FOLDER: Final = Path(__file__).parent


def modules(name: str) -> Iterator[tuple[str, ModuleType]]:
    """The module `name` of each system that has one, with the system's name; sorted."""
    for path in sorted(_FOLDER.glob(f"*/{name}.py")):
        system = path.parent.name
        yield system, importlib.import_module(f"connectors.{system}.{name}")


_CONNECTORS: Final = dict(modules("connector"))
_WEBHOOK_MODULES: Final = dict(modules("webhooks"))

#: Every billing system that is described in code, by its name.
SYSTEMS: Final[Mapping[str, ConnectorSpec]] = MappingProxyType(
    {name: module.SPEC for name, module in _CONNECTORS.items() if hasattr(module, "SPEC")}
)
#: Descriptions that depend on an account's options.
_SPECS_FROM: Final[Mapping[str, Callable[[Account], ConnectorSpec]]] = MappingProxyType(
    {name: module.spec_from for name, module in _CONNECTORS.items() if hasattr(module, "spec_from")}
)
#: Systems that an operator describes in a block.
DESCRIBED: Final[Mapping[str, Callable[[Account], ConnectorSpec]]] = MappingProxyType(
    {name: describe for name, describe in _SPECS_FROM.items() if name not in SYSTEMS}
)
#: Webhooks of the systems that are described in code, by name, as far as no setting matters.
WEBHOOKS: Final[Mapping[str, Webhook]] = MappingProxyType(
    {
        name: module.WEBHOOK
        for name, module in _WEBHOOK_MODULES.items()
        if hasattr(module, "WEBHOOK")
    }
)
#: How webhooks work for an account, where that depends on its settings.
_WEBHOOKS_FROM: Final[Mapping[str, Callable[[Account], Webhook]]] = MappingProxyType(
    {
        name: module.webhook_from
        for name, module in _WEBHOOK_MODULES.items()
        if hasattr(module, "webhook_from")
    }
)
#: Systems whose webhooks an operator describes in a block.
DESCRIBED_WEBHOOKS: Final[Mapping[str, Callable[[Account], Webhook]]] = MappingProxyType(
    {name: describe for name, describe in _WEBHOOKS_FROM.items() if name not in WEBHOOKS}
)


def spec_for(account: Account) -> ConnectorSpec:
    """The description of the account's billing system.

    Raises:
        KeyError: If there is none of that name.
        Misconfigured: If the system is described by the account's options, and they cannot be as
            they are.
    """
    describe = _SPECS_FROM.get(account.system)
    return describe(account) if describe else SYSTEMS[account.system]


def declaration(system: str, options: Mapping[str, Any]) -> Webhook | None:
    """How the webhooks of a system work, by the options of their address alone.

    For the API, which does not know the block.

    Raises:
        Misconfigured: If the options cannot be as they are.
    """
    return webhook_for(Account(system, ""), options)


def webhook_for(
    account: Account, options: Mapping[str, Any] = MappingProxyType({})
) -> Webhook | None:
    """How the account's webhooks work at an address.

    This is the one place where the settings are put together, for the API that verifies and for the
    run that reads. None: the system sends no webhooks that could be verified.

    Args:
        account: The block's values; those of an API, which knows no block, are empty.
        options: What is said of the address itself (`twezah webhooks create --option`): it counts
            before the block.

    Raises:
        Misconfigured: If they describe webhooks that cannot be as they are.
    """
    describe = _WEBHOOKS_FROM.get(account.system)
    if describe is None:
        return WEBHOOKS.get(account.system)
    return describe(replace(account, options={**account.options, **options}))
