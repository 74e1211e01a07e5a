"""Enters, tries, replays and ends the loyalty app's receivers of webhooks, from Prefect's UI."""

from typing import Any, Literal

import psycopg
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import SecretStr

from connectors.kit.webhooks.destination import networks
from panel.reports.receivers import receivers_section
from panel.runs.changing_flow import changing_flow
from panel.runs.error_advice import describe_error
from settings import DatabaseNotRunning, Settings, settings
from sql import receivers
from sql.db import DbConnection, connect
from sql.tokens import TokenUnreadableError
from tasks.webhooks.receivers import (
    EnteredReceiver,
    ReceiverProblemError,
    enter_receiver,
    send_test,
)

Kind = Literal[
    "points.changed", "points.expiring", "tier.changed", "redemption.reversed", "member.merged",
    "member.unmerged", "member.erased",
]  # fmt: skip
_NAME = "app-webhooks"


@changing_flow(name=_NAME, flow_run_name="app webhooks: {action} {name}")
def app_webhooks(
    name: str = "app",
    action: Literal["set", "replay", "end"] = "set",
    url: str = "",
    kinds: list[Kind] | None = None,
    secret_block: str = "app-webhooks",  # noqa: S107 - the name of a block
) -> State[Any]:
    """Enter where the loyalty app is told of changes, send what is parked again, or end it.

    The secret that signs is in a block of the type *Secret*: `whsec_` and 24 to 64 random bytes in
    base64. Run *set* again after it was changed: the old secret signs for a day more.

    Args:
        name: What you call the receiver: small letters, digits, dashes.
        action: *set* makes or changes it and sends a test message; *replay* sends what was given
            up again; *end* stops it and drops what waits.
        url: Where messages go (https). Empty: where they went.
        kinds: What it is told of. None: everything.
        secret_block: Name of the block of type Secret.
    """
    config = settings()
    try:
        if action == "set":
            message = _set(config, name, url, list(kinds or ()), secret_block)
        else:
            message = _replay(config, name) if action == "replay" else _end(config, name)
        _publish(config.dsn())
    except (ReceiverProblemError, TokenUnreadableError, DatabaseNotRunning) as error:
        return Failed(message=describe_error(error))
    except psycopg.Error as error:
        return Failed(message=describe_error(error))
    return Completed(message=message)


def _set(config: Settings, name: str, url: str, kinds: list[str], secret_block: str) -> str:
    allowed = networks(config.webhook_receiver_networks)
    secret = _secret(secret_block)
    with connect(config.dsn()) as connection:
        entered = enter_receiver(connection, name, url, kinds, secret, config.fernet_key(), allowed)
        connection.commit()
        result = send_test(connection, entered.row, config.fernet_key(), allowed)
    return f"{_what_changed(entered)}; " + (
        "it accepted the test message"
        if result.ok
        else f"it did not accept the test message: {result.error}. Correct that and run it again"
    )


def _what_changed(entered: EnteredReceiver) -> str:
    what = "is entered" if entered.is_new else "is set"
    rotated = entered.secret_taken and not entered.is_new
    return f"{entered.row.name} {what}" + (
        ", the new secret signs now and the one before for a day more" if rotated else ""
    )


def _secret(block_name: str) -> str:
    try:
        block: Any = Secret.load(block_name)
    except ValueError:
        raise ReceiverProblemError(
            f'there is no block "{block_name}" of the type Secret: make one under Blocks, with '
            "whsec_ and 24 to 64 random bytes in base64 as its value"
        ) from None
    value = block.get()
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return text.strip()


def _replay(config: Settings, name: str) -> str:
    with connect(config.dsn()) as connection:
        _known(connection, name)
        count = receivers.replay(connection, name)
        connection.commit()
    return f"{count} messages to {name} are sent again"


def _end(config: Settings, name: str) -> str:
    with connect(config.dsn()) as connection:
        receivers.end_receiver(connection, _known(connection, name).receiver_no)
        connection.commit()
    return f"{name} is told nothing more; *set* uses it again"


def _known(connection: DbConnection, name: str) -> receivers.ReceiverRow:
    row = receivers.receiver(connection, name)
    if row is None:
        raise ReceiverProblemError(f"there is no receiver {name}")
    return row


def _publish(dsn: str) -> None:
    with connect(dsn) as connection:
        rows = receivers.receivers(connection)
    create_markdown_artifact(
        key=_NAME,
        markdown=receivers_section(rows, []),
        description=", ".join(f"{row.name}: {row.state}" for row in rows) or "no receiver",
    )
