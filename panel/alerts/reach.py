"""Whether alerts reach anybody, and which were due lately: what the page "Billing systems" says.

The rules watch from the first start on. What they find is in Prefect's events, also while no
address is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from prefect.client.orchestration import SyncPrefectClient

from loyalty.masking import message
from panel.alerts.automations import alert_document
from panel.markdown import plain, shortened, table

#: Where the form is that sets an address.
FORM: Final = "/blocks/catalog/alerts/create"
#: The deployment that sends a test alert.
TEST: Final = "test-alerts"
#: Alerts of so many days are shown, and so many of them.
_DAYS, _SHOWN = 7, 20
#: How our rules of alerting are called.
_OURS: Final = "Twezah alert: "
_EXECUTED, _FAILED = "prefect.automation.action.executed", "prefect.automation.action.failed"
_REASON_MAX: Final = 160


@dataclass(frozen=True)
class Alert:
    """An alert that was due."""

    at: datetime
    #: What it is about, e.g. `a run failed`.
    title: str
    #: Why it could not be sent; "": it was sent, or there is no address.
    failure: str


@dataclass(frozen=True)
class AlertReach:
    """Where alerts go, and those that were due lately, newest first."""

    #: Id of the block `alerts`; "": there is none, so alerts reach nobody.
    block_id: str = ""
    #: What kind of block that is, e.g. `Alerts`.
    kind: str = ""
    alerts: Sequence[Alert] = ()


def read(client: SyncPrefectClient, now: datetime) -> AlertReach:
    """Asks Prefect. Raises what its client raises."""
    document = alert_document(client)
    wanted = {
        "filter": {
            "occurred": {"since": (now - timedelta(days=_DAYS)).isoformat()},
            "event": {"name": [_EXECUTED, _FAILED]},
            "resource": {"labels": {"prefect.resource.name": [f"{_OURS}*"]}},
            "order": "DESC",
        },
        "limit": _SHOWN,
    }
    rows = client.request("POST", "/events/filter", json=wanted).json()["events"]
    alerts = [alert for row in rows if (alert := _alert(row)) is not None]
    if document is None:
        return AlertReach(alerts=alerts)
    return AlertReach(document["id"], document["block_type"]["name"], alerts)


def _alert(row: dict[str, Any]) -> Alert | None:
    name = str(row["resource"].get("prefect.resource.name", ""))
    if not name.startswith(_OURS):
        return None
    reason = str(row["payload"].get("reason", "")) if row["event"] == _FAILED else ""
    return Alert(datetime.fromisoformat(row["occurred"]), name.removeprefix(_OURS), reason)


def markdown(reach: AlertReach, test_link: str) -> str:
    """The section of the page: whom alerts reach, and what they said.

    `test_link` leads to the deployment that sends a test alert.
    """
    if not reach.block_id:
        text = (
            "**Alerts reach nobody yet: they are only on this page.** "
            f"[Set an address]({FORM}): e-mail, Slack or a webhook, in a block named `alerts`. "
            f"Then try it: {test_link}."
        )
    else:
        text = (
            f"Alerts go to the block [alerts](/blocks/block/{reach.block_id}) ({plain(reach.kind)})"
            f". Try it: {test_link}."
        )
        if any(alert.failure for alert in reach.alerts):
            text = f"**Some alerts could not be sent.** {text}"
    rows = [
        [
            f"{alert.at:%m-%d %H:%M}",
            plain(alert.title),
            f"not sent: {plain(shortened(message(alert.failure), _REASON_MAX))}"
            if alert.failure
            else ("sent" if reach.block_id else "only here"),
        ]
        for alert in reach.alerts
    ]
    lines = table(["When (UTC)", "Alert", ""], rows) if rows else "None was due in a week."
    more = "What they watch: [automations](/automations); all: [events](/events)."
    return f"## Alerts\n\n{text}\n\n{lines}\n\n{more}"
