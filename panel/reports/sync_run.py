"""The report of a run of a connection, as a page of Prefect's UI.

It answers an operator's questions in the order in which they ask them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connectors.kit.errors import ContractBroken, NeedsOperator, Retriable
from connectors.kit.http.responses import Call
from panel.markdown import cell, plain, table
from panel.reports.reject_advice import fix
from sql.postings import Posted
from sql.refused import AccountRefused
from tasks.award.members import Awarded
from tasks.load.invoices import SightLostError, TooManyRejectsError
from tasks.run_report import RunReport, grouped, percentile, refused_in_words, times_lines

#: Rows of the longest table; the rest is in billing.reject.
REASONS_SHOWN = 20
#: Changes of the vendor's records in the report; all are in billing.vendor_field.
CHANGES_SHOWN = 30
#: Stands below the list of rejects.
_NOTHING_LOST = (
    "Nothing is lost: the records are in `analytics.reject`, their raw pages are kept. They "
    "come back by themselves: a document corrected at the vendor is read again; after a "
    "correction of the field mapping or another setting in the block, and once a missing phone "
    "is entered at the customer, the next run tries the stored records again. At once: `twezah "
    "replay SYSTEM --rejects`. Nothing counts twice."
)


@dataclass(frozen=True)
class Links:
    """Where the report leads."""

    #: Address of the run in Prefect's UI.
    run: str
    #: Address of the connection's block there.
    block: str
    #: The block's name.
    name: str


def summary_line(report: RunReport) -> str:
    """The line above the report, also shown in the list of reports.

    The text of an error is not in it: the report has it, once.
    """
    return (
        f"Failed: {type(report.error).__name__}" if report.error is not None else report.headline()
    )


def markdown(report: RunReport, links: Links, title: str) -> str:
    """The report as Prefect's UI shows it.

    Args:
        report: What the run did.
        links: Where the report leads.
        title: What people call the billing system.
    """
    parts = [
        _outcome(report, links, title),
        refused_corrections(report.corrections),
        _results(report),
        _times(report),
        _rejected(report),
        _notes(report),
        _subscription(report),
        _record_changes(report),
        _fetched(report),
        _cursors(report),
        _calls(report),
        _checks(report),
    ]
    return "\n\n".join(part for part in parts if part)


def who_acts(error: BaseException) -> str:
    """The first words of a failed run's report: who has to do something."""
    if isinstance(error, NeedsOperator | SightLostError):
        return "Failed: someone must correct the connection."
    if isinstance(error, Retriable):
        return "Failed: nothing to correct; the next scheduled run continues."
    if isinstance(error, ContractBroken):
        return "Failed: the vendor's answer was not what was agreed."
    if isinstance(error, TooManyRejectsError):
        return "Failed: the data or the field mapping must be corrected."
    return "Failed."


def _outcome(report: RunReport, links: Links, title: str) -> str:
    job = report.job
    lines = [f"# {title}"]
    if report.error is not None:
        lines += [
            f"**{who_acts(report.error)}** {report.error}",
            (
                f"Block: [{links.name}]({links.block}). Then press **Retry** on [the "
                f"run]({links.run}): it goes on where it stopped."
            ),
        ]
    else:
        outcome = (
            "Dry run: everything was computed and nothing was kept."
            if job.dry_run
            else "Completed."
        )
        lines.append(f"**{outcome}** {report.headline()}.")
    total = sum(report.seconds.values())
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in report.seconds.items())
    lines.append(
        f"Account `{job.account.account}`, started {cell(report.started_at)}, {total:.1f} s "
        f"({steps}). [Run]({links.run}), [block]({links.block}), all [billing "
        "systems](/artifacts/key/billing-systems)."
    )
    if report.extracted is not None and report.extracted.resumed:
        lines.append(
            "It continued an interrupted run: pages stored by that one were not fetched again."
        )
    return "\n\n".join(lines)


def _results(report: RunReport) -> str:
    if report.loaded is None or report.error is not None:
        return ""
    stored, awarded = report.loaded.stored, report.awarded or Awarded()
    posted, for_others = report.posted or Posted(), report.for_others()
    always = [
        ["New sales", stored.new],
        ["Changed sales", stored.changed],
        ["Rejected records", report.loaded.rejected],
        ["Members recomputed", awarded.members],
        ["Ledger entries posted (drafts, voids and unchanged points have none)", posted.entries],
        ["Points posted for this connection's sales", posted.points],
    ]
    if_any = [
        [
            "- of these by runs of other connections, since this one's last run",
            posted.points_by_others,
        ],
        ["Points posted for sales of other connections, counted there", for_others.points],
        ["Seen again in the overlap, unchanged", stored.unchanged],
        ["Different, but older than what is stored: left out", stored.older],
        ["Sales to nobody (no customer and no phone): left out", report.loaded.walk_ins],
        ["With a time of change in the future", report.loaded.ahead],
        ["Deleted at the vendor, now void", stored.voided],
        ["Earlier rejects tried again from their stored pages", report.loaded.tried_again],
        ["Earlier rejects now accepted", report.loaded.resolved],
        ["Sales without a rate in the program", awarded.rejected],
        ["Told by another system, which counts: left out", awarded.left_out],
        ["Members that another run is working on", awarded.waiting],
        ["Points taken because they were not used in time", -awarded.expired],
    ]
    of_events = [
        [f"Points posted for the event {name} of members ({entries} entries)",
         awarded.event_points[name]]
        for name, entries in sorted(awarded.event_entries.items())
    ]  # fmt: skip
    rows = [*always, *of_events, *(row for row in if_any if row[1])]
    return f"## What came of it\n\n{table(['', 'Count'], rows)}"


def _times(report: RunReport) -> str:
    """The section on documents whose time of change is wrong or old; "" where there are none."""
    lines = times_lines(report.loaded) if report.loaded is not None else []
    return "## Times of change\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _fetched(report: RunReport) -> str:
    if not report.pages:
        return ""
    rows = [
        [name, pages, records, f"{size / 1024:.0f} KB"]
        for name, (pages, records, size) in sorted(report.pages.items())
    ]
    return f"## Fetched\n\n{table(['List', 'Pages', 'Records', 'Received'], rows)}"


def _rejected(report: RunReport) -> str:
    reasons: dict[str, int] = dict(report.loaded.reasons) if report.loaded else {}
    combined = {**reasons, **(report.awarded.reasons if report.awarded else {})}
    if not combined:
        return ""
    examples = report.loaded.examples if report.loaded else {}
    ordered = sorted(combined.items(), key=lambda item: -item[1])
    values = report.loaded.values if report.loaded else {}
    rows = [
        [
            count,
            reason,
            ", ".join(values.get(reason, [])) or None,
            ", ".join(examples.get(reason, [])),
        ]
        for reason, count in ordered[:REASONS_SHOWN]
    ]
    head = ["Records", "Reason", "Value begins with", "For example"]
    if not any(row[2] for row in rows):
        head, rows = [*head[:2], *head[3:]], [[*row[:2], *row[3:]] for row in rows]
    more = (
        f"\n\n{len(ordered) - REASONS_SHOWN} more reasons." if len(ordered) > REASONS_SHOWN else ""
    )
    section = f"## Rejected, by reason\n\n{table(head, rows)}{more}\n\n{_to_do(combined)}"
    if report.error is not None:
        return section
    return f"{section}\n\n{_NOTHING_LOST}"


def refused_corrections(corrections: Sequence[AccountRefused], *, heading: str = "##") -> str:
    """The section of a report, "" where there is none."""
    parts = [_refused_account(account) for account in corrections]
    return f"{heading} Corrections that were refused\n\n" + "\n\n".join(parts) if parts else ""


def _refused_account(corrections: AccountRefused) -> str:
    rows = [
        [
            document.invoice_number or document.external_id,
            document.points_at_stake,
            document.reason,
            fix(document.reason.split("; ")[0]),
        ]
        for document in corrections.largest
    ]
    more = corrections.records - len(rows)
    tail = f"\n\n{grouped(more)} more are in `analytics.refused_correction`." if more > 0 else ""
    return (
        f"**{corrections.system}, {corrections.account}: {refused_in_words(corrections)}.** Each "
        "would have changed a sale that is in the ledger, and could not be used: **the old points "
        "stand**. Correct the document or the mapping; it is then tried again by itself. Until "
        "then somebody should look at these members first "
        "(docs/runbook/refused-corrections.md).\n\n"
        + table(["Document", "Points that stand", "Why it was refused", "What to do"], rows)
        + tail
    )


def _notes(report: RunReport) -> str:
    """The section on values that were read otherwise than they are written.

    They are also in `analytics.sale_note`.
    """
    if report.loaded is None or not report.loaded.notes:
        return ""
    rows = [
        [count, note, ", ".join(report.loaded.note_examples.get(note, []))]
        for note, count in report.loaded.notes.most_common()
    ]
    return f"## Read with a note\n\n{table(['Records', 'Note', 'For example'], rows)}"


def _to_do(reasons: dict[str, int]) -> str:
    """What to do about the rejects, and for how many records each.

    It stands below the table, because tables do not wrap.
    """
    counts: Counter[str] = Counter()
    for reason, count in reasons.items():
        counts[fix(reason)] += count
    lines = [f"- {grouped(count)} records: {text}." for text, count in counts.most_common()]
    return "**What to do**\n\n" + "\n".join(lines)


def _subscription(report: RunReport) -> str:
    """The section on webhooks that are not subscribed as they should be; "" where all is well."""
    return f"## Webhooks\n\n{plain(report.subscription)}" if report.subscription else ""


def _record_changes(report: RunReport) -> str:
    """The section on what is new about the vendor's records; each change is reported once."""
    changes = report.extracted.changes if report.extracted else []
    if not changes:
        return ""
    lines = [f"- {change.stream}: {cell(change.to_text())}" for change in changes[:CHANGES_SHOWN]]
    if len(changes) > CHANGES_SHOWN:
        lines.append(f"- {len(changes) - CHANGES_SHOWN} more, in `billing.vendor_field`")
    return "## The vendor's records have changed\n\n" + "\n".join(lines)


def _cursors(report: RunReport) -> str:
    if report.extracted is None:
        return ""
    moved = report.loaded.cursors if report.loaded else {}
    rows = []
    for name, state in report.extracted.streams.items():
        since = datetime.fromisoformat(state["since"]) if state["since"] else "the beginning"
        rows.append(
            [name, since, moved.get(name, "not moved"), "yes" if state["complete"] else "no"]
        )
    head = ["List", "Read changes since", "Cursor now", "Read to its end"]
    ahead_seconds = max(
        (state.get("clock_ahead_seconds", 0) for state in report.extracted.streams.values()),
        default=0,
    )
    return f"## Cursor\n\n{table(head, rows)}{clock_advice(ahead_seconds)}"


def clock_advice(ahead_seconds: int) -> str:
    """What to do where our clock is ahead of the vendor's; "" where it is not."""
    if not ahead_seconds:
        return ""
    return (
        f"\n\n**This machine's clock is {grouped(ahead_seconds)} s ahead of the vendor's.** "
        "Nothing is missed: the cursor follows the vendor's clock. Whoever administers this "
        "machine should switch on time synchronisation (NTP): tokens and signatures depend on it."
    )


def _calls(report: RunReport) -> str:
    by_operation: dict[str, list[Call]] = defaultdict(list)
    for call in report.job.calls:
        by_operation[call.operation].append(call)
    if not by_operation:
        return ""
    rows = []
    for operation, calls in by_operation.items():
        times = [call.elapsed_ms for call in calls]
        failed = sum(1 for call in calls if call.status == 0 or call.status >= 400)
        throttled = sum(call.throttled for call in calls)
        rows.append(
            [
                operation,
                len(calls),
                percentile(times, 50),
                percentile(times, 95),
                max(times),
                failed,
                throttled,
            ]
        )
    head = ["API call", "Calls", "Median ms", "p95 ms", "Slowest ms", "Failed", "Throttled"]
    return f"## API response times\n\n{table(head, rows)}"


def _checks(report: RunReport) -> str:
    if report.loaded is None or not report.loaded.expectations:
        return ""
    results = sorted(report.loaded.expectations.values(), key=lambda result: -result.failed)
    failed = [
        [result.expectation, result.checked, result.failed] for result in results if result.failed
    ]
    line = (
        f"{len(results)} expectations over {grouped(max(result.checked for result in results))} "
        f"records: {len(failed)} failed."
    )
    detail = f"\n\n{table(['Expectation', 'Checked', 'Failed'], failed)}" if failed else ""
    return f"## Validation (Great Expectations)\n\n{line}{detail}"
