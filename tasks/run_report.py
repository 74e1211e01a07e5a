"""What a run did, as values and in single lines: for its state, its log and its report.

In: what each step returns. Out: the counts of `billing.sync_run`, and sentences for the log. How a
report looks in Prefect's UI is `panel.reports.sync_run`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sql.postings import Posted
from sql.refused import AccountRefused
from tasks.award.members import Awarded
from tasks.extract.pages import Extracted
from tasks.extract.schema_drift import Change
from tasks.job import Job
from tasks.load.invoices import Loaded

#: Changes of the vendor's records in one line of the log; all are in billing.vendor_field.
_CHANGES_LOGGED: Final = 5


@dataclass
class RunReport:
    """What is known of a run so far.

    Each step fills its part, so that a failed run reports as much as it can.
    """

    #: What was asked for.
    job: Job
    #: When the run began, in UTC.
    started_at: datetime
    #: What the first step left; None: it did not end. So for the others.
    extracted: Extracted | None = None
    #: Per list its pages, its records, and a third count of `sql.sync.page_counts`.
    pages: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    #: What the second step did.
    loaded: Loaded | None = None
    #: What the third step did.
    awarded: Awarded | None = None
    #: What the account's sales were given since its last run, by this run and by others.
    posted: Posted | None = None
    #: Per step how long it took.
    seconds: dict[str, float] = field(default_factory=dict)
    #: What ended the run; None: nothing.
    error: Exception | None = None
    #: Corrections of the account that are refused and open, of this run or an earlier one.
    corrections: Sequence[AccountRefused] = ()
    #: What is wrong with the subscription of webhooks, and who must act; "": nothing.
    subscription: str = ""

    def summary(self) -> dict[str, Any]:
        """The counts kept in billing.sync_run."""
        loaded, awarded = self.loaded or Loaded(), self.awarded or Awarded()
        posted = self.posted or Posted()
        return {
            "pages": sum(pages for pages, _, _ in self.pages.values()),
            "fetched": loaded.records,
            "new": loaded.stored.new,
            "changed": loaded.stored.changed + loaded.stored.voided,
            "unchanged": loaded.stored.unchanged,
            "older": loaded.stored.older,
            "ahead": loaded.ahead,
            "rejected": loaded.rejected + awarded.rejected,
            "walk_ins": loaded.walk_ins,
            "reasons": dict(loaded.reasons + awarded.reasons),
            "resolved": loaded.resolved,
            "tried_again": loaded.tried_again,
            "members": awarded.members,
            "entries": posted.entries,
            "points": posted.points,
            "points_by_others": posted.points_by_others,
            "points_for_others": self.for_others().points,
            "points_by_event": dict(awarded.event_points),
            "expired_points": awarded.expired,
            "left_out": awarded.left_out,
            "calls": len(self.job.calls),
            "throttled": sum(call.throttled for call in self.job.calls),
            "response_ms_p50": percentile([call.elapsed_ms for call in self.job.calls], 50),
            "response_ms_p95": percentile([call.elapsed_ms for call in self.job.calls], 95),
        }

    def for_others(self) -> Posted:
        """What this run posted for sales of other connections."""
        if self.posted is None or self.awarded is None:
            return Posted()
        own = self.posted
        return Posted(
            self.awarded.entries - (own.entries - own.entries_by_others),
            self.awarded.points - (own.points - own.points_by_others),
        )

    def headline(self) -> str:
        """One line: the message of the run's final state."""
        counts = self.summary()
        text = (
            f"{counts['new']} new, {counts['changed']} changed, {counts['rejected']} rejected; "
            f"{counts['entries']} entries, {grouped(counts['points'], sign=True)} points"
        )
        if counts["points_by_others"]:
            text += f", {grouped(counts['points_by_others'], sign=True)} of them by other runs"
        if counts["points_for_others"]:
            points = grouped(counts["points_for_others"], sign=True)
            text += f"; {points} points for sales of other connections"
        text += (self.awarded or Awarded()).beside_sales()
        for refusal in self.corrections:
            text += f". {refused_in_words(refusal).capitalize()}: the old points stand"
        if self.job.replay:
            text = f"Replay of {'rejects' if self.job.rejects else 'stored pages'}: {text}"
        return f"Dry run, nothing kept: {text}" if self.job.dry_run else text


def grouped(number: int, *, sign: bool = False) -> str:
    """A whole number a person can read: 189 939 993, or +189 939 993."""
    return f"{number:{'+' if sign else ''},}".replace(",", " ")


def percentile(values: Sequence[int], percent: int) -> int | None:
    """The value that `percent` of the values do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


def times_lines(loaded: Loaded) -> list[str]:
    """Sentences about times of change that cannot be right and versions that came too late."""
    lines, stored = [], loaded.stored
    if loaded.ahead:
        shown = ", ".join(f"{name} ({utc(at)})" for name, at in loaded.ahead_documents.items())
        lines.append(
            f"{grouped(loaded.ahead)} records say that they were changed in the future, "
            f"for example {shown}. The time of "
            "reading counts instead, so that later corrections count. "
            "Look at the clock and time zone of the billing system"
        )
    if stored.older:
        lines.append(
            f"{grouped(stored.older)} versions differ from what is stored and are older, "
            "so they were left out, for example "
            f"{', '.join(stored.older_documents)}. "
            "After a replay, or where webhooks arrive late, that is as it should be. "
            "Otherwise compare these documents with the billing system: *reconcile*"
        )
    return lines


def refused_in_words(refusal: AccountRefused) -> str:
    """`2 refused corrections, 1 500 points at stake`."""
    noun = "refused correction" if refusal.records == 1 else "refused corrections"
    return f"{grouped(refusal.records)} {noun}, {grouped(refusal.points_at_stake)} points at stake"


def changes_line(changes: Sequence[Change]) -> str:
    """Changes of the vendor's records in one line of the log."""
    shown = "; ".join(
        f"{change.stream}: {change.to_text()}" for change in changes[:_CHANGES_LOGGED]
    )
    more = f"; and {len(changes) - _CHANGES_LOGGED} more" if len(changes) > _CHANGES_LOGGED else ""
    return f"the vendor's records have changed: {shown}{more}"


def utc(moment: datetime) -> str:
    """An instant to the second: `2026-03-01 12:00:00 UTC`."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
