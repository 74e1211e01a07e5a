"""The typed blocks an operator fills in Prefect's UI.

One class per billing system, made of `connectors/<system>/form.py` and importable from here by its
name (`XeroConnection`); one document per connected account.
"""

from typing import Any

from panel.blocks.base import BillingConnection
from panel.blocks.consented import ConsentedConnection
from panel.blocks.described import DescribedConnection
from panel.blocks.kinds import BLOCKS, account_field, register_blocks
from panel.blocks.simulated import connect_simulator
from tasks.job import NotConnectedError

__all__ = [
    "BLOCKS",
    "BillingConnection",
    "ConsentedConnection",
    "DescribedConnection",
    "NotConnectedError",
    "account_field",
    "connect_simulator",
    "register_blocks",
]


def __getattr__(name: str) -> Any:
    """The block class of that name, e.g. `XeroConnection`."""
    for block in BLOCKS.values():
        if block.__name__ == name:
            return block
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
