"""Sends a test event to the address of a connection, as its own system would."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from connectors.kit.described import test_event
from connectors.kit.webhooks.signatures import Unusable
from connectors.registry import DESCRIBED_WEBHOOKS
from panel.connect.webhook_address import address
from sql import endpoints, webhooks
from sql.db import connect

#: What an answer other than 200 means, and who must act.
_ADVICE: Final[Mapping[int, str]] = {
    401: "The signature does not fit: run webhook-address, which takes the secret of the block.",
    403: "The address hears only senders in the networks it was made for.",
    404: "The API does not know the address: is it the API of this installation?",
    410: "The address is disabled.",
}


class NoTestEventError(ValueError):
    """No test event can be sent to this connection. The message says what to do."""


@dataclass(frozen=True)
class Sent:
    """A test event that was sent."""

    #: Status of the answer.
    status: int
    #: Number of the address in the database.
    endpoint_no: int
    #: Number of the latest event before it, at any address.
    after_no: int

    @property
    def advice(self) -> str:
        """What the status means, and who must act."""
        return _ADVICE.get(self.status, "Look at the log of the API.")


def send_test_event(dsn: str, key: bytes, http_url: str, connection: str) -> Sent:
    """Sends a signed test event to the first address of the connection, over HTTP.

    Raises NoTestEventError, psycopg.Error, TokenUnreadableError.
    """
    with connect(dsn) as db:
        of_connection = [
            row
            for row in endpoints.endpoints(db)
            if row.connection == connection and row.disabled_at is None
        ]
        if not of_connection:
            raise NoTestEventError(f"{connection} has no webhook address: run webhook-address")
        row = of_connection[0]
        if row.system not in DESCRIBED_WEBHOOKS:
            raise NoTestEventError(
                f"only {row.system} itself can sign its webhooks: send the test from its own site"
            )
        target = webhooks.endpoint(db, row.endpoint_id, key)
        after_no = webhooks.latest_no(db)
    if target is None or not target.secrets:
        raise NoTestEventError(
            f"{connection} has no secret for webhooks yet: enter it in the block, then run "
            "webhook-address"
        )
    try:
        status = test_event.send(
            address(http_url, row.endpoint_id), target.options, target.secrets[0], datetime.now(UTC)
        )
    except Unusable as error:
        raise NoTestEventError(f"the secret of {connection} cannot be used: {error}") from None
    except ConnectionError as error:
        raise NoTestEventError(
            f"the API at {http_url} does not answer ({error}): is `twezah up` running?"
        ) from None
    return Sent(status, row.endpoint_no, after_no)
