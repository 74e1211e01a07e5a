"""Test Connection: an operator sees in a table what works and who must see to what does not."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from connectors.kit.errors import block_name
from panel.blocks import NotConnectedError
from panel.blocks.connected import find_block
from panel.connect.check import check_connection
from settings import settings


@flow(name="test-connection", flow_run_name="test {connection}", persist_result=False, retries=0)
def test_connection(connection: str) -> State[Any]:
    """Try everything a synchronisation needs, and keep nothing but the renewed token.

    Reaches the vendor, compares clocks, renews the token, checks its scopes, reads a page of every
    list, tries the mapping on it, and looks up the phones of some customers.

    Args:
        connection: The name of the block: quickbooks, xero, freshbooks, netsuite, sage-intacct,
            custom, file, or what a further one was called.
    """
    config = settings()
    try:
        block = find_block(connection)
    except NotConnectedError as error:
        return Failed(message=f"NotConnectedError: {error}")
    result = check_connection(block, dsn=config.dsn(), key=config.fernet_key())
    create_markdown_artifact(
        key=f"test-{block_name(connection)}",
        markdown=result.markdown(),
        description=result.summary(),
    )
    for check in result.checks:
        get_run_logger().info(
            "%s: %s (%s)", "ok" if check.ok else "FAILED", check.check, check.detail
        )
    return (Completed if result.ok else Failed)(message=result.headline())
