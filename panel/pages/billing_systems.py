"""The page "Billing systems": the state of every connection, and what needs somebody."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from panel.alerts import reach
from panel.alerts.reach import AlertReach
from panel.connect.subscriptions import sentence
from panel.connect.webhook_address import address, can_announce, subscribes
from panel.markdown import age, clock, plain, shortened, span, table
from panel.pages.connection_status import ConnectionOverview, ConnectionStatus
from sql.panel_pages import AccountState, Address, LastAttempt
from sql.subscriptions import SubscriptionState
from sql.webhooks import Backlog
from tasks.run_report import grouped
from tasks.webhooks.subscriptions import NEEDS_SOMEBODY

TITLE: Final = "Billing systems"
#: Characters shown of an error; the run's report has all of it.
_ERROR_MAX: Final = 600
#: A connection is behind when its lag is longer than this many of its intervals, and longer than
#: the minimum.
_INTERVALS, _BEHIND_MIN = 3, timedelta(minutes=30)
#: An account that the ledger does not know yet.
_NOTHING = AccountState(None, None, 0)
#: Headings of the table of connections.
_HEAD: Final = (
    "Connection",
    "State",
    "Last success",
    "Lag",
    "Backlog",
    "Rejects",
    "Next run",
    "Open",
    "Do",
)


@dataclass(frozen=True)
class Ledger:
    """What the page needs of the ledger."""

    #: State of each account, by system and account.
    accounts: Mapping[tuple[str, str], AccountState]
    #: The latest attempt of a run, by connection.
    last: Mapping[str, LastAttempt]
    #: Webhooks that are not in the ledger yet, by connection.
    backlog: Sequence[Backlog]
    #: The addresses for webhooks.
    addresses: Sequence[Address]
    #: Members whose points are still to be computed.
    members_waiting: int = 0
    #: What came of subscribing webhooks by the vendors' APIs, by connection.
    subscriptions: Mapping[str, SubscriptionState] = field(default_factory=dict)
    #: Whether the installation has a public https address, which vendors can reach.
    is_public: bool = False


@dataclass(frozen=True)
class Row:
    """A connection with the judgement that the page shows."""

    #: What Prefect knows of the connection.
    connection: ConnectionStatus
    #: One of the words that `headline` counts, e.g. "fine".
    state: str
    #: What the ledger knows of its account.
    account: AccountState
    #: The latest attempt of a run, None before the first.
    last: LastAttempt | None
    #: Webhooks that are not in the ledger yet.
    waiting: int
    #: Webhooks that wait for a person.
    parked: int
    #: What somebody must do, "" for nothing.
    needs: str


def rows(overview: ConnectionOverview, ledger: Ledger, now: datetime) -> list[Row]:
    """The connections that have a block, with the judgement of each."""
    waiting = {row.connection: row for row in ledger.backlog}
    rows_shown = []
    for name, connection in overview.connections.items():
        if not connection.block_id:
            continue
        account = ledger.accounts.get((connection.system, connection.account), _NOTHING)
        last, events = ledger.last.get(name), waiting.get(name)
        if connection.pushed_only and not connection.problem:
            account = replace(account, last_success_at=_last_event_at(ledger, name))
            state, needs = _state_of_sender(connection, ledger, account)
        else:
            state, needs = _state_and_needs(connection, account, last, now)
        rows_shown.append(
            Row(
                connection,
                state,
                account,
                last,
                events.waiting if events else 0,
                events.parked if events else 0,
                needs,
            )
        )
    return rows_shown


def _last_event_at(ledger: Ledger, name: str) -> datetime | None:
    """When the last webhook of a connection arrived; None: none has."""
    times = [row.last_event_at for row in ledger.addresses if row.connection == name]
    return max((moment for moment in times if moment is not None), default=None)


def _state_of_sender(
    connection: ConnectionStatus, ledger: Ledger, account: AccountState
) -> tuple[str, str]:
    """The state of a connection that is never asked, and what somebody must do."""
    addresses = [row for row in ledger.addresses if row.connection == connection.name]
    if not all(row.has_secret for row in addresses) or not addresses:
        lacks = "its secret is not in use yet" if addresses else "it has no address yet"
        return "not ready", f"{lacks}. It gets one within half a minute, or run *webhook-address*."
    return ("not run yet", "") if account.last_success_at is None else ("fine", "")


def _state_and_needs(
    connection: ConnectionStatus, account: AccountState, last: LastAttempt | None, now: datetime
) -> tuple[str, str]:
    if connection.problem:
        return (
            "not ready",
            (
                f"{connection.problem.rstrip('. ')}. Open the {_block_link(connection)}, then run "
                "*test-connection*."
            ),
        )
    if last is not None and last.outcome == "failed":
        error = plain(shortened(last.error or "", _ERROR_MAX))
        return (
            "failing",
            f"{error} Then press **Retry** on [the run](/runs/flow-run/{last.run_id}).",
        )
    if not connection.scheduled:
        why = "the deployment is paused" if connection.paused else "its schedule is off"
        return (
            "paused",
            (
                f"{why}: no sale is fetched. Switch it on again at its "
                f"{_own_deployment_link(connection, 'deployment')}."
            ),
        )
    if account.complete_up_to is not None and now - account.complete_up_to > _lag_max(connection):
        advice = "Look at its runs: late ones mean that no worker takes them up (`twezah up`)."
        return "behind", f"complete up to {age(account.complete_up_to, now)} only. {advice}"
    state = "fine" if last is not None or account.last_success_at is not None else "not run yet"
    return "running" if connection.running else state, ""


def _lag_max(connection: ConnectionStatus) -> timedelta:
    """How far behind a connection may be before the page calls it behind."""
    return max(_BEHIND_MIN, _INTERVALS * (connection.every or timedelta()))


def markdown(
    overview: ConnectionOverview,
    ledger: Ledger,
    now: datetime,
    http_url: str,
    links: str,
    alerts: AlertReach | None = None,
) -> str:
    """The page as Prefect's UI shows it.

    Args:
        overview: What Prefect knows of the connections.
        ledger: What the ledger knows of them.
        now: The time of the page, UTC.
        http_url: Base URL of the HTTP API, for the addresses of webhooks.
        links: The line with links to the other pages.
        alerts: Whom alerts reach; None: that was not asked for.
    """
    rows_shown = rows(overview, ledger, now)
    parts = [
        f"# {TITLE}",
        (
            f"**{headline(rows_shown)}** As of {clock(now)}; renewed after every run and every few "
            "minutes."
        ),
        links,
        _needs(rows_shown, ledger),
        _table(rows_shown, now, overview, alerts),
        _computing(ledger.members_waiting),
        reach.markdown(alerts, _deployment_link(overview, reach.TEST)) if alerts else "",
        _webhooks(ledger, overview, now, http_url),
        _not_connected(overview),
        _legend(),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(rows_shown: Sequence[Row]) -> str:
    """One line: how many connections are in which state."""
    if not rows_shown:
        return "No billing system is connected yet."
    states = ["fine", "running", "not run yet", "paused", "behind", "failing", "not ready"]
    counted = [(state, sum(1 for row in rows_shown if row.state == state)) for state in states]
    text = ", ".join(f"{count} {state}" for state, count in counted if count)
    return f"{len(rows_shown)} connected: {text}."


def _needs(rows_shown: Sequence[Row], ledger: Ledger) -> str:
    lines = [
        f"- **{row.connection.name}**, {row.state}: {row.needs}" for row in rows_shown if row.needs
    ]
    lines += [_corrections(row) for row in rows_shown if row.account.corrections]
    parked = [row for row in rows_shown if row.parked]
    lines += [
        f"- **{row.connection.name}**: {grouped(row.parked)} webhooks are parked; the "
        "[reports](/artifacts/key/webhooks) say why."
        for row in parked
    ]
    lines += [
        f"- **{row.connection.name}**, webhooks: {plain(state.detail)}"
        for row in rows_shown
        if (state := ledger.subscriptions.get(row.connection.name)) is not None
        and state.state in NEEDS_SOMEBODY
    ]
    return "## What needs you\n\n" + "\n".join(lines) if lines else ""


def _corrections(row: Row) -> str:
    """Refused corrections come first: members may spend points that the sale no longer gives."""
    count = row.account.corrections
    noun = "correction was" if count == 1 else "corrections were"
    return (
        f"- **{row.connection.name}**: **{grouped(count)} {noun} refused, "
        f"{grouped(row.account.points_at_stake)} points are at stake**: the old points stand. The "
        f"[reports](/artifacts/key/sync-{row.connection.name}) name the documents, and say why and "
        "what to do."
    )


def _table(
    rows_shown: Sequence[Row],
    now: datetime,
    overview: ConnectionOverview,
    alerts: AlertReach | None,
) -> str:
    if not rows_shown:
        return ""
    lines = [
        [
            _own_deployment_link(row.connection, row.connection.name),
            f"**{row.state}**" if row.needs else row.state,
            age(row.account.last_success_at, now),
            span(now - row.account.complete_up_to) if row.account.complete_up_to else "-",
            _waiting(row),
            row.account.open_rejects,
            _next(row.connection, now),
            f"[reports](/artifacts/key/sync-{row.connection.name}) · {_block_link(row.connection)}",
            _doing(row.connection, overview, alerts),
        ]
        for row in rows_shown
    ]
    return f"## Connections\n\n{table(_HEAD, lines)}"


def _doing(
    connection: ConnectionStatus, overview: ConnectionOverview, alerts: AlertReach | None
) -> str:
    """Links to the places where something is done with a connection."""
    deployment = f"/deployments/deployment/{connection.deployment_id}"
    links = [("sync now", f"{deployment}/run"), ("schedule", deployment)]
    if connection.pushed_only or not connection.deployment_id:
        links = []
    links.append(("edit", f"/blocks/block/{connection.block_id}/edit"))
    links.append(("test", _form(overview, "test-connection", connection)))
    if can_announce(connection.system):
        links.append(("webhooks", _form(overview, "webhook-address", connection)))
    if alerts is not None:
        links.append(
            ("alerts are on", "/automations") if alerts.block_id else ("alerts are off", reach.FORM)
        )
    return " · ".join(f"[{words}]({path})" for words, path in links if path)


def _form(overview: ConnectionOverview, deployment: str, connection: ConnectionStatus) -> str:
    """The path of the form of a run, with the connection filled in; "" without the deployment."""
    deployment_id = overview.others.get(deployment)
    values = quote(json.dumps({"connection": connection.name}))
    return (
        f"/deployments/deployment/{deployment_id}/run?parameters={values}" if deployment_id else ""
    )


def _computing(members: int) -> str:
    if not members:
        return ""
    return (
        f"The points of {grouped(members)} members are still to be computed; the next run of any "
        "connection does it."
    )


def _waiting(row: Row) -> str:
    waiting = f"{grouped(row.waiting)} webhooks" if row.waiting else ""
    parked = f"{grouped(row.parked)} parked" if row.parked else ""
    return ", ".join(part for part in (waiting, parked) if part) or "-"


def _next(connection: ConnectionStatus, now: datetime) -> str:
    if connection.running:
        return f"[running](/runs/flow-run/{connection.running})"
    if connection.pushed_only:
        return "when it sends"
    if not connection.scheduled:
        return "off"
    when = (
        age(connection.next_run_at, now)
        if connection.next_run_at and connection.next_run_at > now
        else "now"
    )
    every = f", every {span(connection.every)}" if connection.every else ""
    return f"{when}{every}"


def _webhooks(ledger: Ledger, overview: ConnectionOverview, now: datetime, http_url: str) -> str:
    rows = [
        [
            endpoint.connection,
            f"`{address(http_url, endpoint.endpoint_id)}`",
            _address_state(endpoint, overview),
            _subscription(ledger, endpoint.connection, endpoint.system),
            age(endpoint.last_event_at, now),
        ]
        for endpoint in ledger.addresses
    ]
    names = {endpoint.connection for endpoint in ledger.addresses}
    without = [
        connection.name
        for connection in overview.connections.values()
        if connection.block_id and can_announce(connection.system)
    ]
    without = [name for name in without if name not in names]
    missing = [name for name in without if not subscribes(overview.connections[name].system)]
    waiting = [name for name in without if name not in missing]
    run = _deployment_link(overview, "webhook-address")
    lines = (
        [table(["Connection", "Address", "State", "At the vendor", "Last one"], rows)]
        if rows
        else []
    )
    if rows:
        lines.append(
            "*By hand*: enter the address at the billing system and its secret, as *Webhook "
            f"secret*, in the block; then run {run}. Polling goes on beside it."
        )
    lines += [
        f"**{name}**: {plain(_subscription(ledger, name, overview.connections[name].system))}."
        for name in waiting
    ]
    if missing:
        lines.append(
            f"None yet: {', '.join(missing)}. {run} makes one, for points within a second of the "
            "sale."
        )
    return "\n\n".join(["## Webhook addresses", *lines]) if lines else ""


def _subscription(ledger: Ledger, connection: str, system: str) -> str:
    """What the vendor knows of the address, in words."""
    if not subscribes(system):
        return "by hand"
    return sentence(ledger.subscriptions.get(connection), is_public=ledger.is_public)


def _deployment_link(overview: ConnectionOverview, deployment: str) -> str:
    deployment_id = overview.others.get(deployment)
    return (
        f"[{deployment}](/deployments/deployment/{deployment_id})"
        if deployment_id
        else f"*{deployment}*"
    )


def _address_state(endpoint: Address, overview: ConnectionOverview) -> str:
    if endpoint.connection not in overview.connections:
        return "no such connection"
    if endpoint.handshake in ("awaited", "seen"):
        return "awaits the vendor's verification"
    return "in use" if endpoint.has_secret else "needs its secret"


def _not_connected(overview: ConnectionOverview) -> str:
    absent = [connection for connection in overview.connections.values() if not connection.block_id]
    if not absent:
        return ""
    links = ", ".join(f"[{connection.title}]({connection.form})" for connection in absent)
    return (
        f"## Not connected yet\n\n{links}. Fill in the form; then run "
        f"{_deployment_link(overview, 'connect')} (where a consent is needed) and "
        f"{_deployment_link(overview, 'test-connection')}."
    )


def _legend() -> str:
    return (
        "**Lag**: how far the ledger is behind; every older change at the billing system is in it. "
        "**Backlog**: sales that a webhook announced and that are not in the ledger yet; parked "
        "ones wait for somebody. **Rejects**: records that could not be used. The reports say why; "
        "they are tried again by themselves once the cause is gone."
    )


def _own_deployment_link(connection: ConnectionStatus, text: str) -> str:
    return (
        f"[{text}](/deployments/deployment/{connection.deployment_id})"
        if connection.deployment_id
        else plain(text)
    )


def _block_link(connection: ConnectionStatus) -> str:
    return f"[block](/blocks/block/{connection.block_id})"
