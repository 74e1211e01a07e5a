"""Enters receivers of webhooks for the loyalty app, and tries them.

In: an address and a secret. Out: the receiver, stored, once the address has been checked.
"""

import asyncio
import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from connectors.kit.webhooks.destination import Network, checked_addresses, destination
from connectors.kit.webhooks.send import OutgoingMessage, Sender, SendResult
from connectors.kit.webhooks.signatures import Unusable, standard_key
from sql import receivers
from sql.db import DbConnection
from sql.receivers import ReceiverRow, message_body

#: Messages are signed with the previous secret as well for so long: a day.
OVERLAP_SECONDS: Final = 86_400.0
#: Bytes of a secret that Standard Webhooks allow.
_SECRET_BYTES: Final = range(24, 65)
#: Kind of the message that tries a receiver.
TEST_KIND: Final = "webhook.test"


class ReceiverProblemError(ValueError):
    """The receiver cannot be entered like this. The message says what to correct."""


@dataclass(frozen=True)
class EnteredReceiver:
    """What entering a receiver changed."""

    row: ReceiverRow
    is_new: bool
    #: Whether the secret is another one than before.
    secret_taken: bool


def new_secret() -> str:
    """A secret for Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def enter_receiver(
    connection: DbConnection,
    name: str,
    url: str,
    kinds: Sequence[str],
    secret: str | None,
    key: bytes,
    allowed: Sequence[Network],
) -> EnteredReceiver:
    """Makes a receiver or changes the one of this name; the caller commits.

    Args:
        connection: To the ledger.
        name: What operators call it.
        url: Where messages go; "" for where they went.
        kinds: Kinds of changes that it is told; empty: all.
        secret: Signs from now on, the ones before for a day more; None: stays.
        key: Encrypts the secret.
        allowed: Networks that may be sent to although they are not public.

    Raises:
        ReceiverProblemError: The address, the name, a kind or the secret cannot be used.
    """
    before = receivers.receiver(connection, name)
    url = url.strip() or (before.url if before else "")
    require_usable(name, secret)
    try:
        asyncio.run(checked_addresses(destination(url), allowed))
        number, is_new = receivers.set_receiver(connection, name, url, kinds)
    except (ValueError, OSError) as error:
        raise ReceiverProblemError(f"receiver {name}: {error}") from None
    taken = secret is not None and secret not in receivers.secrets_of(connection, number, key)
    if secret is not None and taken:
        receivers.add_secret(connection, number, secret, key, overlap_seconds=OVERLAP_SECONDS)
    row = receivers.receiver(connection, name)
    assert row is not None
    if not row.secrets:
        raise ReceiverProblemError(f"receiver {name}: it needs a secret to sign with")
    return EnteredReceiver(row, is_new, taken)


def require_usable(name: str, secret: str | None) -> None:
    """Raises ReceiverProblemError for a name, or a secret, that cannot be used."""
    if not (name[:1].isascii() and name[:1].islower() and len(name) <= 40) or not all(
        letter.isascii() and (letter.islower() or letter.isdigit() or letter == "-")
        for letter in name
    ):
        raise ReceiverProblemError("a name has small letters, digits and dashes, 40 at most")
    if secret is None:
        return
    try:
        size = len(standard_key(secret)) if secret.startswith("whsec_") else 0
    except Unusable as error:
        raise ReceiverProblemError(f"the secret of {name}: {error}") from None
    if size not in _SECRET_BYTES:
        raise ReceiverProblemError(
            f"the secret of {name} must be whsec_ and 24 to 64 random bytes in base64: "
            "`twezah receivers secret` makes one"
        )


def send_test(
    connection: DbConnection, row: ReceiverRow, key: bytes, allowed: Sequence[Network]
) -> SendResult:
    """Sends a message of the kind `webhook.test`, once, and waits for the answer."""
    secrets_now = receivers.secrets_of(connection, row.receiver_no, key)
    connection.rollback()
    body = message_body(TEST_KIND, datetime.now(UTC), {"receiver": row.name})
    message = OutgoingMessage(f"msg_test_{secrets.token_hex(12)}", row.url, body, secrets_now)
    with Sender(allowed) as sender:
        return sender.send(message).result()
