"""Sales that billing systems announce: points about a second later."""

from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import TerminationSignal
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed

from connectors.kit.webhooks.destination import networks
from panel.blocks.connected import accounts, load_block
from panel.reports.receivers import receivers_section
from panel.reports.webhooks import headline, markdown
from settings import settings
from sql import receivers, refused
from sql import webhook_documents as pushed
from sql import webhooks as stored
from sql.db import connect
from tasks.database_errors import without_row_data
from tasks.job import Job, Policy
from tasks.webhooks.deliver import Delivered, delivering
from tasks.webhooks.listener import HANDOVER_SECONDS_MAX, Listening, Pace, listen
from tasks.webhooks.process import Connections

#: Reasons for parking that the report shows.
_PARKED_SHOWN = 20
_NAME = "webhooks"


@flow(name=_NAME, flow_run_name=_NAME, persist_result=False, retries=0)
def award_webhooks(
    linger_seconds: int = 600, life_seconds: int = 600, takes_over: bool = False
) -> State[Any]:
    """Award the sales that billing systems announce by webhook.

    One run always listens where webhooks are expected, because starting takes seconds; after ten
    minutes a fresh one takes over. The HTTP interface starts it where nobody listens; running it by
    hand, twice or after a crash does no harm.

    Args:
        linger_seconds: How long it stays after the last webhook.
        life_seconds: After how long it makes way for a fresh run.
        takes_over: Wait for the run that listens to make way. It starts its successor so.
    """
    config, logger = settings(), get_run_logger()
    run_id = str(flow_run.id or uuid4())
    connections = Connections(lambda name: _job(name, run_id), accounts)

    def on_batch(connection: str, deliveries: int) -> None:
        logger.info("%d webhooks of %s", deliveries, connection)

    def successor() -> None:
        logger.info("Time is over: asking for a fresh run")
        _start({"linger_seconds": linger_seconds, "life_seconds": life_seconds, "takes_over": True})

    sent = Delivered()

    def tell_the_app() -> AbstractContextManager[None]:
        allowed = networks(config.webhook_receiver_networks)
        return delivering(config.dsn(), config.fernet_key(), allowed, sent)

    error, listening, stopped = None, Listening(), False
    try:
        with without_row_data():
            expected = _is_expected(config.dsn())
            pace = Pace(
                linger_seconds if expected else 0,
                max(1, life_seconds),
                HANDOVER_SECONDS_MAX if takes_over else 0,
            )
            next_one = successor if _is_deployed() else None
            listening = listen(
                config.dsn(),
                run_id,
                connections,
                config.fernet_key(),
                pace,
                on_batch,
                next_one,
                tell_the_app,
            )
    except psycopg.OperationalError as failure:
        error = failure
    except TerminationSignal:
        # The stack stops, or an operator cancels: what was under way has been finished.
        stopped = True
    if listening.busy:
        return Completed(message="Another run is listening")
    with suppress(psycopg.Error):  # the database may be what failed
        _publish(config.dsn(), run_id, connections, sent)
    if listening.left and not listening.relieved and _is_deployed():
        _start({})
    if error is not None:
        return Failed(
            message=(
                f"The database could not be used: {error}. "
                "What was claimed is taken up again within five minutes."
            )
        )
    return Completed(
        message=_headline(connections, sent) + (". It was asked to stop" if stopped else "")
    )


def _headline(connections: Connections, sent: Delivered) -> str:
    text = sent.to_text()
    return headline(connections.counts) + (f"; {text}" if text else "")


def _is_expected(dsn: str) -> bool:
    with connect(dsn) as connection:
        return stored.any_endpoint(connection)


def _is_deployed() -> bool:
    """Whether this run is a deployment's.

    The server is not asked, since it may not answer now.
    """
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def _start(parameters: dict[str, Any]) -> None:
    """The next run.

    A server that does not answer is no reason to stop: the HTTP interface starts one as well.
    """
    try:
        run_deployment(
            f"{_NAME}/{deployment.name}", parameters=parameters, timeout=0, as_subflow=False
        )
    except Exception as error:  # noqa: BLE001
        get_run_logger().warning("The next run could not be started: %s", type(error).__name__)


def _job(name: str, run_id: str) -> Job:
    """The job of a connection; a share of rejects is no reason to hold up the others here."""
    block, config = load_block(name), settings()
    policy = Policy(reject_percent_max=100, award=block.award_policy())
    return Job(
        config.dsn(),
        block.connection(),
        key=config.fernet_key(),
        run_id=run_id,
        policy=policy,
        pushed=True,
    )


def _publish(dsn: str, run_id: str, connections: Connections, sent: Delivered) -> None:
    if not connections.counts and not sent.to_text():
        return
    with connect(dsn) as connection:
        since = datetime.now(UTC) - timedelta(hours=24)
        told = receivers_section(
            receivers.receivers(connection), receivers.times(connection, since), heading="###"
        )
        events, backlog = pushed.event_counts(connection, run_id), stored.backlog(connection)
        parked = pushed.parked(connection, limit=_PARKED_SHOWN)
        corrections = refused.open_corrections(connection)
    counts = connections.counts
    create_markdown_artifact(
        key=_NAME,
        markdown=markdown(counts, events, backlog, parked, corrections, told),
        description=_headline(connections, sent),
    )
