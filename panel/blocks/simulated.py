"""The blocks of the simulated accounts: what `--simulator` connects."""

from collections.abc import Iterable
from typing import Any

from connectors.kit.errors import block_name
from panel.blocks.kinds import BLOCKS


def connect_simulator(base_url: str, systems: Iterable[str] = tuple(BLOCKS)) -> None:
    """Connects those of the systems that have no block yet to the simulator at `base_url`.

    Its credentials are public constants.
    """
    from panel.blocks.connected import connections  # which needs the blocks above

    present = connections()
    for system in systems:
        values = simulated_values(system, base_url)
        if values and block_name(system) not in present:
            BLOCKS[system](**values).save(system)


def simulated_values(system: str, base_url: str) -> dict[str, Any]:
    """What the form of the system is filled with; empty where there is no simulator of it."""
    form = BLOCKS[system].made_from
    if form.simulated is None:
        return {}
    here = f"{base_url}/{system}"
    values: dict[str, Any] = {"base_url": here}
    if form.access == "consent":
        values |= {
            "client_id": "sim-client",
            "client_secret": "sim-secret",
            "refresh_token": f"sim-refresh-{system}",
        }
    return values | {
        name: here + value if value.startswith("/") else value
        for name, value in form.simulated.items()
    }
