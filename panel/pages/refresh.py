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

from panel.alerts import reach
from panel.pages import (
    billing_systems,
    deployment_descriptions,
    left_out,
    sync_status,
    webhook_events,
)
from panel.pages.billing_systems import Ledger
from panel.pages.connection_status import ConnectionOverview, read
from panel.pages.publish import (
    LEFT_OUT,
    STATUS,
    SYSTEMS,
    WEBHOOKS,
    find_deployment,
    links,
    publish,
    published_pages,
)
from panel.reports.receivers import receivers_section
from settings import Settings, settings
from sql import duplicates, ledger, receivers, subscriptions, webhooks
from sql import panel_pages as pages
from sql.db import connect
from sql.page_renewals import renew_together
from tasks.database_errors import without_row_data

log = logging.getLogger(__name__)
#: Failures that the page names.
FAILURES_SHOWN: Final = 10


@dataclass(frozen=True)
class Refreshed:
    """What the pages show, in one line each."""

    #: The headline of the page "Billing systems".
    systems: str
    #: The headline of the page "Sync status"; "" where that page was left as it is.
    status: str
    #: What reading and publishing took.
    seconds: float


def refresh(installation: Settings, *, charts: bool = True) -> Refreshed:
    """Publishes the pages, and what the descriptions of deployments show of them.

    Raises psycopg.Error, and what Prefect's client raises.

    Args:
        installation: The settings of this installation.
        charts: False: the page "Sync status" is left as it is, unless it is missing or knows of no
            run yet.
    """
    started, now = time.monotonic(), datetime.now(UTC)
    with get_client(sync_client=True) as client, without_row_data():
        there = published_pages(client)
        page_ids = there.ids
        charts = charts or sync_status.knows_nothing(there.descriptions.get(STATUS))
        overview = read(client, everything=charts)
        if charts:
            _left_out(client, installation, page_ids, now)
        _webhooks(client, installation, page_ids, now)
        status_line = _status(client, installation, overview, page_ids, now) if charts else ""
        ledger_state = _ledger(installation, overview)
        systems_line = _systems(client, installation, overview, ledger_state, page_ids, now)
        deployment_descriptions.renew_descriptions(
            client, overview, ledger_state.addresses, page_ids, installation.http_url
        )
    return Refreshed(systems_line, status_line, time.monotonic() - started)


def _ledger(installation: Settings, overview: ConnectionOverview) -> Ledger:
    with connect(installation.dsn()) as connection:
        return Ledger(
            pages.accounts(connection), pages.last_attempts(connection, list(overview.connections)),
            webhooks.backlog(connection), pages.addresses(connection),
            ledger.dirty_members(connection), subscriptions.read_all(connection),
            installation.has_public_api,
        )  # fmt: skip


def _systems(
    client: SyncPrefectClient,
    installation: Settings,
    overview: ConnectionOverview,
    ledger_state: Ledger,
    page_ids: dict[str, str],
    now: datetime,
) -> str:
    line = billing_systems.headline(billing_systems.rows(overview, ledger_state, now))
    text = billing_systems.markdown(
        overview,
        ledger_state,
        now,
        installation.http_url,
        links(page_ids, SYSTEMS),
        reach.read(client, now),
    )
    page_ids[SYSTEMS] = publish(client, SYSTEMS, page_ids.get(SYSTEMS), text, line)
    return line


def _left_out(
    client: SyncPrefectClient, installation: Settings, page_ids: dict[str, str], now: datetime
) -> None:
    """The page "Left-out sales"; there is none before a precedence is declared."""
    with connect(installation.dsn()) as connection:
        precedence = duplicates.declared(connection)
        if not precedence.systems and LEFT_OUT not in page_ids:
            return
        totals = duplicates.totals(connection)
        latest = duplicates.latest(connection, left_out.SHOWN)
    line = left_out.headline(precedence, totals)
    text = left_out.markdown(precedence, totals, latest, now, links(page_ids, LEFT_OUT))
    page_ids[LEFT_OUT] = publish(client, LEFT_OUT, page_ids.get(LEFT_OUT), text, line)


def renew_webhooks(installation: Settings) -> str:
    """Publishes the page "Webhooks" alone; its headline.

    Raises psycopg.Error, and what Prefect's client raises.
    """
    with get_client(sync_client=True) as client, without_row_data():
        page_ids = published_pages(client).ids
        return _webhooks(client, installation, page_ids, datetime.now(UTC))


def _webhooks(
    client: SyncPrefectClient, installation: Settings, page_ids: dict[str, str], now: datetime
) -> str:
    with connect(installation.dsn()) as connection:
        states = webhooks.states(connection)
        parked = webhooks.latest(connection, webhook_events.SHOWN, state="parked")
        latest = webhooks.latest(connection, webhook_events.SHOWN)
    line = webhook_events.headline(states)
    deployment = find_deployment(client, "webhook-events")
    form = (
        f"[webhook-events](/deployments/deployment/{deployment})"
        if deployment
        else "*webhook-events*"
    )
    text = webhook_events.markdown(
        states, parked, latest, now, links(page_ids, WEBHOOKS), form=form
    )
    page_ids[WEBHOOKS] = publish(client, WEBHOOKS, page_ids.get(WEBHOOKS), text, line)
    return line


def _status(
    client: SyncPrefectClient,
    installation: Settings,
    overview: ConnectionOverview,
    page_ids: dict[str, str],
    now: datetime,
) -> str:
    with connect(installation.dsn()) as connection:
        periods = [
            sync_status.Period(
                title, since, step, label,
                pages.totals(connection, since, overview.names()),
                pages.over_time(connection, since, step),
            )
            for title, since, step, label in sync_status.periods(now)
        ]  # fmt: skip
        failures = pages.last_failures(connection, now - timedelta(days=30), FAILURES_SHOWN)
        day_ago = now - timedelta(hours=24)
        arrived = pages.webhooks_over(connection, day_ago)
        told = receivers_section(
            receivers.receivers(connection), receivers.times(connection, day_ago)
        )
    line = sync_status.headline(periods[0])
    text = sync_status.markdown(periods, failures, arrived, now, links(page_ids, STATUS), told)
    page_ids[STATUS] = publish(client, STATUS, page_ids.get(STATUS), text, line)
    return line


def after_a_run(
    flow: Flow[..., Any],  # noqa: ARG001  Prefect's signature
    flow_run: FlowRun,
    state: State[Any],  # noqa: ARG001
) -> None:
    """Renews the page "Billing systems" once a run of a deployment has ended.

    Of runs that end together one does it for all. An error here is logged, and is no failure of the
    run.
    """
    if flow_run.deployment_id is None:
        return
    try:
        installation = settings()
        renew_together(installation.dsn(), lambda: refresh(installation, charts=False))
    except Exception as error:  # noqa: BLE001 - the run is over; the next one renews the page
        log.warning("the pages were not renewed: %s", type(error).__name__)
