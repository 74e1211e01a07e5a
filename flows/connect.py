"""Connects an account from Prefect's UI: the link to the vendor's consent page, and the result."""

from typing import Annotated, Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from connectors.kit.errors import ConnectorError, block_name
from connectors.kit.http.consent import Granted
from panel.blocks import ConsentedConnection, NotConnectedError
from panel.blocks.connected import find_block
from panel.connect import consent
from panel.connect.callback import PORT, Address, ConsentReceiver, address_of, serving
from panel.connect.check import check_connection
from panel.connect.subscriptions import keep_subscribed
from panel.runs.changing_flow import changing_flow
from settings import settings


@changing_flow(name="connect", flow_run_name="connect {connection}")
def connect(
    connection: str, account: str = "", wait_minutes: Annotated[int, Field(ge=1, le=10)] = 10
) -> State[Any]:
    """Connect an account: consent in the browser, then a test of the connection.

    Create the connection's block first, with the client id and the client secret of your
    application at the vendor. Start this run, open the link in its artifact and allow access. The
    run must be able to listen on its machine; use a browser on that machine.

    Args:
        connection: The name of the block.
        account: Realm, tenant or account id, if the consent opens several and the block names none.
        wait_minutes: How long the link is waited for.
    """
    try:
        block = find_block(connection)
        if not isinstance(block, ConsentedConnection):
            return Failed(
                message=(
                    f"NotConnectedError: {connection} is not connected in a browser; "
                    "its block holds all it needs"
                )
            )
        granted, redirect_uri = _consented(block, wait_minutes)
        return _finished(block, granted, account, redirect_uri)
    except NotConnectedError as error:
        return Failed(message=f"NotConnectedError: {error}")
    except ConnectorError as error:
        return Failed(message=f"{type(error).__name__}: {error.of_block(connection)}")


def _consented(block: ConsentedConnection, wait_minutes: int) -> tuple[Granted, str]:
    started = consent.start(block)
    title = consent.title_of(block)
    desk = ConsentReceiver(started, title)
    with serving(desk, address_of(started.redirect_uri) or Address(PORT, "/callback")):
        text = (
            f"# Connect {title}\n\n[**Open the consent page of {title}**]({started.url}), sign in "
            f"and allow access. The link works once, for {wait_minutes} minutes.\n\n"
        )
        if consent.browser_brings_answer(started):
            text += (
                "Use a browser on the machine that runs this "
                f"(or forward port {desk.port} to it). If it ends on a page that does not load, "
            )
        else:
            text += f"The browser then ends on a page that does not load, {started.redirect_uri}: "
        text += f"paste that page's address into [this form]({desk.url})."
        artifact = create_markdown_artifact(
            key=f"connect-{block_name(block.name)}", markdown=text, description="The consent's link"
        )
        get_run_logger().info(
            "The link is in this run's artifact connect-%s: open it within %d minutes",
            block_name(block.name),
            wait_minutes,
        )
        try:
            return desk.wait(wait_minutes * 60), started.redirect_uri
        finally:
            _replace(
                artifact,
                (
                    f"# Connect {title}\n\n"
                    "This link is used up. Start the deployment again for another."
                ),
            )


def _replace(artifact: Any, text: str) -> None:
    with get_client(sync_client=True) as client:
        client.update_artifact(artifact, ArtifactUpdate(data=text, description="A used link"))


def _finished(
    block: ConsentedConnection, granted: Granted, account: str, redirect_uri: str
) -> State[Any]:
    chosen, choices = consent.choose(block, block.name, granted, account)
    config = settings()
    saved = consent.store(
        block, block.name, granted, chosen.account if chosen else "",
        redirect_uri=redirect_uri, dsn=config.dsn(), key=config.fernet_key(),
    )  # fmt: skip
    if chosen is None:
        listed = "; ".join(f"{choice.account} ({choice.name})" for choice in choices)
        return Failed(
            message=f"Consented, but to several accounts: {listed}. "
            f"Enter one of them in the block {block.name!r} "
            "and run the deployment test-connection: no second consent is needed."
        )
    result = check_connection(saved, dsn=config.dsn(), key=config.fernet_key())
    create_markdown_artifact(
        key=f"test-{block_name(block.name)}",
        markdown=result.markdown(),
        description=result.summary(),
    )
    name = f" ({chosen.name})" if chosen.name else ""
    message = f"Connected to {chosen.account}{name}. {result.headline()}"
    if result.ok and (wrong := keep_subscribed(saved, config, str(flow_run.id or uuid4()))):
        message = f"{message}. Webhooks: {wrong}"
    return Completed(message=message) if result.ok else Failed(message=message)
