"""The typed blocks an operator fills in Prefect's UI: one class per billing system, one document per connected account."""

from tasks.blocks.base import BillingConnection, NotConnectedError
from tasks.blocks.consented import ConsentedConnection, FreshBooksConnection, QuickBooksConnection, XeroConnection
from tasks.blocks.described import CustomConnection, DescribedConnection, FileDropConnection
from tasks.blocks.kinds import BLOCKS, account_field, register_blocks
from tasks.blocks.netsuite import NetSuiteConnection
from tasks.blocks.sage_intacct import SageIntacctConnection
from tasks.blocks.simulated import connect_simulator

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
