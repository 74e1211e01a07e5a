"""Compares our books with the billing system's.

They are compared per day, and document by document where they differ.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from loyalty.schema import IDLE, NEGATIVE_KINDS
from sql import reconcile
from tasks.job import Job
from tasks.sync import read

#: Documents entered later than their date, or dated ahead, are changed outside of the days asked
#: for: the list is read from this much before.
EARLIER: Final = timedelta(days=7)
#: Differences kept for showing.
SHOWN_MAX: Final = 100
_COMPARED: Final = ("status", "currency", "total_minor", "amount_refunded_minor")

#: Per day and currency what both sides have. Void documents and drafts count nothing, credit notes
#: and refunds count against.
DAYS: Final = pl.Schema(
    {
        #: By the clock of the account's time zone.
        "day": pl.Date(),
        "currency": pl.String(),
        #: Documents at the billing system, and in our books.
        "vendor_documents": pl.UInt32(),
        "documents": pl.UInt32(),
        #: Their amount in minor units at the billing system, and in our books.
        "vendor_minor": pl.Int64(),
        "minor": pl.Int64(),
    }
)


@dataclass(frozen=True)
class Difference:
    """A document on which both sides do not agree."""

    #: The document's id.
    external_id: str
    #: Its number, for people; None: it has none.
    invoice_number: str | None
    #: Its date in the company's time zone.
    day: str
    #: What differs, for an operator.
    what: str
    #: Whether reading it again corrects it.
    repair: bool


@dataclass(frozen=True)
class Reconciled:
    """What the comparison found."""

    #: Documents of the billing system that were compared.
    documents: int
    #: DAYS: totals of both sides.
    days: pl.DataFrame
    #: At most SHOWN_MAX of them.
    differences: list[Difference]
    #: How many there are in all...
    count: int
    #: ...and how many of them reading again corrects.
    repairable: int

    def to_text(self) -> str:
        """One line."""
        if not self.count:
            return (
                f"{self.documents} documents of the billing system are in the books "
                "as they are there"
            )
        return (
            f"{self.count} of {self.documents} documents differ, "
            f"{self.repairable} of them are corrected by reading again"
        )


def reconcile_vendor(job: Job, since: datetime, until: datetime) -> Reconciled:
    """Compares the account's documents dated from `since` until before `until` with our books.

    Args:
        job: A dry run that reads changes since `listed_since(since)`; nothing it fetches is kept.
        since: First instant of the days compared.
        until: First instant after them.

    Raises:
        ConnectorError: As a synchronisation.
        psycopg.Error: Of the database.
    """
    if not job.dry_run:
        raise ValueError("only a dry run keeps nothing")
    with job.scope():
        extracted = read(job)
        try:
            parts = [batch.mapped for batch in extracted.mapped]
            listed = pl.concat(
                [reconcile.DOCUMENT.to_frame(), *(_documents(part.invoices) for part in parts)]
            )
            gone = {deleted for part in parts for deleted in part.deletions["external_id"]}
        finally:
            extracted.close()
        newest = listed.unique("external_id", keep="last", maintain_order=True)
        inside = newest.filter((pl.col("issued_at") >= since) & (pl.col("issued_at") < until))
        names = sorted({*inside["external_id"], *gone})
        with job.transaction() as connection:
            ours = reconcile.documents(connection, job.account, since, until, names)
            rejected = reconcile.rejected(connection, job.account, names)
    theirs = inside.filter(~pl.col("external_id").is_in(sorted(gone)))
    differences = _differences(
        theirs, ours, gone, set(newest["external_id"]), rejected, job.vendor.timezone
    )
    shown = sorted(differences, key=lambda difference: (difference.day, difference.external_id))[
        :SHOWN_MAX
    ]
    days = _days(theirs, ours, job.vendor.timezone)
    return Reconciled(
        theirs.height,
        days,
        shown,
        len(differences),
        sum(difference.repair for difference in differences),
    )


def listed_since(since: datetime) -> datetime:
    """From when on changes are listed to have all documents dated from `since` on."""
    return since - EARLIER


def _documents(invoices: pl.DataFrame) -> pl.DataFrame:
    """DOCUMENT, the newest version last."""
    kept = invoices.filter(pl.col("external_id").is_not_null()).sort(
        "updated_at", nulls_last=False, maintain_order=True
    )
    return kept.select(
        pl.col("amount_refunded_minor").fill_null(0)
        if name == "amount_refunded_minor"
        else pl.col(name)
        for name in reconcile.DOCUMENT
    )


def _differences(
    theirs: pl.DataFrame,
    ours: pl.DataFrame,
    gone: set[str],
    listed: set[str],
    rejected: dict[str, str],
    zone: str,
) -> list[Difference]:
    both = theirs.join(ours, on="external_id", how="full", coalesce=True, suffix="_ours")
    differences = []
    for row in both.iter_rows(named=True):
        name = row["external_id"]
        there, here = row["kind"] is not None, row["kind_ours"] is not None
        at = row["issued_at"] or row["issued_at_ours"]
        what, repair = _judged(
            row,
            there=there,
            here=here,
            gone=name in gone,
            listed=name in listed,
            why=rejected.get(name),
        )
        if what:
            number = row["invoice_number"] or row["invoice_number_ours"]
            differences.append(Difference(name, number, _day(at, zone), what, repair))
    return differences


def _judged(
    row: dict[str, object], *, there: bool, here: bool, gone: bool, listed: bool, why: str | None
) -> tuple[str, bool]:
    """What is wrong with a document, "" for nothing; and whether reading again corrects it."""
    if there and here:
        changed = [name for name in _COMPARED if row[name] != row[f"{name}_ours"]]
        changes = "; ".join(
            f"{name}: there {row[name]}, here {row[f'{name}_ours']}" for name in changed
        )
        return (
            (f"rejected as it is now ({why}); {changes}", False)
            if changes and why
            else (changes, bool(changes))
        )
    if there:
        if row["status"] in IDLE:
            return "", False
        return (f"rejected: {why}", False) if why else ("not in our books", True)
    if row["status_ours"] in IDLE or (listed and not gone):  # (listed with another date)
        return "", False
    if gone:
        return "deleted there, counts here", True
    return "in our books, not listed there: look for it at the billing system", False


def _days(theirs: pl.DataFrame, ours: pl.DataFrame, zone: str) -> pl.DataFrame:
    def totals(frame: pl.DataFrame, documents: str, minor: str) -> pl.DataFrame:
        sign = pl.when(pl.col("kind").is_in(NEGATIVE_KINDS)).then(-1).otherwise(1)
        amount = sign * (pl.col("total_minor").fill_null(0) - pl.col("amount_refunded_minor"))
        return (
            frame.filter(~pl.col("status").is_in(IDLE))
            .group_by(
                pl.col("issued_at").dt.convert_time_zone(zone).dt.date().alias("day"), "currency"
            )
            .agg(pl.len().alias(documents), amount.sum().alias(minor))
        )

    days = totals(theirs, "vendor_documents", "vendor_minor").join(
        totals(ours, "documents", "minor"),
        on=["day", "currency"],
        how="full",
        coalesce=True,
        nulls_equal=True,
    )
    return days.select(DAYS.names()).fill_null(0).sort("day", "currency")


def _day(at: object, zone: str) -> str:
    return at.astimezone(ZoneInfo(zone)).date().isoformat() if isinstance(at, datetime) else "?"
