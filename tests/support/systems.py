"""The systems that the suites run: those with a simulator.

A system of the first tier (docs/adding-a-system.md) has none yet, and is left out until it has.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import connectors
import simulator
from connectors.kit.spec import ConnectorSpec

#: Systems whose keys go over encrypted connections only, or in another way.
ENCRYPTED: Final = frozenset({*connectors.DESCRIBED, "woocommerce"})
#: Described in code and simulated, by name.
SIMULATED: Final[Mapping[str, ConnectorSpec]] = MappingProxyType(
    {name: spec for name, spec in connectors.SYSTEMS.items() if name in simulator.SYSTEMS}
)
