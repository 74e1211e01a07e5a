"""The page "Billing systems": every connection, how it is, and what needs somebody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from panel.connect.webhook_address import address, can_announce
from panel.markdown import age, clock, plain, shortened, span, table
from panel.pages.connection_status import Desk, Desks
from sql.panel_pages import AccountState, Address, LastAttempt
from sql.webhooks import Backlog
from tasks.run_report import grouped

TITLE: Final = "Billing systems"
_ERROR_MAX: Final = 600
#: A connection that is complete up to longer ago than so many of its intervals, and than that at
#: least, is behind.
_INTERVALS, _BEHIND_MIN = 3, timedelta(minutes=30)
_NOTHING = AccountState(None, None, 0)


@dataclass(frozen=True)
class Ledger:
    """What the page needs of the ledger. `members_waiting`: their points are not computed yet."""

    accounts: Mapping[tuple[str, str], AccountState]
    last: Mapping[str, LastAttempt]
    backlog: Sequence[Backlog]
    addresses: Sequence[Address]
    members_waiting: int = 0


@dataclass(frozen=True)
class Row:
    """A connection, judged. `needs`: what somebody must do, "" for nothing."""

    desk: Desk
    state: str
    account: AccountState
    last: LastAttempt | None
    waiting: int
    parked: int
    needs: str


def rows(desks: Desks, ledger: Ledger, now: datetime) -> list[Row]:
    """The connections that have a block."""
    waiting = {row.connection: row for row in ledger.backlog}
    judged = []
    for name, desk in desks.connections.items():
        if not desk.block_id:
            continue
        account = ledger.accounts.get((desk.system, desk.account), _NOTHING)
        last, events = ledger.last.get(name), waiting.get(name)
        state, needs = _judged(desk, account, last, now)
        judged.append(
            Row(
                desk,
                state,
                account,
                last,
                events.waiting if events else 0,
                events.parked if events else 0,
                needs,
            )
        )
    return judged


def _judged(
    desk: Desk, account: AccountState, last: LastAttempt | None, now: datetime
) -> tuple[str, str]:
    if desk.problem:
        return (
            "not ready",
            f"{desk.problem.rstrip('. ')}. Open the {_block(desk)}, then run *test-connection*.",
        )
    if last is not None and last.outcome == "failed":
        error = plain(shortened(last.error or "", _ERROR_MAX))
        return (
            "failing",
            f"{error} Then press **Retry** on [the run](/runs/flow-run/{last.run_id}).",
        )
    if not desk.scheduled:
        why = "the deployment is paused" if desk.paused else "its schedule is off"
        return (
            "paused",
            (
                f"{why}: no sale is fetched. Switch it on again at its "
                f"{_deployment(desk, 'deployment')}."
            ),
        )
    if account.complete_up_to is not None and now - account.complete_up_to > _allowed(desk):
        advice = "Look at its runs: late ones mean that no worker takes them up (`twezah up`)."
        return "behind", f"complete up to {age(account.complete_up_to, now)} only. {advice}"
    state = (
        "fine" if last is not None or account.last_success_at is not None else "first run to come"
    )
    return "running" if desk.running else state, ""


def _allowed(desk: Desk) -> timedelta:
    """How far behind a connection may be without anybody being told."""
    return max(_BEHIND_MIN, _INTERVALS * (desk.every or timedelta()))


def markdown(desks: Desks, ledger: Ledger, now: datetime, http_url: str, links: str) -> str:
    """The page as Prefect's UI shows it."""
    judged = rows(desks, ledger, now)
    parts = [
        f"# {TITLE}",
        f"**{headline(judged)}** As of {clock(now)}; renewed after every run and every few minutes.",
        links,
        _needs(judged),
        _table(judged, now),
        _computing(ledger.members_waiting),
        _webhooks(ledger, desks, now, http_url),
        _absent(desks),
        _legend(),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(judged: Sequence[Row]) -> str:
    """One line: how many connections are how."""
    if not judged:
        return "No billing system is connected yet."
    states = ["fine", "running", "first run to come", "paused", "behind", "failing", "not ready"]
    counted = [(state, sum(1 for row in judged if row.state == state)) for state in states]
    text = ", ".join(f"{count} {state}" for state, count in counted if count)
    return f"{len(judged)} connected: {text}."


def _needs(judged: Sequence[Row]) -> str:
    lines = [f"- **{row.desk.name}**, {row.state}: {row.needs}" for row in judged if row.needs]
    lines += [_corrections(row) for row in judged if row.account.corrections]
    parked = [row for row in judged if row.parked]
    lines += [
        f"- **{row.desk.name}**: {grouped(row.parked)} webhooks are parked; the "
        "[reports](/artifacts/key/webhooks) say why."
        for row in parked
    ]
    return "## What needs you\n\n" + "\n".join(lines) if lines else ""


def _corrections(row: Row) -> str:
    """First of all rejects: members may spend points that the sale no longer gives."""
    count = row.account.corrections
    noun = "correction was" if count == 1 else "corrections were"
    return (
        f"- **{row.desk.name}**: **{grouped(count)} {noun} refused, "
        f"{grouped(row.account.points_at_stake)} points are at stake**: the old points stand. The "
        f"[reports](/artifacts/key/sync-{row.desk.name}) name the documents, and say why and what "
        "to do."
    )


def _table(judged: Sequence[Row], now: datetime) -> str:
    if not judged:
        return ""
    lines = [
        [
            _deployment(row.desk, row.desk.name),
            f"**{row.state}**" if row.needs else row.state,
            age(row.account.last_success_at, now),
            span(now - row.account.complete_up_to) if row.account.complete_up_to else "-",
            _waiting(row),
            row.account.open_rejects,
            _next(row.desk, now),
            f"[reports](/artifacts/key/sync-{row.desk.name}) · {_block(row.desk)}",
        ]
        for row in judged
    ]
    head = ["Connection", "State", "Last success", "Lag", "Backlog", "Rejects", "Next run", "Open"]
    return f"## Connections\n\n{table(head, lines)}"


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


def _next(desk: Desk, now: datetime) -> str:
    if desk.running:
        return f"[running](/runs/flow-run/{desk.running})"
    if not desk.scheduled:
        return "off"
    when = age(desk.next_run_at, now) if desk.next_run_at and desk.next_run_at > now else "now"
    every = f", every {span(desk.every)}" if desk.every else ""
    return f"{when}{every}"


def _webhooks(ledger: Ledger, desks: Desks, now: datetime, http_url: str) -> str:
    rows = [
        [
            endpoint.connection, f"`{address(http_url, endpoint.endpoint_id)}`", _address_state(endpoint, desks),
            age(endpoint.last_event_at, now),
        ]
        for endpoint in ledger.addresses
    ]  # fmt: skip
    names = {endpoint.connection for endpoint in ledger.addresses}
    without = [
        desk.name
        for desk in desks.connections.values()
        if desk.block_id and can_announce(desk.system)
    ]
    missing = [name for name in without if name not in names]
    run = _run(desks, "webhook-address")
    lines = [table(["Connection", "Address", "State", "Last one"], rows)] if rows else []
    if rows:
        lines.append(
            "Enter the address at the billing system and its secret, as *Webhook secret*, in the "
            f"block; then run {run}. Polling goes on beside it."
        )
    if missing:
        lines.append(
            f"None yet: {', '.join(missing)}. {run} makes one, for points within a second of the "
            "sale."
        )
    return "\n\n".join(["## Webhook addresses", *lines]) if lines else ""


def _run(desks: Desks, deployment: str) -> str:
    deployment_id = desks.others.get(deployment)
    return (
        f"[{deployment}](/deployments/deployment/{deployment_id})"
        if deployment_id
        else f"*{deployment}*"
    )


def _address_state(endpoint: Address, desks: Desks) -> str:
    if endpoint.connection not in desks.connections:
        return "no such connection"
    if endpoint.handshake in ("awaited", "seen"):
        return "awaits the vendor's verification"
    return "in use" if endpoint.has_secret else "needs its secret"


def _absent(desks: Desks) -> str:
    absent = [desk for desk in desks.connections.values() if not desk.block_id]
    if not absent:
        return ""
    links = ", ".join(f"[{desk.title}]({desk.form})" for desk in absent)
    return (
        f"## Not connected yet\n\n{links}. Fill in the form; then run {_run(desks, 'connect')} "
        f"(where a consent is needed) and {_run(desks, 'test-connection')}."
    )


def _legend() -> str:
    return (
        "**Lag**: everything that changed at the billing system longer ago is here. **Backlog**: "
        "announced sales that are not in the ledger yet; parked ones wait for somebody. "
        "**Rejects**: records that could not be used; the reports say why, and they come back by "
        "themselves once their cause is gone."
    )


def _deployment(desk: Desk, text: str) -> str:
    return (
        f"[{text}](/deployments/deployment/{desk.deployment_id})"
        if desk.deployment_id
        else plain(text)
    )


def _block(desk: Desk) -> str:
    return f"[block](/blocks/block/{desk.block_id})"
