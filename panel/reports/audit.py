"""The page of the audit log in Prefect's UI."""

from collections.abc import Sequence

from panel.markdown import plain, shortened, table
from sql.audit import Entry, Pending, Verdict
from tasks.run_report import grouped

#: Failures that the page shows in full.
FAILURES_SHOWN = 10
_WHO_MAX, _SUBJECT_MAX, _ERROR_MAX = 20, 24, 200

_LINKS = (
    "[Billing systems](/artifacts/key/billing-systems) · [Sync status](/artifacts/key/sync-status) "
    "· **Audit log** · [Deployments](/deployments) · [Blocks](/blocks)"
)


def markdown(
    verdict: Verdict,
    entries: Sequence[Entry],
    totals: Sequence[tuple[str, str, int, int, int]],
    pending: Sequence[Pending] = (),
) -> str:
    """The page of the audit log.

    Args:
        verdict: Whether the chain of entries is whole.
        entries: The newest entries.
        totals: Operation, status, entries, records and points of the last day.
        pending: Synchronisations that are under way; each is an entry once it has ended.
    """
    parts = [f"# Audit log\n\n{_LINKS}", _state(verdict)]
    if pending:
        rows_pending = [(of.subject, of.started_at, "pending") for of in pending]
        parts.append(
            "## Under way\n\n" + table(("Synchronisation", "Since", "Status"), rows_pending)
        )
    if totals:
        rows = [(operation, status, *numbers) for operation, status, *numbers in totals]
        parts.append(
            "## Last 24 hours\n\n"
            + table(("Operation", "Status", "Entries", "Records", "Points"), rows)
        )
    failed = [entry for entry in entries if entry.error]
    if failed:
        parts.append(
            "## What failed\n\n" + "\n".join(_failure(entry) for entry in failed[:FAILURES_SHOWN])
        )
    rows = [
        (
            entry.entry_no,
            f"{entry.at:%m-%d %H:%M:%S}",
            shortened(entry.actor, _WHO_MAX),
            _what(entry),
            _result(entry),
        )
        for entry in entries
    ]
    header = ("No", "When (UTC)", "Who", "What", "Result")
    parts.append(
        f"## Newest entries\n\n{table(header, rows)}" if rows else "There is no such entry."
    )
    parts.append(
        "More, and filters: `twezah audit list`, `GET /api/audit`, `analytics.audit` in SQL."
    )
    return "\n\n".join(parts)


def _what(entry: Entry) -> str:
    return f"{entry.operation}: {shortened(entry.subject, _SUBJECT_MAX)}"


def _failure(entry: Entry) -> str:
    """One line of a list, because a cell of a table hides what does not fit."""
    return (
        f"- {entry.entry_no}, {plain(_what(entry))}: "
        f"{plain(shortened(entry.error or '', _ERROR_MAX))}"
    )


def _result(entry: Entry) -> str:
    """The outcome in few words, because the page is narrow."""
    if entry.points:
        came = f"{grouped(entry.points, sign=True)} points"
    else:
        came = f"{grouped(entry.records)} records" if entry.records else ""
    return (
        came
        if came and entry.status == "success"
        else ", ".join(filter(None, (entry.status, came)))
    )


def _state(verdict: Verdict) -> str:
    if verdict.ok:
        return (
            f"{verdict.to_text()}. Note the head elsewhere: `twezah audit verify --head ...` "
            "checks the log against it later."
        )
    return (
        f"**{verdict.to_text()}.** Somebody changed the log itself. Do not repair it: keep a copy "
        "of the database, and compare with the last backup in which `twezah audit verify` succeeds."
    )
