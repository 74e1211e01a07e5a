"""The report of a run that awarded webhooks, as a page of Prefect's UI.

It shows what came in, how fast it became points, and what waits for somebody.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from panel.markdown import table
from panel.reports.sync_run import refused_corrections
from sql.refused import AccountRefused
from sql.webhook_documents import EventCount, Parked
from sql.webhooks import Backlog
from tasks.award.members import beside_sales
from tasks.run_report import grouped
from tasks.webhooks.counts import Counts

#: Rows of the longest table; the rest is in analytics.webhook.
_REASONS_SHOWN = 20


def headline(counts: Mapping[str, Counts]) -> str:
    """One line: the message of the run's final state."""
    total = {
        name: sum(getattr(count, name) for count in counts.values())
        for name in ("done", "failed", "parked", "new", "entries", "points")
    }
    if not any(count.deliveries for count in counts.values()):
        return "No webhooks were waiting"
    text = f"{total['done']} webhooks done"
    text += f", {total['failed']} to be tried again" if total["failed"] else ""
    text += f", {total['parked']} parked" if total["parked"] else ""
    by_event, expired_points = _of_no_sale(counts)
    return (
        f"{text}; {total['new']} new sales, {total['entries']} entries, "
        f"{grouped(total['points'], sign=True)} points{beside_sales(by_event, expired_points)}"
    )


def markdown(
    counts: Mapping[str, Counts],
    events: Sequence[EventCount],
    backlog: Sequence[Backlog],
    parked: Sequence[Parked],
    corrections: Sequence[AccountRefused] = (),
    told: str = "",
) -> str:
    """The report as Prefect's UI shows it.

    Args:
        counts: What the run did, by connection.
        events: How many webhooks are in which state, and how fast they got there.
        backlog: Webhooks that are not in the ledger yet, by connection.
        parked: Webhooks that wait for a person, by reason.
        corrections: Corrections that were refused, by account.
        told: The section about the loyalty app's receivers.
    """
    parts = [
        f"**{headline(counts)}**",
        refused_corrections(corrections, heading="###"),
        _connections(counts),
        _beside_sales(counts),
        _speed(events),
        _waiting(backlog),
        told,
        _reasons(counts),
        _notes(counts),
        _parked(parked),
    ]
    return "\n\n".join(part for part in parts if part)


def _connections(counts: Mapping[str, Counts]) -> str:
    rows = [
        (
            name,
            count.deliveries,
            count.done,
            count.failed,
            count.parked,
            count.new,
            count.changed,
            count.rejected,
            count.entries,
            count.points,
        )
        for name, count in sorted(counts.items())
    ]
    header = (
        "Connection",
        "Webhooks",
        "Done",
        "Tried again",
        "Parked",
        "New sales",
        "Changed",
        "Rejected",
        "Entries",
        "Points",
    )
    return "### What came in\n\n" + table(header, rows) if rows else ""


def _of_no_sale(counts: Mapping[str, Counts]) -> tuple[Counter[str], int]:
    """Points of members' events by name, and points that expired, of all connections."""
    by_event: Counter[str] = Counter()
    for count in counts.values():
        by_event.update(count.points_by_event)
    return by_event, sum(count.expired_points for count in counts.values())


def _beside_sales(counts: Mapping[str, Counts]) -> str:
    by_event, expired_points = _of_no_sale(counts)
    rows = [[f"the event {name} of members", by_event[name]] for name in sorted(by_event)]
    if expired_points:
        rows.append(["not used in time", -expired_points])
    return "### Points of no sale\n\n" + table(("For", "Points"), rows) if rows else ""


def _speed(events: Sequence[EventCount]) -> str:
    rows = [
        (event.state, event.events, _seconds(event.seconds_p50), _seconds(event.seconds_p99))
        for event in events
    ]
    header = ("State", "Webhooks", "Half within", "99 % within")
    return "### From arrival to the ledger\n\n" + table(header, rows) if rows else ""


def _waiting(backlog: Sequence[Backlog]) -> str:
    rows = [(row.connection, row.waiting, row.parked, row.oldest_at) for row in backlog]
    return (
        "### Not in the ledger yet\n\n" + table(("Connection", "Waiting", "Parked", "Oldest"), rows)
        if rows
        else ""
    )


def _reasons(counts: Mapping[str, Counts]) -> str:
    rows = [
        (name, count, reason)
        for name, total in sorted(counts.items())
        for reason, count in total.reasons.most_common(5)
    ]
    header = ("Connection", "Sales", "Why they were rejected")
    return "### Rejected\n\n" + table(header, rows[:_REASONS_SHOWN]) if rows else ""


def _notes(counts: Mapping[str, Counts]) -> str:
    rows = [
        (name, count, note)
        for name, total in sorted(counts.items())
        for note, count in total.notes.most_common(5)
    ]
    return "### Read with a note\n\n" + table(("Connection", "Sales", "Note"), rows) if rows else ""


def _parked(parked: Sequence[Parked]) -> str:
    if not parked:
        return ""
    rows = [
        (row.connection, row.events, row.oldest_at, row.latest_no, row.reason) for row in parked
    ]
    advice = (
        "Correct the cause, then `twezah webhooks replay` tries them again: all, or `--connection "
        "NAME`, or `--event NUMBER`."
    )
    header = ("Connection", "Webhooks", "Oldest", "Latest number", "Why")
    return f"### Parked\n\n{advice}\n\n" + table(header, rows)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
