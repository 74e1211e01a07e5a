"""A reconciliation as a page for operators."""

from datetime import datetime

from loyalty.masking import identifier
from tasks.reconcile.points_due import PointsCheck
from tasks.reconcile.vendor import SHOWN_MAX, Reconciled

FOOT = (
    "*Run, Custom run* with **repair** corrects what can be corrected; it can be repeated. "
    "[Billing systems](/artifacts/key/billing-systems) · [Sync status](/artifacts/key/sync-status)"
)


def markdown(
    name: str, since: datetime, until: datetime, found: Reconciled, points: PointsCheck, when: str
) -> str:
    """The whole page."""
    return "\n".join(
        [
            f"# Books of {name}, {when}", "",
            (f"Documents dated {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC. "
            f"{found.to_text()}."), "",
            *_days(found), *_differences(found), "## Points", "", points_markdown(points), "",
            FOOT,
        ]
    )  # fmt: skip


def points_markdown(points: PointsCheck) -> str:
    """Points posted and due, the largest differences by member."""
    lines = [points.to_text()[0].upper() + points.to_text()[1:] + "."]
    if points.uncomputed:
        lines.append(
            f"{points.uncomputed} sales have no points because they cannot be computed; the "
            "rejects say why."
        )
    if points.largest:
        rows = [
            f"| {member} | {posted} | {due} | {due - posted:+d} |"
            for member, posted, due in points.largest
        ]
        lines += ["", "| Member | Posted | Due | Difference |", "|---:|---:|---:|---:|", *rows]
    return "\n".join(lines)


def _days(found: Reconciled) -> list[str]:
    rows = []
    for day, currency, theirs, ours, their_minor, our_minor in found.days.rows():
        same = theirs == ours and their_minor == our_minor
        mark = "" if same else f"{ours - theirs:+d} documents, {our_minor - their_minor:+d}"
        rows.append(
            f"| {day} | {currency or '?'} | {theirs} | {ours} | {their_minor} | {our_minor} | "
            f"{mark} |"
        )
    if not rows:
        return ["No documents on either side.", ""]
    head = "| Day | Currency | Documents there | Here | Amount there | Here | Difference |"
    return [
        "## By day", "",
        "Amounts are in the currency's smallest unit; void documents and drafts count nothing.", "",
        head, "|---|---|---:|---:|---:|---:|---|", *rows, "",
    ]  # fmt: skip


def _differences(found: Reconciled) -> list[str]:
    if not found.count:
        return []
    rows = [
        f"| {one.day} | {identifier(one.invoice_number or one.external_id)} | "
        f"{one.what.replace('|', '/')} | {'repair' if one.repair else 'a person'} |"
        for one in found.differences
    ]
    more = ["", f"… and {found.count - SHOWN_MAX} more."] if found.count > SHOWN_MAX else []
    return [
        "## Documents",
        "",
        "| Day | Document | Difference | Corrected by |",
        "|---|---|---|---|",
        *rows,
        *more,
        "",
    ]
