"""The guides for operators as pages of Prefect's UI.

Whoever works there has no checkout at hand.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import normpath
from typing import Final

from prefect.client.orchestration import SyncPrefectClient

from panel.pages.guide_markdown import for_prefect_ui
from panel.pages.publish import publish

#: Title of each guide and the files it is made of, by its artifact's key.
GUIDES: Final[Mapping[str, tuple[str, str]]] = {
    "guide-operations": ("operations", "operations.md"),
    "guide-runbook": ("run book", "runbook/*.md"),
    "guide-configuration": ("configuration", "configuration.md"),
    "guide-pages": ("the pages", "pages.md"),
    "guide-webhooks": ("webhooks", "webhooks.md"),
    "guide-duplicates": ("one sale in several systems", "duplicates.md"),
    "guide-retry": ("failures and Retry", "retry.md"),
    "guide-alerts": ("alerts", "alerts.md"),
    "guide-audit": ("audit log", "audit.md"),
}
#: A link or an image: its mark, words and target.
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def ids(client: SyncPrefectClient) -> dict[str, tuple[str, str]]:
    """Artifact id and description of each guide that Prefect has."""
    wanted = {"artifacts": {"key": {"any_": list(GUIDES)}}, "limit": 50}
    rows = client.request("POST", "/artifacts/latest/filter", json=wanted).json()
    return {row["key"]: (row["latest_id"], row["description"] or "") for row in rows}


def renew(client: SyncPrefectClient, docs: Path) -> int:
    """Publishes the guides that are missing or have changed; returns how many.

    Without the folder it leaves them alone.
    """
    files = {key: text for key in GUIDES if (text := _read(docs, key))}
    guides = ids(client)
    for key in files:
        if key not in guides:  # first make an address for each, because the guides link to others
            guides[key] = (publish(client, key, None, "", "Guide"), "Guide")
    written = 0
    for key, text in files.items():
        page = for_prefect_ui(
            with_ui_links(
                text, GUIDES[key][1], {guide: artifact for guide, (artifact, _) in guides.items()}
            )
        )
        description = f"Guide: {GUIDES[key][0]} ({hashlib.sha256(page.encode()).hexdigest()[:8]})"
        if guides[key][1] != description:
            publish(client, key, guides[key][0], page, description)
            written += 1
    return written


def _read(docs: Path, key: str) -> str:
    pattern = GUIDES[key][1]
    # (README first, as capitals come before small letters.)
    return "\n\n".join(file.read_text(encoding="utf-8") for file in sorted(docs.glob(pattern)))


def with_ui_links(text: str, file: str, artifacts: Mapping[str, str]) -> str:
    """The text with links that work in Prefect's UI.

    A link to another guide leads to its page. A link to anything else of the checkout becomes its
    words.

    Args:
        text: A guide as it is in docs/.
        file: Its path there.
        artifacts: Artifact id of each guide, by key.
    """
    folder = file.rpartition("/")[0]

    def place(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        if image:
            return ""
        if "://" in target or target.startswith(("/", "mailto:")):
            return match[0]
        path = (
            normpath(f"{folder}/{target.partition('#')[0]}".lstrip("/"))
            if target[:1] != "#"
            else file
        )
        key = next((name for name, (_, pattern) in GUIDES.items() if Path(path).match(pattern)), "")
        if key not in artifacts or GUIDES[key][1] == file:
            return words
        return f"[{words}](/artifacts/artifact/{artifacts[key]})"

    return _LINK.sub(place, text)
