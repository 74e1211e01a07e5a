"""The billing systems: one declarative file each, read by the functions in `connectors.kit`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from connectors import freshbooks, netsuite, quickbooks, sage_intacct, xero
from connectors.kit.spec import Connection, ConnectorSpec

#: Every billing system by its name.
SYSTEMS: Final[Mapping[str, ConnectorSpec]] = MappingProxyType(
    {spec.name: spec for spec in (quickbooks.SPEC, xero.SPEC, freshbooks.SPEC, netsuite.SPEC, sage_intacct.SPEC)}
)


def spec_for(connection: Connection) -> ConnectorSpec:
    """The description of the connection's billing system. Raises KeyError if there is none."""
    return SYSTEMS[connection.system]
