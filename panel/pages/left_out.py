"""The page "Left-out sales": documents that earn nothing, because another system's one counts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from loyalty.duplicates import Precedence
from loyalty.masking import identifier, message
from panel.markdown import clock, plain, table
from sql.duplicates import LeftOut, LeftOutTotal
from tasks.run_report import grouped

TITLE: Final = "Left-out sales"
#: Documents that the page names.
SHOWN: Final = 50


def headline(precedence: Precedence, totals: Sequence[LeftOutTotal]) -> str:
    """One line."""
    if not precedence.systems:
        return "No precedence is declared: every document counts."
    documents = sum(total.documents for total in totals)
    return f"{grouped(documents)} documents left out; order: {', '.join(precedence.systems)}."


def markdown(
    precedence: Precedence,
    totals: Sequence[LeftOutTotal],
    latest: Sequence[LeftOut],
    now: datetime,
    links: str,
) -> str:
    """The page as Prefect's UI shows it."""
    parts = [
        f"# {TITLE}",
        f"**{headline(precedence, totals)}** As of {clock(now)}; renewed every ten minutes.",
        links,
        (
            "A shop's order, its payment and its invoice in the books are one sale. The document "
            "of the system that stands first in the order counts; the others are named here and "
            "give no points. Another order, or none: the deployment *duplicates*. Why a sale "
            "earned what it did: `twezah explain SYSTEM INVOICE`. All of them: "
            "`analytics.left_out_sale`."
        ),
        _totals(totals),
        _latest(latest),
    ]
    return "\n\n".join(part for part in parts if part)


def _totals(totals: Sequence[LeftOutTotal]) -> str:
    rows = [
        [
            f"{total.system}, {plain(total.account)}",
            f"{total.by_system}, {plain(total.by_account)}",
            total.documents,
        ]
        for total in totals
    ]
    return "## By account\n\n" + table(["Left out", "Counts", "Documents"], rows) if rows else ""


def _latest(latest: Sequence[LeftOut]) -> str:
    rows = [
        [
            f"{row.system} {plain(identifier(row.document))}",
            f"{row.by_system} {plain(identifier(row.by_document))}",
            plain(message(row.matched_by)),
            row.member_id,
            f"{row.amount} {row.currency}",
            f"{row.issued_at:%Y-%m-%d}",
            f"{row.left_out_at:%m-%d %H:%M}",
        ]
        for row in latest
    ]
    head = ["Left out", "Counts", "Why", "Member", "Amount", "Sale of", "Since"]
    title = f"## The last {len(rows)}"
    return f"{title}\n\n{table(head, rows)}" if rows else ""
