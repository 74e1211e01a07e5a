"""Reads what the pages show, and publishes them.

That happens on a schedule, and for "Billing systems" also after every run of a connection. The page
"Sync status" draws charts of weeks, which takes longer than a poll that finds nothing.
"""

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State

from panel.pages import footers, status, systems
from panel.pages.connection_status import Desks, read
from panel.pages.publish import STATUS, SYSTEMS, known_pages, links, publish
from panel.pages.systems import Ledger
from settings import Settings, settings
from sql import ledger, webhooks
from sql import panel_pages as pages
from sql.db import connect
from tasks.steps import without_row_data

log = logging.getLogger(__name__)
#: Failures that the page names.
FAILURES_SHOWN: Final = 10


@dataclass(frozen=True)
class Refreshed:
    """What the pages say in one line each, and what they took.

    `status` "": that page was left as it is.
    """

    systems: str
    status: str
    seconds: float


def refresh(own: Settings, *, charts: bool = True) -> Refreshed:
    """Publishes the pages and what descriptions of deployments say of them.

    Raises psycopg.Error, and what Prefect's client raises.

    Without `charts` the page "Sync status" is left as it is, unless it is missing or knows of no
    run yet.
    """
    started, now = time.monotonic(), datetime.now(UTC)
    with get_client(sync_client=True) as client, without_row_data():
        there = known_pages(client)
        known = there.ids
        charts = charts or status.knows_nothing(there.said.get(STATUS))
        desks = read(client, everything=charts)
        told = _status(client, own, desks, known, now) if charts else ""
        found = _ledger(own, desks)
        said = _systems(client, own, desks, found, known, now)
        footers.renew(client, desks, found.addresses, known, own.http_url)
    return Refreshed(said, told, time.monotonic() - started)


def _ledger(own: Settings, desks: Desks) -> Ledger:
    with connect(own.dsn()) as connection:
        return Ledger(
            pages.accounts(connection), pages.last_attempts(connection, list(desks.connections)),
            webhooks.backlog(connection), pages.addresses(connection),
            ledger.dirty_members(connection),
        )  # fmt: skip


def _systems(
    client: SyncPrefectClient,
    own: Settings,
    desks: Desks,
    found: Ledger,
    known: dict[str, str],
    now: datetime,
) -> str:
    said = systems.headline(systems.rows(desks, found, now))
    text = systems.markdown(desks, found, now, own.http_url, links(known, SYSTEMS))
    known[SYSTEMS] = publish(client, SYSTEMS, known.get(SYSTEMS), text, said)
    return said


def _status(
    client: SyncPrefectClient, own: Settings, desks: Desks, known: dict[str, str], now: datetime
) -> str:
    with connect(own.dsn()) as connection:
        found = [
            status.Period(
                title, since, step, label,
                pages.totals(connection, since, desks.names()),
                pages.over_time(connection, since, step),
            )
            for title, since, step, label in status.periods(now)
        ]  # fmt: skip
        failures = pages.last_failures(connection, now - timedelta(days=30), FAILURES_SHOWN)
        arrived = pages.webhooks_over(connection, now - timedelta(hours=24))
    said = status.headline(found[0])
    text = status.markdown(found, failures, arrived, now, links(known, STATUS))
    known[STATUS] = publish(client, STATUS, known.get(STATUS), text, said)
    return said


def after_a_run(
    flow: Flow[..., Any],  # noqa: ARG001  Prefect's signature
    flow_run: FlowRun,
    state: State[Any],  # noqa: ARG001
) -> None:
    """Renews the page "Billing systems" once a run of a deployment has ended.

    An error here is logged, and is no failure of the run.
    """
    if flow_run.deployment_id is None:
        return
    try:
        refresh(settings(), charts=False)
    except Exception as error:  # noqa: BLE001 - the run is over; the next one renews the page
        log.warning("the pages were not renewed: %s", type(error).__name__)
