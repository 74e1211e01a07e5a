"""The connected accounts: the blocks that operators made, found by the name they gave them.

A connection called like a system is that system's first; further accounts of it have names of their
own. (Prefect takes no underscore in a block's name, so that of `sage_intacct` is `sage-intacct`;
both spellings are understood.)
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument
from pydantic import ValidationError

from connectors.kit.described.documents import problems
from connectors.kit.errors import block_name
from panel.blocks import BLOCKS, BillingConnection, NotConnectedError
from panel.blocks.settings_check import why_not_ready
from settings import settings

#: Blocks per request, and in all: more accounts than anybody has.
_PAGE = 200
_BLOCKS_MAX = 2_000


def saved(client: SyncPrefectClient, *, include_secrets: bool) -> list[tuple[str, BlockDocument]]:
    """What operators saved in the blocks of all billing systems: the system, and the document.

    One request for each 200 of them: the server spends a tenth of a second on every request.
    """
    systems = {kind.get_block_type_slug(): system for system, kind in BLOCKS.items()}
    wanted = {
        "block_types": {"slug": {"any_": sorted(systems)}},
        "block_documents": {"is_anonymous": {"eq_": False}},
        "include_secrets": include_secrets,
        "sort": "NAME_ASC",
        "limit": _PAGE,
    }
    found: list[tuple[str, BlockDocument]] = []
    for offset in range(0, _BLOCKS_MAX, _PAGE):
        answer = client.request(
            "POST", "/block_documents/filter", json={**wanted, "offset": offset}
        )
        page = BlockDocument.model_validate_list(answer.json())
        found += [
            (systems[document.block_type.slug], document)
            for document in page
            if document.block_type
        ]
        if len(page) < _PAGE:
            break
    return found


def by_name(
    documents: Iterable[tuple[str, BlockDocument]],
) -> dict[str, list[tuple[str, BlockDocument]]]:
    """The documents by name.

    One that is called like a system is of that system, whatever else is called so.
    """
    system_of = {block_name(system): system for system in BLOCKS}
    named: dict[str, list[tuple[str, BlockDocument]]] = defaultdict(list)
    for system, document in documents:
        if document.name and system_of.get(document.name, system) == system:
            named[document.name].append((system, document))
    return dict(named)


def find_block(name: str) -> BillingConnection:
    """The block of that name, complete or not.

    Raises NotConnectedError if there is none, it cannot be read, or two are called so.
    """
    name = block_name(name)
    namesake = {block_name(system): kind for system, kind in BLOCKS.items()}.get(name)
    if namesake is not None:
        block = _load(namesake, name)
        if block is not None:
            return block
        catalogue = f"{settings().ui_url}/blocks/catalog"
        raise NotConnectedError(
            f"{name} is not connected: create a {namesake._block_type_name!r} block named {name!r} "
            f"({catalogue}/{namesake._block_type_slug}/create) and start the run again"
        )
    with get_client(sync_client=True) as client:
        named = by_name(saved(client, include_secrets=True))
    if name in named:
        return _only(name, named[name])
    names = ", ".join(sorted({*map(block_name, BLOCKS), *named}))
    raise NotConnectedError(
        f"there is no connection {name!r}: create a block of that name "
        f"({settings().ui_url}/blocks/catalog), or use one of {names}"
    )


def _only(name: str, documents: list[tuple[str, BlockDocument]]) -> BillingConnection:
    """The block of that name; NotConnectedError if it cannot be read, or two are called so."""
    if len(documents) > 1:
        titles = " and ".join(repr(BLOCKS[system]._block_type_name) for system, _ in documents)
        raise NotConnectedError(
            f"two blocks are named {name!r}, {titles}: give one of them another name"
        )
    ((system, document),) = documents
    kind = BLOCKS[system]
    return _readable(kind, name, lambda: kind._load_from_block_document(document))


def _load(kind: type[BillingConnection], name: str) -> BillingConnection | None:
    try:
        return _readable(kind, name, lambda: kind.load(name))
    except ValueError as error:
        if "Unable to find block document" not in str(error):
            raise
        return None


def _readable(
    kind: type[BillingConnection], name: str, load: Callable[[], object]
) -> BillingConnection:
    """What `load` returns; NotConnectedError where the values are not valid for the form."""
    try:
        return cast("BillingConnection", load())
    except (RuntimeError, ValidationError) as error:
        cause = error if isinstance(error, ValidationError) else error.__cause__  # Prefect wraps it
        wrong = f" ({problems(kind, cause)})" if isinstance(cause, ValidationError) else ""
        message = (
            f"the block {name!r} holds a value that is not valid any more, or belongs to another "
            f"version{wrong}: open it ({settings().ui_url}/blocks), correct it and save it"
        )
        raise NotConnectedError(message) from error


def load_block(name: str) -> BillingConnection:
    """The block of that name, ready for use.

    Raises NotConnectedError as `find_block`, and where it is not complete.
    """
    block = find_block(name)
    if missing := block.missing():
        raise NotConnectedError(f"{name} is not connected: {missing}")
    return block


def connections() -> dict[str, str]:
    """The system of every connection, by its name, complete or not."""
    with get_client(sync_client=True) as client:
        named = by_name(saved(client, include_secrets=False))
    return {name: documents[-1][0] for name, documents in named.items()}


def connected_blocks() -> dict[str, BillingConnection]:
    """The blocks that are ready for use, by name."""
    with get_client(sync_client=True) as client:
        named = by_name(saved(client, include_secrets=True))
    ready = {}
    for name, documents in named.items():
        try:
            block = _only(name, documents)
        except NotConnectedError:
            continue
        if not why_not_ready(block):
            ready[name] = block
    return ready


def connected() -> dict[str, str]:
    """The system of every connection that is ready for use, by its name."""
    return {name: block.system for name, block in connected_blocks().items()}


def accounts() -> dict[tuple[str, str], str]:
    """The connections that are ready for use, by system and account.

    Of several connections of one account it is the first by name.
    """
    names: dict[tuple[str, str], str] = {}
    for name, block in sorted(connected_blocks().items()):
        names.setdefault((block.system, block.account()), name)
    return names


def connected_systems() -> list[str]:
    """The connections that are ready for use."""
    return list(connected_blocks())
