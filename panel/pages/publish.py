"""Puts the pages into Prefect's UI, and deletes old versions.

Prefect itself keeps every version of an artifact for ever.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import ObjectNotFound

SYSTEMS, STATUS, AUDIT = "billing-systems", "sync-status", "audit-log"
LEFT_OUT, WEBHOOKS = "left-out-sales", "webhook-events"
#: Keys of the guides that descriptions link to.
GUIDE_KEYS = ("guide-operations", "guide-runbook", "guide-configuration", "guide-pages")
#: Pages that are replaced in place.
_PAGES: Final = (SYSTEMS, STATUS, WEBHOOKS, LEFT_OUT)
#: Versions kept of a page that is replaced, of other pages, and of the reports of runs: a week of
#: them at a run every five minutes.
PAGES_KEPT, OTHERS_KEPT, REPORTS_KEPT = 1, 100, 2_000
#: Versions deleted at most in one go: each is a request.
DELETED_MAX: Final = 200
#: Prefect returns at most this many rows at a time.
_PAGE: Final = 200
#: A link to the list of a page's versions.
_LINKED: Final = re.compile(r"\(/artifacts/key/([a-z0-9-]+)\)")
#: What a page shows before a run has written it.
NOTHING_YET: Final = (
    "# Nothing here yet\n\nThe first run that has something to say writes this page. "
    "[Deployments](/deployments) · [Runs](/runs) · [All reports](/artifacts)"
)


@dataclass(frozen=True)
class PublishedPages:
    """The pages and guides that Prefect has already, by key."""

    #: Id of the latest artifact of each page and guide.
    ids: dict[str, str]
    #: The line that describes each of them in the list of artifacts.
    descriptions: dict[str, str]


def published_pages(client: SyncPrefectClient) -> PublishedPages:
    """Asks Prefect for the pages and guides that it has."""
    wanted = {
        "artifacts": {"key": {"any_": [*_PAGES, AUDIT, *GUIDE_KEYS]}},
        "limit": 50,
    }
    rows = client.request("POST", "/artifacts/latest/filter", json=wanted).json()
    return PublishedPages(
        {row["key"]: row["latest_id"] for row in rows},
        {row["key"]: row["description"] or "" for row in rows},
    )


def publish(
    client: SyncPrefectClient, key: str, artifact_id: str | None, markdown: str, description: str
) -> str:
    """Replaces the page, or makes it; returns its id.

    The id stays the same, so that links to the page keep working.

    Args:
        client: Of the server.
        key: Key of the artifact.
        artifact_id: The page's present id, None where there is no page.
        markdown: The page.
        description: One line, shown in the list of artifacts.
    """
    if artifact_id is not None:
        try:
            client.update_artifact(
                UUID(artifact_id), ArtifactUpdate(data=markdown, description=description)
            )
        except ObjectNotFound:
            pass
        else:
            return artifact_id
    made = client.create_artifact(
        ArtifactCreate(key=key, type="markdown", data=markdown, description=description)
    )
    return str(made.id)


def ensure_linked(client: SyncPrefectClient, texts: Iterable[str]) -> list[str]:
    """Makes the pages that texts link to and no run has written yet; returns their keys.

    So no link leads nowhere.
    """
    linked = {key for text in texts for key in _LINKED.findall(text)}
    wanted = {"artifacts": {"key": {"any_": sorted(linked)}}, "limit": _PAGE}
    rows = client.request("POST", "/artifacts/latest/filter", json=wanted).json()
    missing = sorted(linked - {row["key"] for row in rows})
    for key in missing:
        client.create_artifact(
            ArtifactCreate(key=key, type="markdown", data=NOTHING_YET, description="nothing yet")
        )
    return missing


def links(page_ids: Mapping[str, str], here: str) -> str:
    """Links to the other pages, in one line."""
    titles = {
        SYSTEMS: "Billing systems",
        STATUS: "Sync status",
        WEBHOOKS: "Webhooks",
        AUDIT: "Audit log",
    }
    titles |= {LEFT_OUT: "Left-out sales"} if LEFT_OUT in page_ids else {}
    parts = [f"[{title}]({path(page_ids, key)})" for key, title in titles.items() if key != here]
    return " · ".join(
        [
            *parts,
            "[All reports](/artifacts)",
            "[Runs](/runs)",
            "[Deployments](/deployments)",
            "[Blocks](/blocks)",
        ]
    )


def path(page_ids: Mapping[str, str], key: str) -> str:
    """The path of a page in Prefect's UI.

    It leads to the page itself where its id is known and stays, else to the list of its versions.
    """
    return (
        f"/artifacts/artifact/{page_ids[key]}"
        if key in page_ids and key != AUDIT
        else f"/artifacts/key/{key}"
    )


def find_deployment(client: SyncPrefectClient, name: str) -> str:
    """The id of a deployment; "" where there is none."""
    wanted = {"deployments": {"name": {"any_": [name]}}, "limit": 1}
    rows = client.request("POST", "/deployments/filter", json=wanted).json()
    return str(rows[0]["id"]) if rows else ""


def prune(client: SyncPrefectClient) -> int:
    """Deletes the versions that are too old to be kept; returns how many, at most DELETED_MAX."""
    deleted = 0
    for key in _keys(client):
        while deleted < DELETED_MAX:
            surplus = _older(client, key, kept(key), min(_PAGE, DELETED_MAX - deleted))
            for artifact_id in surplus:
                with suppress(ObjectNotFound):  # another run deletes as well
                    client.delete_artifact(UUID(artifact_id))
            deleted += len(surplus)
            if len(surplus) < _PAGE:
                break
    return deleted


def kept(key: str) -> int:
    """How many versions of a key are kept."""
    if key in _PAGES or key.startswith("guide-"):
        return PAGES_KEPT
    return REPORTS_KEPT if key.startswith("sync-") else OTHERS_KEPT


def _keys(client: SyncPrefectClient) -> list[str]:
    wanted = {"sort": "KEY_ASC", "limit": _PAGE}
    return [
        row["key"] for row in client.request("POST", "/artifacts/latest/filter", json=wanted).json()
    ]


def _older(client: SyncPrefectClient, key: str, keep: int, most: int) -> list[str]:
    counted: Any = {"artifacts": {"key": {"any_": [key]}}}
    if client.request("POST", "/artifacts/count", json=counted).json() <= keep:
        return []
    wanted = {**counted, "sort": "CREATED_DESC", "offset": keep, "limit": most}
    return [row["id"] for row in client.request("POST", "/artifacts/filter", json=wanted).json()]
