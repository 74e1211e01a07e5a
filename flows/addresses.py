"""Makes an address for webhooks from Prefect's UI; its secret is taken from the account's block."""

from typing import Any
from uuid import uuid4

import psycopg
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from connectors import spec_for
from connectors.kit.errors import ConnectorError, block_name
from panel.blocks import BillingConnection, NotConnectedError
from panel.blocks.connected import find_block
from panel.connect.subscriptions import NoSubscriptionsError, subscribe
from panel.connect.webhook_address import NoWebhooksError, ensure_addresses, markdown
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from settings import DatabaseNotRunning, settings
from sql.db import connect
from sql.subscriptions import SubscriptionsBusyError, SubscriptionState
from sql.tokens import StandbyError, TokenUnreadableError
from tasks.webhooks.subscriptions import NEEDS_SOMEBODY


def _subscribed(block: BillingConnection) -> SubscriptionState | None:
    """What came of subscribing by the vendor's API; None where there is none, or not now."""
    try:
        return subscribe(block, settings(), str(flow_run.id or uuid4()))
    except (NoSubscriptionsError, SubscriptionsBusyError, StandbyError):
        return None


@changing_flow(name="webhook-address", flow_run_name="webhook address of {connection}")
def webhook_address(connection: str) -> State[Any]:
    """Make the address for a connection's webhooks, and take their secret from its block.

    Where the billing system has an API for it, the address is subscribed there at once. Elsewhere
    the artifact says where to enter it. Running it again changes nothing but what was changed in
    the block.

    Args:
        connection: The name of the block: quickbooks, xero, freshbooks, custom, or what a further
            one was called.
    """
    config = settings()
    try:
        block = find_block(connection)
        title = spec_for(block.connection()).title
        with connect(config.dsn()) as db:
            kept = ensure_addresses(db, block, config.fernet_key())
            db.commit()
        subscription = _subscribed(block)
        if subscription is not None:
            with connect(config.dsn()) as db:
                kept = ensure_addresses(db, block, config.fernet_key(), make=False)
    except ConnectorError as error:  # settings that cannot work as they are
        return Failed(message=describe_error(error.of_block(connection)))
    except (NotConnectedError, NoWebhooksError, TokenUnreadableError, DatabaseNotRunning) as error:
        return Failed(message=describe_error(error))
    except psycopg.Error as error:
        return Failed(message=describe_error(error))
    public = config.api_public_url is not None
    if subscription is not None and subscription.state in NEEDS_SOMEBODY:
        get_run_logger().warning("webhooks: %s", subscription.detail)
    create_markdown_artifact(
        key=f"webhook-address-{block_name(block.name)}",
        markdown=markdown(
            block, title, kept, config.http_url, public=public, subscription=subscription
        ),
        description=f"{block.name}: {kept.state}",
    )
    return Completed(
        message=(
            f"{block.name}: {kept.state}. The address, and where to enter it, "
            "are in this run's artifact"
        )
    )
