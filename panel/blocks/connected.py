"""The connected accounts: the blocks that operators made, found by the name they gave them.

A connection called like a system is that system's first; further accounts of it have names of their
own. (Prefect takes no underscore in a block's name, so that of `sage_intacct` is `sage-intacct`;
both spellings are understood.)
"""

from collections.abc import Mapping
from typing import cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from connectors.kit.described.documents import problems
from connectors.kit.errors import block_name
from panel.blocks import BLOCKS, BillingConnection, NotConnectedError
from settings import settings

#: Connections of one type that are looked at.
_CONNECTIONS_MAX = 200


def find_block(name: str) -> BillingConnection:
    """The block of that name, complete or not.

    Raises NotConnectedError if there is none, it cannot be read, or two are called so.
    """
    name = block_name(name)
    namesake = {block_name(system): kind for system, kind in BLOCKS.items()}.get(name)
    # A connection called like a system is one of that system, whatever else is called so.
    kinds = [namesake] if namesake else list(BLOCKS.values())
    blocks = [block for kind in kinds if (block := _load(kind, name)) is not None]
    if len(blocks) > 1:
        titles = " and ".join(repr(block._block_type_name) for block in blocks)
        raise NotConnectedError(
            f"two blocks are named {name!r}, {titles}: give one of them another name"
        )
    if blocks:
        return blocks[0]
    catalogue = f"{settings().ui_url}/blocks/catalog"
    if namesake:
        message = (
            f"{name} is not connected: create a {namesake._block_type_name!r} block named {name!r} "
            f"({catalogue}/{namesake._block_type_slug}/create) and start the run again"
        )
    else:
        names = ", ".join(sorted({*map(block_name, BLOCKS), *connections()}))
        message = (
            f"there is no connection {name!r}: create a block of that name ({catalogue}), "
            f"or use one of {names}"
        )
    raise NotConnectedError(message)


def _load(kind: type[BillingConnection], name: str) -> BillingConnection | None:
    try:
        return cast("BillingConnection", kind.load(name))
    except (RuntimeError, ValidationError) as error:
        cause = error if isinstance(error, ValidationError) else error.__cause__  # Prefect wraps it
        wrong = f" ({problems(kind, cause)})" if isinstance(cause, ValidationError) else ""
        message = (
            f"the block {name!r} holds a value that is not valid any more, or belongs to another "
            f"version{wrong}: open it ({settings().ui_url}/blocks), correct it and save it"
        )
        raise NotConnectedError(message) from error
    except ValueError as error:
        if "Unable to find block document" not in str(error):
            raise
        return None


def load_block(name: str) -> BillingConnection:
    """The block of that name, ready for use.

    Raises NotConnectedError as `find_block`, and where it is not complete.
    """
    block = find_block(name)
    if missing := block.missing():
        raise NotConnectedError(f"{name} is not connected: {missing}")
    return block


def documents(
    client: SyncPrefectClient, block: type[BillingConnection], *, include_secrets: bool
) -> list[BlockDocument]:
    """What operators saved in blocks of this kind; none where the type is not registered yet."""
    try:
        return client.read_block_documents_by_type(
            block.get_block_type_slug(), limit=_CONNECTIONS_MAX, include_secrets=include_secrets
        )
    except ObjectNotFound:
        return []


def connections() -> dict[str, str]:
    """The system of every connection, by its name, complete or not."""
    systems: dict[str, str] = {}
    with get_client(sync_client=True) as client:
        for system, block in BLOCKS.items():
            of_others = {*map(block_name, BLOCKS)} - {block_name(system)}
            for document in documents(client, block, include_secrets=False):
                if document.name and document.name not in of_others:
                    systems[document.name] = system
    return systems


def connected(names: Mapping[str, str] | None = None) -> dict[str, str]:
    """The system of every connection that is ready for use, by its name.

    `names`: what `connections` said a moment ago.
    """
    ready = {}
    for name, system in (connections() if names is None else names).items():
        try:
            load_block(name)
        except NotConnectedError:
            continue
        ready[name] = system
    return ready


def accounts() -> dict[tuple[str, str], str]:
    """The connections that are ready for use, by system and account.

    Of several connections of one account it is the first by name.
    """
    names: dict[tuple[str, str], str] = {}
    for name, system in sorted(connected().items()):
        names.setdefault((system, load_block(name).account()), name)
    return names


def connected_systems() -> list[str]:
    """The connections that are ready for use."""
    return list(connected())
