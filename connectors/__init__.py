"""The billing systems: one declarative file each, read by the functions in `connectors.kit`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from connectors import custom, file, freshbooks, netsuite, quickbooks, sage_intacct, xero
from connectors.kit.spec import Connection, ConnectorSpec

#: Every billing system that is described in code, by its name.
SYSTEMS: Final[Mapping[str, ConnectorSpec]] = MappingProxyType(
    {spec.name: spec for spec in (quickbooks.SPEC, xero.SPEC, freshbooks.SPEC, netsuite.SPEC, sage_intacct.SPEC)}
)


#: Systems that an operator describes in a block.
DESCRIBED: Final[Mapping[str, Callable[[Connection], ConnectorSpec]]] = MappingProxyType(
    {custom.NAME: custom.spec_from, file.NAME: file.spec_from}
)


def spec_for(connection: Connection) -> ConnectorSpec:
    """The description of the connection's billing system.

    Raises:
        KeyError: If there is none of that name.
        Misconfigured: If the system is described by the connection's options, and they cannot be as they are.
    """
    describe = DESCRIBED.get(connection.system)
    return describe(connection) if describe else SYSTEMS[connection.system]
