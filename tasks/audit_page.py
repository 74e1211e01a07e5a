"""The page of the audit log in Prefect's UI."""

from collections.abc import Sequence

from sql.audit import Entry, Verdict
from tasks.report import table

_LINKS = (
    "[Billing systems](/artifacts/key/billing-systems) · [Sync status](/artifacts/key/sync-status) · "
    "**Audit log** · [Deployments](/deployments) · [Blocks](/blocks)"
)


def markdown(verdict: Verdict, entries: Sequence[Entry], totals: Sequence[tuple[str, str, int, int, int]]) -> str:
    """State of the chain, the last day in numbers, and the newest entries."""
    parts = [f"# Audit log\n\n{_LINKS}", _state(verdict)]
    if totals:
        rows = [(operation, status, *numbers) for operation, status, *numbers in totals]
        parts.append("## Last 24 hours\n\n" + table(("Operation", "Status", "Entries", "Records", "Points"), rows))
    rows = [
        (
            entry.entry_no,
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            entry.actor,
            f"{entry.operation}: {entry.subject}",
            _result(entry),
        )
        for entry in entries
    ]
    header = ("No", "When (UTC)", "Who", "What", "Result")
    parts.append(f"## Newest entries\n\n{table(header, rows)}" if rows else "There is no such entry.")
    parts.append("More, and filters: `twezah audit list`, `GET /api/audit`, `analytics.audit` in SQL.")
    return "\n\n".join(parts)


def _result(entry: Entry) -> str:
    """Status, records, points and error in one column: the page is narrow, and what is not seen is not read."""
    said = [entry.status]
    if entry.records is not None:
        said.append(f"{entry.records} records")
    if entry.points is not None:
        said.append(f"{entry.points:+d} points")
    return "; ".join([*said, *([entry.error[:200]] if entry.error else [])])


def _state(verdict: Verdict) -> str:
    if verdict.ok:
        return f"{verdict.to_text()}. Note the head elsewhere: `twezah audit verify --head ...` checks the log against it later."
    return (
        f"**{verdict.to_text()}.** Somebody changed the log itself. Do not repair it: keep a copy of the database, and compare with the "
        "last backup in which `twezah audit verify` succeeds."
    )
