"""The page "Sync status": runs, errors, response times, records and points over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from panel.markdown import clock, plain, share, shortened, table
from sql.panel_pages import Failure, Slot, Totals, WebhookTotals
from tasks.run_report import grouped

TITLE: Final = "Sync status"
_ERROR_MAX: Final = 180
_NO_RUN: Final = "no run"


@dataclass(frozen=True)
class Period:
    """A time up to now in equal slots."""

    title: str
    since: datetime
    step: timedelta
    label: str
    totals: Sequence[Totals]
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
    found: Sequence[Period],
    failures: Sequence[Failure],
    webhooks: Sequence[WebhookTotals],
    now: datetime,
    links: str,
) -> str:
    """The page as Prefect's UI shows it."""
    parts = [
        f"# {TITLE}",
        f"**{headline(found[0])}** As of {clock(now)}; renewed every ten minutes. Times are UTC.",
        links,
        *[part for period in found for part in _period(period, now)],
        _failures(failures),
        _webhooks(webhooks),
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


def knows_nothing(said: str | None) -> bool:
    """Whether a page with that headline (None: there is no page) tells of no run."""
    return said is None or said.endswith(f"{_NO_RUN}.")


def _period(period: Period, now: datetime) -> list[str]:
    if not period.totals:
        return [f"## {period.title}", "No run in this time."]
    # Not at the top: runs of connections import this module and draw nothing.
    from panel.pages import charts

    labels = _labels(period, now)
    at = {label: position for position, (label, _) in enumerate(labels)}
    texts = [text for _, text in labels]

    def by_system(value: Callable[[Slot], int]) -> dict[str, list[int]]:
        # Every system in every chart: its colour is the same everywhere.
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
    """Two tables: the page is narrow, and digits that wrap are not read."""
    named = [(one.connection, one) for one in totals[1:]]
    total = [("all", totals[0])] if len(named) > 1 else []

    def rows(cells: Callable[[Totals], list[str]]) -> list[list[str]]:
        # (A space within a number is where it would be broken.)
        found = [
            [name, *(cell.replace(" ", "\u00a0") for cell in cells(one))]
            for name, one in [*named, *total]
        ]
        return [
            [f"**{cell}**" for cell in row] if n >= len(named) else row
            for n, row in enumerate(found)
        ]

    runs = table(
        ["Connection", "Runs", "Success", "Errors", "Calls", "Throttled", "p50", "p95"], rows(_runs)
    )
    records = table(["Connection", "Records", "Rejected", "Sales", "Points"], rows(_records))
    return f"{runs}\n\n{records}"


def _runs(one: Totals) -> list[str]:
    runs = one.succeeded + one.failed + one.interrupted
    return [
        grouped(runs), share(one.succeeded, runs), share(one.failed + one.interrupted, runs),
        grouped(one.calls), grouped(one.throttled),
        _ms(one.response_ms_p50), _ms(one.response_ms_p95),
    ]  # fmt: skip


def _records(one: Totals) -> list[str]:
    return [
        *map(grouped, (one.records, one.rejected, one.new_sales + one.changed_sales)),
        grouped(one.points, sign=True),
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
            f"{one.at:%m-%d %H:%M:%S}",
            one.connection,
            f"[{one.outcome}](/runs/flow-run/{one.run_id})",
            plain(shortened(one.error, _ERROR_MAX)),
        ]
        for one in failures
    ]
    return (
        "## Latest failures\n\n" + table(["When", "Connection", "Run", "Why"], rows) if rows else ""
    )


def _webhooks(found: Sequence[WebhookTotals]) -> str:
    rows = [
        [
            one.connection,
            one.received,
            one.done,
            one.parked,
            _seconds(one.seconds_p50),
            _seconds(one.seconds_p95),
        ]
        for one in found
    ]
    head = ["Connection", "Received", "In the ledger", "Parked", "Half within", "95 % within"]
    return "## Webhooks, last 24 hours\n\n" + table(head, rows) if rows else ""


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _legend() -> str:
    return (
        "**Errors**: runs that failed, or whose process ended before they did. **p50, p95**: half "
        "of the calls to the billing system, and 95 % of them, were answered within. **Records**: "
        "read from lists, the overlap with the run before included. All of it, and older: "
        "`analytics.sync_attempt`."
    )
