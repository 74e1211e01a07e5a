"""Looks at a change of the rules, and applies it.

It says who would gain what and what must be confirmed, and keeps who decided it and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from loyalty.authoring import read_rules
from loyalty.corrections import Decision
from loyalty.findings import Findings
from loyalty.program_diff import Change, Plan, as_if, plan
from loyalty.types import BEGINNING
from settings import settings
from sql import member_history as facts
from sql import program as stored
from sql.db import DbConnection, connect
from sql.member_history import Rules
from tasks.program.change_limit import beyond_limit
from tasks.program.findings import find_in
from tasks.program.preview import MemberChange, Trial, try_rules


class ChangeRefusedError(ValueError):
    """The change was not applied; the message says what must be decided first.

    `preview` is what it would mean.
    """

    def __init__(self, message: str, preview: "ChangePreview") -> None:
        self.preview = preview
        super().__init__(message)


@dataclass(frozen=True)
class ChangePreview:
    """A change, and what it would mean for the stored sales."""

    #: The rules as they would be, and what is new in them.
    plan: Plan
    #: What that means for stored sales.
    trial: Trial
    #: The rules as they are.
    before: Rules
    #: When, in UTC: what begins earlier reaches into the past.
    looked_at: datetime
    #: Whose points are to be computed again, if the past is.
    marks: Sequence[int]
    #: What the file says that is not true.
    findings: Findings = field(default_factory=Findings)

    @property
    def reaches_past(self) -> bool:
        """Whether sales of the past would be worth something else."""
        return (
            bool(self.trial.members)
            and self.plan.reaches is not None
            and self.plan.reaches < self.looked_at
        )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        trial = self.trial
        return {
            "changes": [_change_json(change) for change in self.plan.changes],
            "reaches": None if self.plan.reaches is None else moment(self.plan.reaches),
            "members": len(trial.members), "sales": trial.sales, "points": trial.points,
            "added": trial.added,
            "taken": trial.taken, "percent": round(trial.percent, 2),
            "mistakes": list(self.findings.mistakes), "notes": list(self.findings.notes),
            "uncomputed_sales": trial.uncomputed, "expired": trial.expired,
            "pending": trial.pending,
            "largest": [
                {"member_id": m.member_id, "before": m.before, "after": m.after, "points": m.points}
                for m in trial.largest
            ],
        }  # fmt: skip


@dataclass(frozen=True)
class Applied:
    """A change that was applied."""

    #: The change's number; None: there was nothing to change.
    change_id: int | None
    #: What was applied.
    preview: ChangePreview
    #: Whether members of past sales are marked to be computed again.
    recomputed: bool


def _change_json(change: Change) -> dict[str, object]:
    return {
        "name": change.name, "status": change.status, "version": change.version,
        "valid_from": moment(change.valid_from),
        "reaches": None if change.reaches is None else moment(change.reaches),
        "differences": list(change.differences),
    }  # fmt: skip


def moment(at: datetime, zone: ZoneInfo | None = None) -> str:
    """A time as it is shown; the beginning of time by its name."""
    if at <= BEGINNING:
        return "the beginning"
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}" if zone else at.isoformat()


def preview_change(
    connection: DbConnection, text: str, *, since: datetime | None = None
) -> ChangePreview:
    """What `text` (points.toml) would change.

    Args:
        connection: Reads only.
        text: The file.
        since: Pretend that the changes began then: what a promotion to come would have meant.

    Raises:
        loyalty.authoring.BadRulesError: With all problems of the file.
    """
    before = facts.rules(connection)
    zone = max(before.programs, key=lambda p: p.version).timezone
    rules = read_rules(text, zone=zone)
    planned = plan(before.programs, before.promotions, rules)
    findings = find_in(rules, planned.programs, planned.promotions, text, connection)
    if since is not None:
        planned = as_if(planned, since)
    trial = Trial()
    if not planned.is_empty and planned.reaches is not None:
        after = replace(
            before, programs=list(planned.programs), promotions=list(planned.promotions), stamp=None
        )
        members = stored.concerned(
            connection, None if before.budgets or after.budgets else planned.reaches
        )
        trial = try_rules(connection, members, before, after)
        # With budgets everybody is marked: whose claim got nothing may get something once another
        # sale is taken back.
        marks = members if after.budgets else trial.members
        return ChangePreview(planned, trial, before, datetime.now(UTC), marks, findings)
    return ChangePreview(planned, trial, before, datetime.now(UTC), [], findings)


def apply_rules(
    dsn: str, text: str, decision: Decision, run_id: str, *, recompute: bool, confirm: int
) -> Applied:
    """Applies `text`: stores the new versions, and the record of the change.

    If past sales are to be recomputed, their members are marked.

    Args:
        dsn: The ledger.
        text: points.toml.
        decision: Who and why.
        run_id: Kept with the change.
        recompute: Post what a change that reaches into the past means for past sales.
        confirm: A change of so many points, given and taken together, is agreed to.

    Raises:
        loyalty.authoring.BadRulesError: With all problems of the file.
        ChangeRefusedError: It reaches into the past and `recompute` is not set, or is larger than
            the limit and not confirmed.
        sql.program.RulesChangedError: Somebody else was quicker.
    """
    with connect(dsn) as connection:
        preview = preview_change(connection, text)
        if preview.plan.is_empty:
            return Applied(None, preview, recomputed=False)
        _judge(preview, recompute=recompute, confirm=confirm)
        connection.rollback()  # a new transaction, which sees the rules as they are now
        recompute = recompute and preview.reaches_past
        effect = stored.Effect(
            len(preview.trial.members),
            preview.trial.points,
            preview.marks if recompute else [],
            recompute,
        )
        before = (preview.before.programs, preview.before.promotions)
        change_id = stored.apply(
            connection, preview.plan, before, decision, text=text, effect=effect, run_id=run_id
        )
        connection.commit()
    return Applied(change_id, preview, recomputed=effect.recompute)


def _judge(preview: ChangePreview, *, recompute: bool, confirm: int) -> None:
    trial, reaches = preview.trial, preview.plan.reaches
    if not preview.reaches_past or reaches is None:
        return
    if not recompute:
        raise ChangeRefusedError(
            f"it reaches into the past (to {moment(reaches, ZoneInfo(settings().timezone))}) "
            "and changes "
            f"{len(trial.members)} members' points for past "
            "sales. Write a later valid_from, or ask for the past to be recomputed "
            "(--recompute; in the form: recompute)",
            preview,
        )
    if message := beyond_limit(trial, confirm):
        raise ChangeRefusedError(message, preview)


def shown(preview: ChangePreview, zone: ZoneInfo) -> list[str]:
    """The change in lines of text, and what of the file is not true."""
    return [*_change_lines(preview, zone), *finding_lines(preview.findings)]


def finding_lines(findings: Findings) -> list[str]:
    """What a file says that is not true, for people."""
    return [
        *(f"Mistake: {mistake}" for mistake in findings.mistakes),
        *(f"Note: {note}" for note in findings.notes),
    ]


def _change_lines(preview: ChangePreview, zone: ZoneInfo) -> list[str]:
    lines: list[str] = []
    for change in preview.plan.changes:
        begins = "" if change.status == "unchanged" else f", from {moment(change.valid_from, zone)}"
        lines.append(f"{change.name}: {change.status} (version {change.version}{begins})")
        lines += [f"    {difference}" for difference in change.differences]
    if preview.plan.is_empty:
        return [*lines, "Nothing would change."]
    trial = preview.trial
    if preview.plan.reaches is None:
        return [*lines, "No sale would ever be worth anything else."]
    lines.append(
        f"Stored sales from {moment(preview.plan.reaches, zone)} on: {trial.sales} worth something "
        f"else, for {len(trial.members)} of "
        f"{trial.looked_at} members: {trial.points:+d} points "
        f"({trial.added:+d}, {trial.taken:+d}; {trial.percent:.1f} % of {trial.before})."
    )
    if trial.expired:
        less = "more" if trial.expired > 0 else "fewer"
        lines.append(
            f"{abs(trial.expired)} points {less} would have expired by now; "
            "that is part of the sum."
        )
    if trial.pending:
        more = "more cannot be spent yet" if trial.pending > 0 else "more can be spent at once"
        lines.append(f"{abs(trial.pending)} points {more}; that changes no balance.")
    if trial.uncomputed:
        lines.append(
            f"{trial.uncomputed} sales could not be computed by these rules "
            "and would keep what was posted."
        )
    lines += [_member(change) for change in trial.largest]
    return lines


def _member(change: MemberChange) -> str:
    return f"    member {change.member_id}: {change.before} -> {change.after} ({change.points:+d})"
