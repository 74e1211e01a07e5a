"""What happens before and after a consent in the browser.

Before: the block that it is for, and the link to open. After: the account that it opened, and the
token that it gave.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import SecretStr

from connectors import spec_for
from connectors.kit.errors import ConsentFailed, Misconfigured
from connectors.kit.http.consent import ConsentLink, Granted, consent_of
from connectors.kit.spec import ConnectorSpec, GrantedAccount
from panel.blocks import (
    BLOCKS,
    BillingConnection,
    ConsentedConnection,
    NotConnectedError,
    account_field,
)
from panel.blocks.connected import connections, find_block
from panel.connect.callback import PORT, address_of
from tasks.job import token_rows

Consented = TypeVar("Consented", bound=ConsentedConnection)
#: The redirect URI of a block in which nobody has changed it.
_NOT_CHOSEN = ConsentedConnection.model_fields["redirect_uri"].default


def block_for(name: str, system: str, values: Mapping[str, Any]) -> ConsentedConnection:
    """The block to connect: the one of that name, or a new one that is not saved yet.

    Args:
        name: What the connection is called.
        system: Key of its billing system.
        values: Fields to change in the block, e.g. client_id.

    Raises:
        NotConnectedError: The block of that name is of another system, or cannot be read.
        ConsentFailed: The system has no consent.
    """
    kind = BLOCKS[system]
    if not issubclass(kind, ConsentedConnection):
        message = (
            "this system is not connected in a browser: fill its block in Prefect's UI instead"
        )
        raise ConsentFailed(system, "connect", message).of_block(name)
    if name not in connections():
        return kind(**values)
    block = find_block(name)
    if not isinstance(block, kind):
        message = (
            f"the block {name!r} is a connection of {block.system}, not of {system}: choose "
            "another name"
        )
        raise NotConnectedError(message)
    return _changed(block, values)


def start(
    block: ConsentedConnection, *, port: int | None = None, redirect_uri: str = ""
) -> ConsentLink:
    """The link to open. Raises Misconfigured where the block cannot work.

    Args:
        block: The connection, with its application's client id and secret.
        port: Take the answer at http://localhost:PORT/callback.
        redirect_uri: Take the answer there instead, "" for the block's own.
    """
    connection = block.connection()
    if not block.account() and not consent_of(spec_for(connection)).tells_account:
        detail = (
            "the vendor does not tell which account a consent opens: fill in "
            f"{account_field(block.system)} first"
        )
        raise Misconfigured(block.system, "connect", detail).of_block(block.name)
    return ConsentLink(
        connection, spec_for(connection), redirect_for(block, port=port, redirect_uri=redirect_uri)
    )


def redirect_for(block: ConsentedConnection, *, port: int | None, redirect_uri: str) -> str:
    """Where the vendor sends the browser after the consent.

    As asked for; else as in the block; else this machine, where the vendor allows that.
    """
    if redirect_uri:
        return redirect_uri
    if port is not None:
        return f"http://localhost:{port}/callback"
    if block.redirect_uri != _NOT_CHOSEN:
        return block.redirect_uri
    return (
        f"http://localhost:{PORT}/callback"
        if consent_of(spec_for(block.connection())).loopback
        else _NOT_CHOSEN
    )


def browser_brings_answer(started: ConsentLink) -> bool:
    """Whether the browser brings the answer to this machine; if not, the operator pastes it."""
    return address_of(started.redirect_uri) is not None


def choose(
    block: ConsentedConnection, name: str, granted: Granted, account: str = ""
) -> tuple[GrantedAccount | None, list[GrantedAccount]]:
    """Which account to connect.

    Args:
        block: The connection.
        name: What it is called.
        granted: What the consent gave.
        account: The account that was asked for, "" for the block's.

    Returns:
        The account, or None where somebody must choose; and the accounts that are possible.

    Raises:
        ConsentFailed: The wanted account was not opened, or all are connected under other names.
    """
    system = block.system
    wanted = account or block.account()
    for candidate in granted.accounts:
        if candidate.account.lower() == wanted.lower():
            return candidate, [candidate]
    if account:
        opened = ", ".join(
            f"{candidate.account} ({candidate.name})" if candidate.name else candidate.account
            for candidate in granted.accounts
        )
        detail = (
            f"the consent does not open the account {account}; it opens {opened}. Choose it on the "
            "vendor's page"
        )
        raise ConsentFailed(system, "connect", detail).of_block(name)
    taken = {other.account() for other in _others(block, name)}
    free = [candidate for candidate in granted.accounts if candidate.account not in taken]
    if not free:
        detail = "every account that the consent opens is connected under another name already"
        raise ConsentFailed(system, "connect", detail).of_block(name)
    return (free[0] if len(free) == 1 else None), free


def store(
    block: ConsentedConnection,
    name: str,
    granted: Granted,
    account: str,
    *,
    redirect_uri: str,
    dsn: str,
    key: bytes,
) -> ConsentedConnection:
    """Saves the block and the token of its consent.

    Other connections that the same consent covers get the new token too.

    The block first: a run that starts between the two renews from the block's token under the same
    lock, and what is stored then wins.

    Args:
        block: See `block_for`.
        name: What the connection is called.
        granted: What the consent gave.
        account: Which account of it; "" leaves the choice to whoever edits the block.
        redirect_uri: The one used.
        dsn: The ledger database.
        key: Encrypts the token.
    """
    seed = {
        "client_id": block.client_id,
        "client_secret": block.client_secret,
        "refresh_token": SecretStr(granted.token.refresh_token),
        "redirect_uri": redirect_uri,
    }
    opened = {candidate.account for candidate in granted.accounts}
    covered = [other for other in _others(block, name) if other.account() in opened]
    for other in covered:
        _changed(other, seed).save(other.name, overwrite=True)
    values = (
        {**seed, account_field(block.system): account}
        if account and account != block.account()
        else seed
    )
    _changed(block, values).save(name, overwrite=True)
    saved = find_block(name)
    assert isinstance(saved, ConsentedConnection)
    token_rows(dsn, saved.connection(), key).refresh(None, lambda _: granted.token)
    return saved


def _others(block: ConsentedConnection, name: str) -> list[ConsentedConnection]:
    """Connections of the same system and application under other names."""
    others = []
    for other, system in connections().items():
        if system != block.system or other == name:
            continue
        try:
            loaded = find_block(other)
        except NotConnectedError:
            continue
        if isinstance(loaded, ConsentedConnection) and loaded.client_id == block.client_id:
            others.append(loaded)
    return others


def _changed(block: Consented, values: Mapping[str, Any]) -> Consented:
    """The block with other values, validated; saved only by `save`."""
    kept = {name: getattr(block, name) for name in type(block).model_fields}
    made = type(block)(**{**kept, **values})
    made._block_document_name = block._block_document_name
    return made


def title_of(block: BillingConnection) -> str:
    """What people call the billing system."""
    spec: ConnectorSpec = spec_for(block.connection())
    return spec.title
