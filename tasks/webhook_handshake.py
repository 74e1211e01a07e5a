"""Vendors that introduce an address before they use it: the code they sent is told back to them, and is the signing secret from then on."""

from connectors.kit.errors import ConnectorError, ContractBroken
from connectors.kit.webhooks import Handshake, Webhook, handshake
from sql import pushed
from sql.db import connect
from sql.webhooks import ClaimedEvent
from tasks.job import Job
from tasks.pushed import Failed


def greeting(hook: Webhook, delivery: ClaimedEvent) -> Handshake | None:
    """The handshake that a delivery is, None for a usual one."""
    hello = handshake(hook, delivery.headers, delivery.body)
    return hello if hello is not None and hello.verifier is not None else None


def confirm(job: Job, hook: Webhook, delivery: ClaimedEvent, hello: Handshake, key: bytes) -> Failed | None:
    """Tells the vendor its code, and keeps it as a secret of the endpoint once the vendor has taken it; None if all went well.

    Anyone can send a code, and only the vendor knows which one is right.
    """
    if hook.confirm is None or hello.verifier is None:
        return Failed("nobody knows how to answer this handshake", for_good=True)
    try:
        with job.client() as client:
            client.send(hook.confirm(job.vendor, hello), "webhook handshake")
    except ContractBroken as error:
        return Failed(f"{job.spec.title} did not take the code, so it is not from there: {error}", for_good=True)
    except ConnectorError as error:
        return Failed(str(error.of_block(job.vendor.name or job.vendor.system)))
    with connect(job.dsn) as connection:
        pushed.confirm(connection, delivery.endpoint_no, hello.verifier.get_secret_value(), key)
        connection.commit()
    return None
