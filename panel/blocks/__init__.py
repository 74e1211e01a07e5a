"""The typed blocks an operator fills in Prefect's UI: one class per billing system, one document per connected account."""

from panel.blocks.base import BillingConnection
from panel.blocks.consented import (
    ConsentedConnection,
    FreshBooksConnection,
    QuickBooksConnection,
    XeroConnection,
)
from panel.blocks.described import CustomConnection, DescribedConnection, FileDropConnection
from panel.blocks.kinds import BLOCKS, account_field, register_blocks
from panel.blocks.netsuite import NetSuiteConnection
from panel.blocks.sage_intacct import SageIntacctConnection
from panel.blocks.simulated import connect_simulator
from tasks.job import NotConnectedError

__all__ = [
    "BLOCKS",
    "BillingConnection",
    "ConsentedConnection",
    "CustomConnection",
    "DescribedConnection",
    "FileDropConnection",
    "FreshBooksConnection",
    "NetSuiteConnection",
    "NotConnectedError",
    "QuickBooksConnection",
    "SageIntacctConnection",
    "XeroConnection",
    "account_field",
    "connect_simulator",
    "register_blocks",
]
