"""Sales that billing systems announce: points about a second later."""

from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed

from sql import pushed
from sql import webhooks as stored
from sql.db import connect
from tasks.connections import accounts, load_block
from tasks.job import Job, Policy
from tasks.steps import without_row_data
from tasks.webhook_report import headline, markdown
from tasks.webhook_run import Listening, Pace, listen
from tasks.webhooks import Connections
from twezah.settings import settings

#: Reasons for parking that the report shows.
_PARKED_SHOWN = 20
_NAME = "webhooks"


@flow(name=_NAME, flow_run_name=_NAME, persist_result=False, retries=0)
def award_webhooks(linger_seconds: int = 60, life_seconds: int = 600) -> State[Any]:
    """Award the sales that billing systems announce by webhook.

    It stays a while after the last webhook, because starting takes a second. The HTTP interface starts it when a webhook comes and
    nobody listens; running it by hand, twice or after a crash does no harm.

    Args:
        linger_seconds: How long it stays after the last webhook.
        life_seconds: After how long it makes way for a fresh run.
    """
    own, logger = settings(), get_run_logger()
    run_id = str(flow_run.id or uuid4())
    connections = Connections(lambda name: _job(name, run_id), accounts)

    def on_batch(connection: str, deliveries: int) -> None:
        logger.info("%d webhooks of %s", deliveries, connection)

    error, done = None, Listening()
    try:
        with without_row_data():
            pace = Pace(max(0, linger_seconds), max(1, life_seconds))
            done = listen(own.dsn(), run_id, connections, own.fernet_key(), pace, on_batch)
    except psycopg.OperationalError as failure:
        error = failure
    if done.busy:
        return Completed(message="Another run is listening")
    with suppress(psycopg.Error):  # the database may be what failed
        _publish(own.dsn(), run_id, connections)
    if done.left and deployment.name:
        run_deployment(f"{_NAME}/{deployment.name}", timeout=0, as_subflow=False)
    if error is not None:
        return Failed(
            message=f"The database could not be used: {error}. What was claimed is taken up again within five minutes."
        )
    return Completed(message=headline(connections.counts))


def _job(name: str, run_id: str) -> Job:
    """The job of a connection; a share of rejects is no reason to hold up the others here."""
    block, own = load_block(name), settings()
    policy = Policy(reject_percent_max=100, award=block.award_policy())
    return Job(own.dsn(), block.connection(), key=own.fernet_key(), run_id=run_id, policy=policy, pushed=True)


def _publish(dsn: str, run_id: str, connections: Connections) -> None:
    if not connections.counts:
        return
    with connect(dsn) as connection:
        events, backlog = pushed.event_counts(connection, run_id), stored.backlog(connection)
        parked = pushed.parked(connection, limit=_PARKED_SHOWN)
    counts = connections.counts
    create_markdown_artifact(
        key=_NAME, markdown=markdown(counts, events, backlog, parked), description=headline(counts)
    )
