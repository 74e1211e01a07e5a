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
    name: str, since: datetime, until: datetime, result: Reconciled, points: PointsCheck, when: str
) -> str:
    """The page of a reconciliation.

    Args:
        name: The connection.
        since: Documents dated from then on were compared.
        until: Up to then.
        result: The comparison with the vendor's documents.
        points: The comparison of points posted and due.
        when: At which point of the run it was compared, e.g. "after the repair".
    """
    period = f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
    lines = [f"# Books of {name}, {when}", ""]
    lines += [f"Documents dated {period}. {result.to_text()}.", ""]
    lines += [*_days(result), *_differences(result)]
    lines += ["## Points", "", points_markdown(points), "", FOOT]
    return "\n".join(lines)


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


def _days(result: Reconciled) -> list[str]:
    rows = []
    for day, currency, theirs, ours, their_minor, our_minor in result.days.rows():
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


def _differences(result: Reconciled) -> list[str]:
    if not result.count:
        return []
    rows = [
        f"| {difference.day} | {identifier(difference.invoice_number or difference.external_id)} | "
        f"{difference.what.replace('|', '/')} | {'repair' if difference.repair else 'a person'} |"
        for difference in result.differences
    ]
    more = ["", f"… and {result.count - SHOWN_MAX} more."] if result.count > SHOWN_MAX else []
    return [
        "## Documents",
        "",
        "| Day | Document | Difference | Corrected by |",
        "|---|---|---|---|",
        *rows,
        *more,
        "",
    ]
