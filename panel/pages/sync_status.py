"""The page "Sync status": runs, errors, response times, records and points over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from panel.markdown import clock, plain, share, shortened, table
from sql.panel_pages import Failure, Slot, Totals, WebhookTotals
from tasks.run_report import grouped

TITLE: Final = "Sync status"
#: Characters shown of an error, because the table is narrow.
_ERROR_MAX: Final = 180
#: How the headline of a page ends that has no run to show.
_NO_RUN: Final = "no run"


@dataclass(frozen=True)
class Period:
    """A time that ends now, divided into equal slots."""

    #: E.g. "Last 24 hours".
    title: str
    #: When the first slot begins, UTC.
    since: datetime
    #: Length of a slot.
    step: timedelta
    #: How `strftime` names a slot on the axis of a chart.
    label: str
    #: First of all connections together, then of each.
    totals: Sequence[Totals]
    #: Numbers per slot and system.
    slots: Sequence[Slot]


def periods(now: datetime) -> list[tuple[str, datetime, timedelta, str]]:
    """Title, beginning, step and label format of each period, in UTC.

    They are the last day by the hour and the last month by the day.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return [
        ("Last 24 hours", hour - timedelta(hours=23), timedelta(hours=1), "%H:%M"),
        ("Last 30 days", day - timedelta(days=29), timedelta(days=1), "%d %b"),
    ]


def markdown(
    periods_shown: Sequence[Period],
    failures: Sequence[Failure],
    webhooks: Sequence[WebhookTotals],
    now: datetime,
    links: str,
    told: str = "",
) -> str:
    """The page as Prefect's UI shows it.

    Args:
        periods_shown: The periods, the headline's first.
        failures: The latest failed runs.
        webhooks: How fast webhooks became points in the last day, by connection.
        now: The time of the page, UTC.
        links: The line with links to the other pages.
        told: The section about the loyalty app's receivers.
    """
    parts = [
        f"# {TITLE}",
        (
            f"**{headline(periods_shown[0])}** As of {clock(now)}; renewed every ten minutes. "
            "Times are UTC."
        ),
        links,
        *[part for period in periods_shown for part in _period(period, now)],
        _failures(failures),
        _webhooks(webhooks),
        told,
        _legend(),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(period: Period) -> str:
    """One line about a period."""
    if not period.totals:
        return f"{period.title}: {_NO_RUN}."
    total = period.totals[0]
    runs = total.succeeded + total.failed + total.interrupted
    return (
        f"{period.title}: {share(total.succeeded, runs)} of {grouped(runs)} runs succeeded; "
        f"{_responses(total)}{grouped(total.new_sales)} new and {grouped(total.changed_sales)} "
        f"changed sales; {grouped(total.points, sign=True)} points."
    )


def knows_nothing(headline_shown: str | None) -> bool:
    """Whether a page with that headline shows no run yet; None: there is no page."""
    return headline_shown is None or headline_shown.endswith(f"{_NO_RUN}.")


def _period(period: Period, now: datetime) -> list[str]:
    if not period.totals:
        return [f"## {period.title}", "No run in this time."]
    # Imported here for start-up time: runs of connections import this module and draw nothing.
    from panel.pages import charts

    labels = _labels(period, now)
    at = {label: position for position, (label, _) in enumerate(labels)}
    texts = [text for _, text in labels]

    def by_system(value: Callable[[Slot], int]) -> dict[str, list[int]]:
        # Every system is in every chart, so that its colour is the same everywhere.
        values = {
            name: [0] * len(labels)
            for name in sorted({slot.system or "?" for slot in period.slots})
        }
        for slot in period.slots:
            if slot.at in at:
                values[slot.system or "?"][at[slot.at]] += value(slot)
        return values if any(map(any, values.values())) else {}

    runs = {"succeeded": [0] * len(labels), "failed or interrupted": [0] * len(labels)}
    response: dict[str, list[int | None]] = {
        "half within": [None] * len(labels),
        "95 % within": [None] * len(labels),
    }
    for slot in period.slots:
        if slot.at not in at:
            continue
        runs["succeeded"][at[slot.at]] += slot.succeeded
        runs["failed or interrupted"][at[slot.at]] += slot.failed
        response["half within"][at[slot.at]] = slot.response_ms_p50
        response["95 % within"][at[slot.at]] = slot.response_ms_p95
    return [
        f"## {period.title}",
        _table(period.totals),
        charts.bars("Runs", texts, runs, (charts.GOOD, charts.BAD)),
        charts.lines(
            "Response time of the billing systems, milliseconds",
            texts,
            response if any(map(any, response.values())) else {},
            ("#4c8dff", "#f2a33c"),
        ),
        charts.bars("New and changed sales", texts, by_system(lambda slot: slot.sales)),
        charts.bars("Points posted", texts, by_system(lambda slot: slot.points)),
    ]


def _labels(period: Period, now: datetime) -> list[tuple[datetime, str]]:
    count = (now - period.since) // period.step + 1
    moments = [period.since + position * period.step for position in range(count)]
    return [(moment, moment.strftime(period.label)) for moment in moments]


def _table(totals: Sequence[Totals]) -> str:
    """Two tables instead of one, because the page is narrow and numbers must not wrap."""
    named = [(row.connection, row) for row in totals[1:]]
    total = [("all", totals[0])] if len(named) > 1 else []

    def rows(cells: Callable[[Totals], list[str]]) -> list[list[str]]:
        # The browser would break a number at a space within it.
        lines = [
            [name, *(cell.replace(" ", "\u00a0") for cell in cells(row))]
            for name, row in [*named, *total]
        ]
        return [
            [f"**{cell}**" for cell in row] if n >= len(named) else row
            for n, row in enumerate(lines)
        ]

    runs = table(
        ["Connection", "Runs", "Success", "Errors", "Calls", "Throttled", "p50", "p95"], rows(_runs)
    )
    records = table(["Connection", "Records", "Rejected", "Sales", "Points"], rows(_records))
    return f"{runs}\n\n{records}"


def _runs(row: Totals) -> list[str]:
    runs = row.succeeded + row.failed + row.interrupted
    return [
        grouped(runs), share(row.succeeded, runs), share(row.failed + row.interrupted, runs),
        grouped(row.calls), grouped(row.throttled),
        _ms(row.response_ms_p50), _ms(row.response_ms_p95),
    ]  # fmt: skip


def _records(row: Totals) -> list[str]:
    return [
        *map(grouped, (row.records, row.rejected, row.new_sales + row.changed_sales)),
        grouped(row.points, sign=True),
    ]


def _responses(total: Totals) -> str:
    p50, p95 = total.response_ms_p50, total.response_ms_p95
    return (
        f"95 % of the calls were answered within {_ms(p95)}, half within {_ms(p50)}; "
        if p50 is not None
        else ""
    )


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{grouped(value)} ms"


def _failures(failures: Sequence[Failure]) -> str:
    rows = [
        [
            f"{failure.at:%m-%d %H:%M:%S}",
            failure.connection,
            f"[{failure.outcome}](/runs/flow-run/{failure.run_id})",
            plain(shortened(failure.error, _ERROR_MAX)),
        ]
        for failure in failures
    ]
    return (
        "## Latest failures\n\n" + table(["When", "Connection", "Run", "Why"], rows) if rows else ""
    )


def _webhooks(totals: Sequence[WebhookTotals]) -> str:
    rows = [
        [
            row.connection,
            row.received,
            row.done,
            row.parked,
            _seconds(row.seconds_p50),
            _seconds(row.seconds_p95),
        ]
        for row in totals
    ]
    head = ["Connection", "Received", "In the ledger", "Parked", "Half within", "95 % within"]
    return "## Webhooks, last 24 hours\n\n" + table(head, rows) if rows else ""


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _legend() -> str:
    return (
        "**Errors**: runs that failed, or whose process ended before they did. **p50, p95**: half "
        "of the calls to the billing system, and 95 % of them, were answered within. **Records**: "
        "read from lists, the overlap with the run before included. **Sales**: new and changed "
        "ones that were read; those that webhooks brought are below. **Points**: posted for the "
        "connection's sales, by whichever run or webhook. All of it, and older: "
        "`analytics.sync_attempt`, `analytics.posting`."
    )
