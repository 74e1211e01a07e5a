"""Finds what is worth an alert although no run has failed.

That is: API keys and consents that end soon, webhooks that pile up, receivers that accept none of
ours, corrections that were refused, and a share of rejects that comes near its limit.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from connectors.forms import forms
from panel.alerts.events import (
    AlertEvent,
    CorrectionsRefused,
    CredentialsExpiring,
    KeysExpiring,
    ReceiverDown,
    RejectRatio,
    WebhooksBacklog,
)
from settings import settings
from sql import keys, receivers, refused, webhooks
from sql.db import connect
from sql.named_queries import query
from sql.receivers import ReceiverRow
from sql.refused import AccountRefused
from tasks.run_report import refused_in_words

#: How long before its end a key or a consent causes an alert.
NOTICE = timedelta(days=14)
#: Webhooks older than this, or more of them, are a backlog: usually they are points after a second.
BACKLOG_AGE = timedelta(minutes=10)
#: More waiting webhooks of one connection than this are a backlog too.
BACKLOG_EVENTS = 1_000
#: A receiver that accepts nothing for longer is down; shorter ones mend themselves.
DOWN_AGE = timedelta(minutes=10)
#: Documents that an alert about refused corrections names.
NAMED_MAX = 3
#: An alert is due when the share of rejects reaches this much (percent) of the allowed share.
NEAR_PERCENT = 80
#: What to do about a consent that ends soon.
_RENEW_CONSENT = (
    "Switch the schedule of its deployment on again, or run it once by hand: each use "
    "renews it. After that day the flow *connect* must be run anew. A system that is "
    "given up: delete its block."
)
#: What to do about webhooks that wait or are parked.
_CLEAR_BACKLOG = (
    "Parked ones need someone: the report says why; correct that, then `twezah "
    "webhooks replay`. Waiting ones are tried again by themselves every five minutes: "
    "look whether a worker runs and what the last run of `webhooks` says. No sale is "
    "lost: the next poll brings them as well."
)
#: What to do about a receiver that is down.
_WAKE_RECEIVER = (
    "Whoever runs the app looks why; `twezah receivers test {name}` tries it. Messages are tried "
    "again for days. Parked ones: `twezah receivers replay {name}`. A receiver that is given up: "
    "`twezah receivers end {name}`. No point is lost: the app can read the feed."
)
#: What to do about corrections that were refused.
_CORRECT_FIRST = (
    "Do this before other rejects: members can spend these points. Correct the "
    "document at the billing system or the field mapping in the block; the record is "
    "then tried again by itself. All of them: docs/runbook/refused-corrections.md."
)
#: What to do about a share of rejects that comes near its limit.
_CORRECT_REJECTS = (
    "The run's report names the reasons and examples. Correct the documents at the vendor "
    "or the field mapping in the block; the rejected records are tried again by themselves."
)


def due_alerts(dsn: str, now: datetime) -> list[AlertEvent]:
    """Every alert that is due now. Raises psycopg.Error.

    Args:
        dsn: The ledger database.
        now: The time to compare with, UTC.
    """
    with connect(dsn) as connection:
        events: list[AlertEvent] = [*keys_ending(keys.listed(connection), now)]
        renewed = connection.execute(query("alerts", "renewed")).fetchall()
        events += consents_ending(renewed, now)
        events += backlogs(webhooks.backlog(connection), now)
        events += receivers_down(receivers.receivers(connection), now)
        link = f"{settings().ui_url}/artifacts/key/billing-systems"
        events += corrections_refused(refused.open_corrections(connection, limit=NAMED_MAX), link)
        connection.rollback()
    return events


def keys_ending(rows: Iterable[keys.KeyRow], now: datetime) -> Iterator[AlertEvent]:
    """Keys of the HTTP API that end within the notice and have not been replaced."""
    rows = list(rows)
    replaced = {row.replaces for row in rows if row.revoked_at is None}
    for row in rows:
        if row.state(now) != "rotate soon" or row.prefix in replaced:
            continue
        yield KeysExpiring(
            about=row.prefix,
            ends_at=row.expires_at,
            what=(
                f"The API key {row.prefix} ends on {row.expires_at:%Y-%m-%d %H:%M} UTC. From then "
                "on its user is refused."
            ),
            todo=(
                f"Make a new one with `twezah keys rotate {row.prefix}` and give it to whoever "
                "uses the old one; both work for a week."
            ),
        )


def consents_ending(
    renewed: Iterable[tuple[str, str, datetime]], now: datetime
) -> Iterator[AlertEvent]:
    """The consents that their vendor will soon end because nobody used them.

    Args:
        renewed: System, account, and when the consent was last used.
        now: The time to compare with, UTC.
    """
    for system, account, at in renewed:
        form = forms().get(system)
        days = form.consent_idle_days if form else None
        ends_at = at + timedelta(days=days or 0)
        if days is None or not now < ends_at <= now + NOTICE:
            continue
        yield CredentialsExpiring(
            about=f"{system}-{_label(account)}",
            ends_at=ends_at,
            what=(
                f"The consent of {system} was last used on {at:%Y-%m-%d}; unused for {days} days "
                f"it ends, on {ends_at:%Y-%m-%d}."
            ),
            todo=_RENEW_CONSENT,
            link=f"{settings().ui_url}/deployments",
        )


def backlogs(rows: Iterable[webhooks.Backlog], now: datetime) -> Iterator[AlertEvent]:
    """Connections whose webhooks wait for too long, are too many, or are parked."""
    for row in rows:
        old = row.oldest_at is not None and now - row.oldest_at > BACKLOG_AGE
        if not (old or row.waiting > BACKLOG_EVENTS or row.parked):
            continue
        since = f", the oldest since {row.oldest_at:%Y-%m-%d %H:%M} UTC" if row.oldest_at else ""
        yield WebhooksBacklog(
            about=_label(row.connection or row.system), waiting=row.waiting, parked=row.parked,
            oldest_at=row.oldest_at,
            what=(
                f"{row.waiting} webhooks of {row.connection or row.system} wait{since}; "
                f"{row.parked} are parked."
            ),
            todo=_CLEAR_BACKLOG,
            link=f"{settings().ui_url}/artifacts/key/webhooks",
        )  # fmt: skip


def receivers_down(rows: Iterable[ReceiverRow], now: datetime) -> Iterator[AlertEvent]:
    """Receivers that accept nothing for a while, and those with parked messages."""
    for row in rows:
        down = row.failing_since is not None and now - row.failing_since > DOWN_AGE
        old = row.ended_at is None and row.oldest_at is not None and now - row.oldest_at > DOWN_AGE
        if not ((down and row.ended_at is None) or old or row.parked):
            continue
        since = f" since {row.failing_since:%Y-%m-%d %H:%M} UTC" if row.failing_since else ""
        yield ReceiverDown(
            about=row.name, waiting=row.waiting, parked=row.parked,
            failing_since=row.failing_since,
            what=(
                f"{row.name} accepts no webhooks{since}: {row.waiting} wait, {row.parked} are "
                f"parked. {row.end_reason or row.last_error or 'Nobody sends.'}"
            ),
            todo=_WAKE_RECEIVER.format(name=row.name),
            link=f"{settings().ui_url}/artifacts/key/webhooks",
        )  # fmt: skip


def corrections_refused(rows: Iterable[AccountRefused], link: str) -> Iterator[AlertEvent]:
    """Accounts where a correction of a sale was refused, so that the old points stand."""
    for row in rows:
        documents = (
            document.invoice_number or document.external_id for document in row.largest[:NAMED_MAX]
        )
        named = ", ".join(filter(None, documents)) or "a record without an id"
        reason = row.largest[0].reason[:200] if row.largest else ""
        yield CorrectionsRefused(
            about=_label(f"{row.system}-{row.account}"),
            records=row.records,
            points_at_stake=row.points_at_stake,
            what=(
                f"{refused_in_words(row).capitalize()} at {row.system}, {row.account}: the old "
                f"points stand. For example {named[:150]}: {reason}"
            ),
            todo=_CORRECT_FIRST,
            link=link,
        )


def reject_ratio(
    name: str, accepted: int, rejected: int, *, limit_percent: int, fewest: int, link: str
) -> AlertEvent | None:
    """An alert for a run whose share of rejects comes near its limit, or None.

    Above the limit it is None as well: then the run itself has failed, which is an alert of its
    own.

    Args:
        name: The connection.
        accepted: Records of the run that were used.
        rejected: Records of the run that were rejected.
        limit_percent: The largest share of rejects that the block allows.
        fewest: A run with fewer records is not looked at.
        link: Where the alert leads: the report of the run.
    """
    judged = accepted + rejected
    share, near = rejected * 100, limit_percent * NEAR_PERCENT * judged
    if (
        judged < max(fewest, 1)
        or not rejected
        or share * 100 < near
        or share > limit_percent * judged
    ):
        return None
    return RejectRatio(
        about=_label(name), rejected=rejected, judged=judged, limit_percent=limit_percent,
        what=(
            f"{name}: {rejected} of {judged} records could not be used. At more than "
            f"{limit_percent} % the run fails and stores nothing."
        ),
        todo=_CORRECT_REJECTS,
        link=link,
    )  # fmt: skip


def now_utc() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


def _label(text: str) -> str:
    return (
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)[:80]
        or "unnamed"
    )
