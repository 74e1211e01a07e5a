"""What a serving stack keeps in order on Prefect's server: the alerts, and the queue behind a run that takes long."""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from tasks.alerts.automations import ensure_automations

#: A scheduled run this long overdue is waiting for another one, not about to begin.
OVERDUE = timedelta(seconds=60)
_TAG = "billing"


def keep() -> None:
    """One round; every half minute is enough."""
    ensure_automations(registered=True)
    with get_client(sync_client=True) as client:
        collapse_waiting(client, datetime.now(UTC) - OVERDUE)


def collapse_waiting(client: SyncPrefectClient, due_before: datetime) -> int:
    """Of the scheduled runs that wait behind a longer one, leave one per deployment; returns how many went.

    Each reads all that changed since the last success, so that the second has nothing to do. Runs that an operator asked
    for, or that have begun already, stay.
    """
    waiting = client.read_flow_runs(
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=due_before),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=200,
    )
    seen, gone = set(), 0
    for run in waiting:
        if not run.auto_scheduled or run.run_count:
            continue
        if run.deployment_id in seen:
            client.delete_flow_run(run.id)
            gone += 1
        seen.add(run.deployment_id)
    return gone
