"""The kinds of block there are, by billing system."""

from panel.blocks.base import BillingConnection
from panel.blocks.consented import FreshBooksConnection, QuickBooksConnection, XeroConnection
from panel.blocks.described import CustomConnection, FileDropConnection
from panel.blocks.netsuite import NetSuiteConnection
from panel.blocks.sage_intacct import SageIntacctConnection

BLOCKS: dict[str, type[BillingConnection]] = {
    block.system: block
    for block in (
        QuickBooksConnection,
        XeroConnection,
        FreshBooksConnection,
        NetSuiteConnection,
        SageIntacctConnection,
        CustomConnection,
        FileDropConnection,
    )
}
_ACCOUNT_FIELD = {
    "quickbooks": "realm_id",
    "xero": "tenant_id",
    "freshbooks": "account_id",
    "netsuite": "account_id",
    "sage_intacct": "company_id",
}


def register_blocks() -> None:
    """Makes the block types appear in Prefect's catalogue."""
    for block in BLOCKS.values():
        block.register_type_and_schema()


def account_field(system: str) -> str:
    """The field of the system's block that names the account."""
    return _ACCOUNT_FIELD[system]
