"""The footer of every deployment's description: its block, its webhook address, and the pages.

Prefect's UI has no menu entry for those.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate

from panel.connect.webhook_address import address, can_announce
from panel.pages.connection_status import SYNC, ConnectionOverview, ConnectionStatus
from panel.pages.publish import AUDIT, STATUS, SYSTEMS, path
from sql.panel_pages import Address

#: Stands between the description from prefect.yaml and our footer.
MARK: Final = "\n\n---\n\n"
#: Words of the link to each guide, the key of its page, and its file, named while it has no page.
_GUIDES: Final = (
    ("operations", "guide-operations", "docs/operations.md"),
    ("run book", "guide-runbook", "docs/runbook"),
    ("configuration", "guide-configuration", "docs/configuration.md"),
    ("the pages", "guide-pages", "docs/pages.md"),
)


def renew_descriptions(
    client: SyncPrefectClient,
    overview: ConnectionOverview,
    addresses: Sequence[Address],
    page_ids: Mapping[str, str],
    http_url: str,
) -> int:
    """Writes the footers that are missing or have changed; returns how many.

    Nothing else of a deployment is touched.

    Args:
        client: Of the server.
        overview: The connections and the present descriptions.
        addresses: All addresses for webhooks.
        page_ids: Artifact ids of the pages and guides that exist, by key.
        http_url: Base URL of the HTTP API.
    """
    written = 0
    by_deployment = {
        connection.deployment_id: connection for connection in overview.connections.values()
    }
    for name, (deployment_id, description) in overview.descriptions.items():
        connection = by_deployment.get(deployment_id)
        webhooks = overview.others.get("webhook-address", "")
        wanted = with_footer(
            description,
            footer_text(
                connection, addresses, page_ids, http_url, webhooks, is_sync=name.startswith(SYNC)
            ),
        )
        if wanted != description:
            client.update_deployment(UUID(deployment_id), DeploymentUpdate(description=wanted))
            written += 1
    return written


def with_text(description: str, text: str) -> str:
    """The description with this text before its present footer; with no footer, the text alone."""
    _, mark, footer = description.partition(MARK)
    return text.rstrip() + mark + footer if mark else text


def with_footer(description: str, text: str) -> str:
    """The description with this footer instead of its present one."""
    return description.partition(MARK)[0].rstrip() + MARK + text


def footer_text(
    connection: ConnectionStatus | None,
    addresses: Sequence[Address],
    page_ids: Mapping[str, str],
    http_url: str,
    webhook_deployment: str,
    *,
    is_sync: bool,
) -> str:
    """The footer of a description.

    It holds only what changes rarely, because each change is a write.

    Args:
        connection: The connection that the deployment belongs to, if it does.
        addresses: All addresses for webhooks.
        page_ids: Artifact ids of the pages and guides that exist, by key.
        http_url: Base URL of the HTTP API.
        webhook_deployment: Id of the deployment that makes addresses, "" where there is none.
        is_sync: Whether the deployment synchronises the connection.
    """
    lines = []
    if connection is not None and is_sync:
        lines.append(
            f"**Block**: [{connection.name}](/blocks/block/{connection.block_id})"
            if connection.block_id
            else f"**Block**: none yet, [fill in the form]({connection.form})"
        )
        lines.append(
            f"**Webhooks**: {_webhooks(connection, addresses, http_url, webhook_deployment)}"
        )
    titles = {SYSTEMS: "Billing systems", STATUS: "Sync status", AUDIT: "Audit log"}
    lines.append(
        "**Pages**: "
        + " · ".join(f"[{title}]({path(page_ids, key)})" for key, title in titles.items())
    )
    guides = (
        f"[{words}]({path(page_ids, key)})" if key in page_ids else file
        for words, key, file in _GUIDES
    )
    lines.append("**Guides**: " + " · ".join(guides))
    return "\n".join(f"- {line}" for line in lines)


def _webhooks(
    connection: ConnectionStatus, addresses: Sequence[Address], http_url: str, deployment: str
) -> str:
    if not can_announce(connection.system):
        return "this system sends none; it is polled"
    addresses_here = [
        f"`{address(http_url, entry.endpoint_id)}`"
        for entry in addresses
        if entry.connection == connection.name
    ]
    if addresses_here:
        return ", ".join(addresses_here)
    run = (
        f"[webhook-address](/deployments/deployment/{deployment})"
        if deployment
        else "*webhook-address*"
    )
    return f"none yet; run {run} for points within a second of the sale"
