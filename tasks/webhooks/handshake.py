"""Handshakes of vendors that announce an address before they use it.

The code that the vendor sent is sent back to it, and is the signing secret from then on.
"""

from typing import Final

from connectors.kit.errors import ConnectorError, ContractBroken
from connectors.kit.webhooks.scheme import Handshake, Webhook, handshake
from sql import webhooks
from sql.db import connect
from sql.webhooks import ClaimedEvent
from tasks.job import Job
from tasks.webhooks.documents import Failed

#: How long the code before is still accepted: webhooks under way are signed with it.
_OVERLAP_SECONDS: Final = 86_400.0


def greeting(hook: Webhook, delivery: ClaimedEvent) -> Handshake | None:
    """The handshake that a delivery is, None for a usual one."""
    hello = handshake(hook, delivery.headers, delivery.body)
    return hello if hello is not None and hello.verifier is not None else None


def confirm(
    job: Job, hook: Webhook, delivery: ClaimedEvent, hello: Handshake, key: bytes
) -> Failed | None:
    """Sends the vendor its code, and keeps it as a secret of the endpoint once it is accepted.

    Returns why that failed; None if all went well.

    Anyone can send a code, so it is kept only if the vendor recognises it.
    """
    if hook.confirm is None or hello.verifier is None:
        return Failed("nobody knows how to answer this handshake", for_good=True)
    try:
        with job.client() as client:
            client.send(hook.confirm(job.vendor, hello), "webhook handshake")
    except ContractBroken as error:
        return Failed(
            f"{job.spec.title} did not take the code, so it is not from there: {error}",
            for_good=True,
        )
    except ConnectorError as error:
        return Failed(str(error.of_block(job.vendor.name or job.vendor.system)))
    with connect(job.dsn) as connection:
        code = hello.verifier.get_secret_value()
        webhooks.add_secret(
            connection, delivery.endpoint_no, code, key, overlap_seconds=_OVERLAP_SECONDS
        )
        for now in ("awaited", "seen"):
            webhooks.set_handshake(connection, delivery.endpoint_no, now=now, then="confirmed")
        connection.commit()
    return None
