"""The rules of alerting: each rule is one of Prefect's automations.

Operators see and edit them under *Automations*. Prefect itself limits how often a rule fires. A
reactive trigger fires at most once per `within`, for each value of `for_each`. A trigger with
`after` fires once, and then waits until the event named in `after` comes again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from panel.alerts.events import (
    KINDS,
    CorrectionsRefused,
    CredentialsExpiring,
    KeysExpiring,
    ReceiverDown,
    RejectRatio,
    WebhooksBacklog,
)
from panel.runs.refused_state import REFUSED

#: How often the same failing system is reported: four times a day instead of 288 times.
FAILED_EVERY = timedelta(hours=6)
#: A warning that still holds is sent this often.
WARNED_EVERY = timedelta(days=1)
#: An alert is due when a deployment has had no success for this many of its intervals.
INTERVALS = 6
#: But never sooner than this: a run every minute may be late for a while.
NO_SUCCESS_MIN = timedelta(minutes=30)
#: A run sends a heartbeat every 30 s (PREFECT_FLOWS_HEARTBEAT_FREQUENCY); without any for this long
#: it counts as dead.
SILENCE = timedelta(seconds=90)
#: How often one run continues by itself after its process has died.
CONTINUED_MAX = 3

#: All events of a run begin with this.
_RUN = "prefect.flow-run."
#: Runs of our deployments; other people's flows on the same server are left alone.
_TAGS = {"prefect.resource.id": ["prefect.tag.billing", "prefect.tag.loyalty"]}
#: Deployments whose runs continue by themselves: all but `connect`, because no machine can resume
#: the consent in a browser.
_CONTINUED = {"prefect.resource.role": "deployment", "prefect.resource.name": "!connect"}
#: States that a run does not leave; each is an event of that name.
_ENDS = ("Completed", "Failed", REFUSED, "TimedOut", "Crashed", "Cancelled", "Cached", "RolledBack")
#: States that show that somebody looks after the run, besides a heartbeat.
_BEGUN = (
    *_ENDS,
    "Running",
    "Retrying",
    "AwaitingRetry",
    "AwaitingConcurrencySlot",
    "Scheduled",
    "Late",
    "Cancelling",
    "Paused",
    "Suspended",
)
#: Title of the alert for each of our own events.
_WARNINGS = {
    CorrectionsRefused: "corrections were refused",
    RejectRatio: "many rejects",
    CredentialsExpiring: "credentials end soon",
    KeysExpiring: "an API key ends soon",
    WebhooksBacklog: "webhooks pile up",
    ReceiverDown: "the loyalty app hears nothing",
}
#: Message of a run that an automation continues.
DIED = (
    "The process of this run ended before the run was finished (killed, out of memory, or the "
    "machine restarted). It goes on by itself where it stopped, at most three times; after that "
    "press Retry. Nothing counts twice."
)
#: Message of a run that is ended because it no longer reports.
SILENT = (
    "This run has not reported for a minute and a half: its process, its worker or the machine has "
    "died. It goes on by itself."
)


@dataclass(frozen=True)
class Watched:
    """A deployment that should succeed regularly."""

    #: Name of the deployment.
    name: str
    #: The shortest interval of its active schedules.
    interval: timedelta


def rules(ui_url: str, block_id: UUID | None, watched: Sequence[Watched]) -> list[AutomationCore]:
    """All automations that should exist.

    Args:
        ui_url: Address of Prefect's user interface, for links in alerts.
        block_id: The notification block that alerts go to; None: they appear only in Prefect's
            event feed.
        watched: The deployments that should succeed regularly.
    """
    return [
        _failed(ui_url, block_id),
        *(_no_success(deployment, ui_url, block_id) for deployment in watched),
        *(_warning(kind.event, _WARNINGS[kind], block_id) for kind in KINDS),
        *continuing(),
    ]


def continuing() -> list[AutomationCore]:
    """The automations that let a run continue after its process has died."""
    return [
        AutomationCore(
            name="Twezah: a run whose process died goes on",
            description=(
                f"At most {CONTINUED_MAX} times per run; then it stays Crashed, and Retry "
                "continues it."
            ),
            trigger=EventTrigger(
                expect={_RUN + "Crashed"}, for_each={"prefect.resource.id"},
                match={
                    "prefect.resource.id": _RUN + "*",
                    "prefect.run-count": [str(count) for count in range(CONTINUED_MAX + 1)],
                },
                match_related=[_TAGS, _CONTINUED], posture=Posture.Reactive,
            ),
            actions=[
                ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=DIED)
            ],
        ),
        _died_silently(
            "a run that has fallen silent has died",
            "Its process, its worker or its machine is gone, and nobody was left to say so.",
            after="heartbeat", states=_ENDS,
        ),
        _died_silently(
            "a run that does not begin has died",
            "Its worker took it and was gone before it began.",
            after="Pending", states=_BEGUN,
        ),
    ]  # fmt: skip


def _died_silently(
    name: str, description: str, *, after: str, states: Sequence[str]
) -> AutomationCore:
    """Ends a run that reports neither a heartbeat nor one of these states in time."""
    return AutomationCore(
        name=f"Twezah: {name}",
        description=description,
        trigger=EventTrigger(
            after={_RUN + after},
            expect={_RUN + event for event in ("heartbeat", *states)},
            for_each={"prefect.resource.id"},
            match={"prefect.resource.id": _RUN + "*"},
            match_related=_TAGS,
            posture=Posture.Proactive,
            within=SILENCE,
        ),
        # Never by force: a heartbeat that arrives after the end of its run looks like a silence,
        # and the server then keeps the end as it is.
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=SILENT)],
    )


def _failed(ui_url: str, block_id: UUID | None) -> AutomationCore:
    body = f"""System: {{{{ deployment.name }}}}
What happened: {{% if 'encountered an exception' in flow_run.state.message %}}\
an error that was not foreseen; the run's log has it\
{{% else %}}{{{{ flow_run.state.message|truncate(800) }}}}{{% endif %}}
What to do: what the message says; then press Retry on the run. It goes on where it stopped, \
and nothing counts twice.
Run: {ui_url}/runs/flow-run/{{{{ flow_run.id }}}}

While it keeps failing, this comes again every {_hours(FAILED_EVERY)} hours."""
    return AutomationCore(
        name="Twezah alert: a run failed",
        description=(
            f"One message per deployment, again after {_hours(FAILED_EVERY)} hours while it keeps "
            "failing."
        ),
        trigger=EventTrigger(
            expect={_RUN + "Failed", _RUN + "TimedOut"},
            for_each={"related:deployment:prefect.resource.id"},
            match={"prefect.resource.id": _RUN + "*"}, match_related=_TAGS,
            posture=Posture.Reactive, within=FAILED_EVERY,
        ),
        actions=_actions(block_id, "Twezah: {{ deployment.name }} failed", body),
    )  # fmt: skip


def _no_success(deployment: Watched, ui_url: str, block_id: UUID | None) -> AutomationCore:
    within = max(INTERVALS * deployment.interval, NO_SUCCESS_MIN)
    minutes = int(within.total_seconds() // 60)
    interval_minutes = int(deployment.interval.total_seconds() // 60)
    name = deployment.name
    body = f"""System: {name}
What happened: it has not succeeded for {minutes} minutes; it should every {interval_minutes}.
What to do: look at its latest run. Failed: do what its message says. Late: no worker runs, start \
`twezah up`. None: its schedule is off. Sales are not lost; the next run that succeeds brings them.
Runs: {ui_url}/deployments

This comes once; after the next success it is watched again."""
    return AutomationCore(
        name=f"Twezah alert: no success, {name}",
        description=f"Once, when {minutes} minutes have passed since the last success.",
        trigger=EventTrigger(
            after={_RUN + "Completed"}, expect={_RUN + "Completed"},
            for_each={"related:deployment:prefect.resource.id"},
            match={"prefect.resource.id": _RUN + "*"},
            match_related={"prefect.resource.role": "deployment", "prefect.resource.name": name},
            posture=Posture.Proactive, within=within,
        ),
        actions=_actions(block_id, f"Twezah: no success of {name} for {minutes} minutes", body),
    )  # fmt: skip


def _warning(event: str, title: str, block_id: UUID | None) -> AutomationCore:
    body = """About: {{ event.payload.about }}
What happened: {{ event.payload.what }}
What to do: {{ event.payload.todo }}
{% if event.payload.link %}Look: {{ event.payload.link }}
{% endif %}
While it stays so, this comes once a day."""
    return AutomationCore(
        name=f"Twezah alert: {title}",
        description="Once a day for each connection, key or consent it is about.",
        trigger=EventTrigger(
            expect={event}, for_each={"prefect.resource.id"},
            match={"prefect.resource.id": f"{event}.*"},
            posture=Posture.Reactive, within=WARNED_EVERY,
        ),
        actions=_actions(block_id, f"Twezah: {title}: {{{{ event.payload.about }}}}", body),
    )  # fmt: skip


def _actions(block_id: UUID | None, subject: str, body: str) -> list[ActionTypes]:
    if block_id is None:
        return [DoNothing()]
    return [SendNotification(block_document_id=block_id, subject=subject, body=body)]


def _hours(time: timedelta) -> int:
    return int(time.total_seconds() // 3600)
