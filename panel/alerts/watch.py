"""Looks for what nobody has complained about yet: keys and consents that end, webhooks that pile up, rejects that grow."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from panel.alerts.events import (
    AlertEvent,
    CorrectionsRefused,
    CredentialsExpiring,
    KeysExpiring,
    RejectRatio,
    WebhooksBacklog,
)
from settings import settings
from sql import keys, refused, webhooks
from sql.db import connect
from sql.named_queries import query
from sql.refused import AccountRefused
from tasks.run_report import refused_in_words

#: How long before its end a key or a consent is spoken of.
NOTICE = timedelta(days=14)
#: Days after which a vendor forgets a consent that was not used; each use begins them anew.
UNUSED_DAYS = {"quickbooks": 100, "xero": 60}
#: Webhooks older than this, or more of them, are a backlog: usually they are points after a second.
BACKLOG_AGE = timedelta(minutes=10)
BACKLOG_EVENTS = 1_000
#: Documents that an alert about refused corrections names.
NAMED_MAX = 3
#: Of the allowed share of rejects, how much (percent) is worth a word.
NEAR_PERCENT = 80


def look(dsn: str, now: datetime) -> list[AlertEvent]:
    """Everything that is worth an alert now. Raises psycopg.Error."""
    with connect(dsn) as connection:
        found: list[AlertEvent] = [*keys_ending(keys.listed(connection), now)]
        renewed = connection.execute(query("alerts", "renewed")).fetchall()
        found += consents_ending(renewed, now)
        found += backlogs(webhooks.backlog(connection), now)
        link = f"{settings().ui_url}/artifacts/key/billing-systems"
        found += corrections_refused(refused.open_corrections(connection, limit=NAMED_MAX), link)
        connection.rollback()
    return found


def keys_ending(rows: Iterable[keys.KeyRow], now: datetime) -> Iterator[AlertEvent]:
    """Keys of the HTTP API that end within the notice and have not been replaced."""
    rows = list(rows)
    replaced = {row.replaces for row in rows if row.revoked_at is None}
    for row in rows:
        if row.state(now) != "rotate soon" or row.prefix in replaced:
            continue
        yield KeysExpiring(
            about=row.prefix, ends_at=row.expires_at,
            what=f"The API key {row.prefix} ends on {row.expires_at:%Y-%m-%d %H:%M} UTC. From then on its user is refused.",
            todo=f"Make a new one with `twezah keys rotate {row.prefix}` and give it to whoever uses the old one; both work for a week.",
        )  # fmt: skip


def consents_ending(
    renewed: Iterable[tuple[str, str, datetime]], now: datetime
) -> Iterator[AlertEvent]:
    """Consents of (system, account, last renewed) that their vendor forgets within the notice because nobody used them."""
    for system, account, at in renewed:
        days = UNUSED_DAYS.get(system)
        ends_at = at + timedelta(days=days or 0)
        if days is None or not now < ends_at <= now + NOTICE:
            continue
        yield CredentialsExpiring(
            about=f"{system}-{_label(account)}", ends_at=ends_at,
            what=f"The consent of {system} was last used on {at:%Y-%m-%d}; unused for {days} days it ends, on {ends_at:%Y-%m-%d}.",
            todo="Switch the schedule of its deployment on again, or run it once by hand: each use renews it. After that day the flow "
            "*connect* must be run anew. A system that is given up: delete its block.",
            link=f"{settings().ui_url}/deployments",
        )  # fmt: skip


def backlogs(rows: Iterable[webhooks.Backlog], now: datetime) -> Iterator[AlertEvent]:
    """Connections whose webhooks wait for too long, are too many, or are parked."""
    for row in rows:
        old = row.oldest_at is not None and now - row.oldest_at > BACKLOG_AGE
        if not (old or row.waiting > BACKLOG_EVENTS or row.parked):
            continue
        since = f", the oldest since {row.oldest_at:%Y-%m-%d %H:%M} UTC" if row.oldest_at else ""
        yield WebhooksBacklog(
            about=_label(row.connection or row.system), waiting=row.waiting, parked=row.parked, oldest_at=row.oldest_at,
            what=f"{row.waiting} webhooks of {row.connection or row.system} wait{since}; {row.parked} are parked.",
            todo="Parked ones need someone: the report says why; correct that, then `twezah webhooks replay`. Waiting ones are tried again "
            "by themselves every five minutes: look whether a worker runs and what the last run of `webhooks` says. No sale is lost: "
            "the next poll brings them as well.",
            link=f"{settings().ui_url}/artifacts/key/webhooks",
        )  # fmt: skip


def corrections_refused(rows: Iterable[AccountRefused], link: str) -> Iterator[AlertEvent]:
    """Accounts where a correction of a sale was refused, so that the old points stand."""
    for row in rows:
        documents = (one.invoice_number or one.external_id for one in row.largest[:NAMED_MAX])
        named = ", ".join(filter(None, documents)) or "a record without an id"
        reason = row.largest[0].reason[:200] if row.largest else ""
        yield CorrectionsRefused(
            about=_label(f"{row.system}-{row.account}"), records=row.records, points_at_stake=row.points_at_stake,
            what=f"{refused_in_words(row).capitalize()} at {row.system}, {row.account}: the old points stand. For example {named[:150]}: {reason}",
            todo="Do this before other rejects: members can spend these points. Correct the document at the billing system or the field "
            "mapping in the block; the record is then tried again by itself. All of them: docs/runbook/refused-corrections.md.",
            link=link,
        )  # fmt: skip


def reject_ratio(
    name: str, accepted: int, rejected: int, *, limit_percent: int, fewest: int, link: str
) -> AlertEvent | None:
    """A run whose share of rejects comes near the limit; None below, and above it, where the run itself has failed."""
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
        what=f"{name}: {rejected} of {judged} records could not be used. At more than {limit_percent} % the run fails and stores nothing.",
        todo="The run's report names the reasons and examples. Correct the documents at the vendor or the field mapping in the block; "
        "the rejected records are tried again by themselves.",
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
