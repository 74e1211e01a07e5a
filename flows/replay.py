"""Maps stored pages again with the present mapping, or tries that mapping on a sample."""

import json
from datetime import datetime
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from connectors.kit.errors import Misconfigured, block_name
from flows.sync import sync_system
from panel.blocks import NotConnectedError
from panel.blocks.connected import find_block
from panel.connect.mapping_preview import preview
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from panel.runs.refused_state import refused_state
from settings import DatabaseNotRunning


@changing_flow(name="replay", flow_run_name="replay {what} of {system}")
def replay(
    system: str,
    what: Literal["rejects", "stored pages"] = "rejects",
    since: datetime | None = None,
    until: datetime | None = None,
    dry_run: bool = True,
) -> State[Any]:
    """Map what is stored again, with the field mapping of now. The billing system is not asked.

    The report is that of a synchronisation: /artifacts/key/sync-NAME. It can be repeated: nothing
    counts twice.

    Args:
        system: The connection, by the name of its block.
        what: Only the records that are rejected; or all pages that were stored from `since` to
            `until`, which corrects sales that were read with a wrong mapping.
        since: Stored pages: those fetched from then on. Empty: all.
        until: Stored pages: those fetched before then. Empty: all.
        dry_run: Only report what would come of it. Switch it off to do it.
    """
    rejects = what == "rejects"
    return sync_system.fn(
        system, since, until, dry_run=dry_run, replay=not rejects, rejects=rejects
    )


@flow(
    name="try-mapping", flow_run_name="try the mapping of {system}", persist_result=False, retries=0
)
def try_mapping(system: str, payload: str = "", document: str = "") -> State[Any]:
    """Show what a record of the billing system becomes with the settings of its block.

    The report has our fields, or says which of them failed and why.

    Nothing is sent or stored, but the report, in which phone numbers are masked.

    Args:
        system: The connection, by the name of its block.
        payload: A record or a page of the billing system's API, as JSON.
        document: Instead: the number or id of a document that was fetched (or rejected) before; its
            stored page is used.
    """
    if bool(payload.strip()) == bool(document.strip()):
        return refused_state("give a payload, or the number of a document: one of both")
    try:
        block = find_block(system)
        records = preview(block.connection(), payload, document.strip())
    except (NotConnectedError, Misconfigured, LookupError, DatabaseNotRunning) as error:
        return Failed(
            message=describe_error(error)
            if not isinstance(error, LookupError)
            else str(error.args[0])
        )
    good = sum(bool(record["ok"]) for record in records)
    summary = f"{good} of {len(records)} records can be used"
    wrong = [
        f"{problem['field']}, looked for at {problem['path']}: {problem['reason']}"
        for record in records
        for problem in record.get("problems") or []
    ]
    for line in wrong[:20]:
        get_run_logger().warning(line)
    text = json.dumps(records, ensure_ascii=False, indent=1, default=str)
    create_markdown_artifact(
        key=f"try-{block_name(system)}",
        markdown=f"# {summary}\n\n"
        + "".join(f"- {line}\n" for line in wrong[:50])
        + f"\n```json\n{text}\n```",
        description=summary,
    )
    if good == len(records):
        return Completed(message=summary)
    return Failed(message=f"{summary}. {'; '.join(dict.fromkeys(wrong))[:500]}")
