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


def refresh(installation: Settings, *, charts: bool = True) -> Refreshed:
    """Publishes the pages and what descriptions of deployments say of them.

    Raises psycopg.Error, and what Prefect's client raises.

    Without `charts` the page "Sync status" is left as it is, unless it is missing or knows of no
    run yet.
    """
    started, now = time.monotonic(), datetime.now(UTC)
    with get_client(sync_client=True) as client, without_row_data():
        there = known_pages(client)
        page_ids = there.ids
        charts = charts or status.knows_nothing(there.descriptions.get(STATUS))
        desks = read(client, everything=charts)
        status_line = _status(client, installation, desks, page_ids, now) if charts else ""
        ledger_state = _ledger(installation, desks)
        systems_line = _systems(client, installation, desks, ledger_state, page_ids, now)
        footers.renew(client, desks, ledger_state.addresses, page_ids, installation.http_url)
    return Refreshed(systems_line, status_line, time.monotonic() - started)


def _ledger(installation: Settings, desks: Desks) -> Ledger:
    with connect(installation.dsn()) as connection:
        return Ledger(
            pages.accounts(connection), pages.last_attempts(connection, list(desks.connections)),
            webhooks.backlog(connection), pages.addresses(connection),
            ledger.dirty_members(connection),
        )  # fmt: skip


def _systems(
    client: SyncPrefectClient,
    installation: Settings,
    desks: Desks,
    ledger_state: Ledger,
    page_ids: dict[str, str],
    now: datetime,
) -> str:
    line = systems.headline(systems.rows(desks, ledger_state, now))
    text = systems.markdown(
        desks, ledger_state, now, installation.http_url, links(page_ids, SYSTEMS)
    )
    page_ids[SYSTEMS] = publish(client, SYSTEMS, page_ids.get(SYSTEMS), text, line)
    return line


def _status(
    client: SyncPrefectClient,
    installation: Settings,
    desks: Desks,
    page_ids: dict[str, str],
    now: datetime,
) -> str:
    with connect(installation.dsn()) as connection:
        periods = [
            status.Period(
                title, since, step, label,
                pages.totals(connection, since, desks.names()),
                pages.over_time(connection, since, step),
            )
            for title, since, step, label in status.periods(now)
        ]  # fmt: skip
        failures = pages.last_failures(connection, now - timedelta(days=30), FAILURES_SHOWN)
        arrived = pages.webhooks_over(connection, now - timedelta(hours=24))
    line = status.headline(periods[0])
    text = status.markdown(periods, failures, arrived, now, links(page_ids, STATUS))
    page_ids[STATUS] = publish(client, STATUS, page_ids.get(STATUS), text, line)
    return line


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
