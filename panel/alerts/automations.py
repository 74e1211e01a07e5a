"""Keeps the automations of a Prefect server equal to the rules of `panel.alerts.rules`.

An automation that an operator has edited is left as it is.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.sorting import DeploymentSort
from prefect.events.schemas.automations import Automation, AutomationCore

from panel.alerts.mail import Alerts, EmailAlerts
from panel.alerts.rules import Watched, rules
from settings import settings

#: Name of the notification block, of whatever type, that alerts go to.
BLOCK = "alerts"
_OURS, _MADE_AS = "twezah", "twezah-made-as:"
#: Prefect returns at most this many rows at a time.
_PAGE = 200


def ensure_automations(*, registered: bool = False) -> list[str]:
    """Creates missing automations and updates those that nobody edited.

    An automation carries a digest of what we made it from. Where the digest no longer fits its
    content, an operator has edited it, and it stays as it is. Its switch is always the operator's.

    Args:
        registered: Whether the server knows the type of the e-mail block already.

    Returns:
        The names of those that changed.
    """
    with get_client(sync_client=True) as client:
        if not registered:
            for kind in (Alerts, EmailAlerts):
                kind.register_type_and_schema(client=None)
        wanted = rules(settings().ui_url, notification_block(client), watched(client))
        present = {
            automation.name: automation
            for automation in automations(client)
            if _OURS in automation.tags
        }
        changed = [core.name for core in wanted if _apply(client, core, present.get(core.name))]
        names = {core.name for core in wanted}
        for name, automation in present.items():
            if name not in names and automation.enabled and _is_unedited(automation):
                client.delete_automation(automation.id)
                changed.append(name)
    return changed


def _apply(client: SyncPrefectClient, core: AutomationCore, present: Automation | None) -> bool:
    core = core.model_copy(update={"tags": [_OURS, _MADE_AS + digest(core)]})
    if present is None:
        client.create_automation(core)
        return True
    if not _is_unedited(present) or digest(present) == digest(core):
        return False
    # The server refuses an update that names the owner.
    values = {**core.model_dump(exclude={"owner_resource"}), "enabled": present.enabled}
    client.update_automation(present.id, AutomationCore(**values))
    return True


def notification_block(client: SyncPrefectClient) -> UUID | None:
    """The id of the block that alerts go to; None: there is none."""
    document = alert_document(client)
    return None if document is None else UUID(document["id"])


def alert_document(client: SyncPrefectClient) -> dict[str, Any] | None:
    """The block named `alerts` that can notify; the first by type where several have that name."""
    wanted = {
        "block_documents": {"name": {"any_": [BLOCK]}, "is_anonymous": {"eq_": False}},
        "block_schemas": {"block_capabilities": {"all_": ["notify"]}},
        "limit": 10,
    }
    documents: list[dict[str, Any]] = client.request(
        "POST", "/block_documents/filter", json=wanted
    ).json()
    ordered = sorted(
        documents, key=lambda document: (document["block_type"]["slug"], document["id"])
    )
    return ordered[0] if ordered else None


def watched(client: SyncPrefectClient) -> list[Watched]:
    """The synchronisations whose schedule is on, with the shortest of their intervals."""
    deployments = []
    for deployment in client.read_deployments(limit=_PAGE, sort=DeploymentSort.NAME_ASC):
        intervals: list[timedelta] = [
            interval
            for entry in deployment.schedules
            if entry.active
            and isinstance(interval := getattr(entry.schedule, "interval", None), timedelta)
        ]
        if deployment.name.startswith("sync-") and intervals and not deployment.paused:
            deployments.append(Watched(deployment.name, min(intervals)))
    return deployments


def automations(client: SyncPrefectClient) -> list[Automation]:
    """All automations of the server.

    Prefect 3.8's own `read_automations` sends a sort order that its server refuses.
    """
    rows = client.request(
        "POST", "/automations/filter", json={"sort": "NAME_ASC", "limit": _PAGE}
    ).json()
    return [Automation.model_validate(row) for row in rows]


def _is_unedited(automation: Automation) -> bool:
    return f"{_MADE_AS}{digest(automation)}" in automation.tags


def digest(core: AutomationCore) -> str:
    """A fingerprint of what the automation does and says, without its switch and tags."""
    content = {
        "name": core.name,
        "description": core.description,
        "trigger": core.trigger.model_dump(mode="json", exclude={"id"}),
        "actions": [action.model_dump(mode="json") for action in core.actions],
    }
    return hashlib.sha256(json.dumps(_ordered(content), sort_keys=True).encode()).hexdigest()[:16]


def _ordered(value: Any) -> Any:
    """The value in a fixed order: the server returns sets in any order.

    A single label comes back as a list of one.
    """
    if isinstance(value, dict):
        return {key: _ordered(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        each = [_ordered(part) for part in value]
        if all(isinstance(part, str) for part in each):
            return each[0] if len(each) == 1 else sorted(each)
        return each
    return value
