"""Maps stored pages again with the present mapping, or tries and changes it with a sample."""

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
from panel.connect.mapping_preview import (
    chosen_paths,
    preview,
    problems_of,
    save_mapping,
    to_markdown,
    tried_to_markdown,
    with_paths,
)
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
def try_mapping(
    system: str,
    document: str = "",
    payload: str = "",
    paths: str = "",
    save: bool = False,
) -> State[Any]:
    """Show what a record of the billing system becomes, and change where its fields are read.

    The report has each of our fields with its value and the path it came from, or why it failed.

    Nothing is sent to the billing system. Nothing is stored but the report, in which phone numbers
    are masked, and the paths if they are to be saved.

    Args:
        system: The connection, by the name of its block.
        document: The number or id of a document that was fetched (or rejected) before; its stored
            page is used. Empty: the latest one.
        payload: Instead: a record or a page of the billing system's API, as JSON.
        paths: Other paths to try: customer_phone = /Reference, lines.sku = /Code. Nothing behind
            the equals sign stands for the usual path.
        save: Put these paths into *Field mapping* of the block, if every record can be used so.
    """
    try:
        chosen = _chosen(document, payload, paths, save=save)
    except ValueError as error:
        return refused_state(str(error))
    try:
        block = with_paths(find_block(system), chosen)
        records = preview(block.connection(), payload, document.strip())
    except LookupError as error:
        return refused_state(str(error.args[0]))
    except (NotConnectedError, Misconfigured, DatabaseNotRunning) as error:
        return Failed(message=describe_error(error))
    wrong = problems_of(records)
    for line in wrong[:20]:
        get_run_logger().warning(line)
    good = sum(bool(record["ok"]) for record in records)
    is_good = good == len(records)
    if save and is_good:
        save_mapping(block_name(system), block)
    summary = f"{good} of {len(records)} records can be used"
    tried = tried_to_markdown(chosen, is_saved=save and is_good)
    create_markdown_artifact(
        key=f"try-{block_name(system)}",
        markdown=f"# {summary}\n\n{tried}{to_markdown(records)}",
        description=summary,
    )
    if is_good:
        return Completed(message=f"{summary}{'; saved' if save else ''}")
    # Not a failure that anybody has to be told of: whoever tries a path looks at the answer.
    return refused_state(f"{summary}: {'; '.join(wrong)[:500]}")


def _chosen(document: str, payload: str, paths: str, *, save: bool) -> dict[str, str]:
    """The paths to try; ValueError if the form says nothing clear."""
    if payload.strip() and document.strip():
        raise ValueError("give a payload, or the number of a document: one of both")
    chosen = chosen_paths(paths)
    if save and not chosen:
        raise ValueError("there is nothing to save: say in *paths* where a field is")
    return chosen
