"""Why an invoice earned as many points as it did."""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sql.db import connect
from sql.named import query


@dataclass(frozen=True)
class Entry:
    """One ledger entry of the invoice, with the parameters that were in force."""

    entry_no: int
    member_id: int
    reason: str
    points: int
    due_before: int
    due_after: int
    breakdown: dict[str, int]
    net_amount: Decimal
    currency: str
    tier: str
    program_version: int
    base_rate_bps: int
    tier_rate_bps: int
    rounding: str
    event_at: datetime
    posted_at: datetime
    run_id: str

    def to_text(self, zone: ZoneInfo) -> str:
        """Two lines a person can follow, times in `zone`."""
        parts = " + ".join(f"{rule} {points}" for rule, points in self.breakdown.items())
        rule = (
            f"{self.net_amount} {self.currency} x {_ratio(self.base_rate_bps)} points per unit x {_ratio(self.tier_rate_bps)} "
            f"({self.tier}), rounded {self.rounding.replace('_', ' ')}"
        )
        head = f"  {self.entry_no}. {self.reason}: {self.points:+d} points to member {self.member_id}"
        posted = f"posted {self.posted_at.astimezone(zone):%Y-%m-%d %H:%M} by run {self.run_id}"
        due = f"due {self.due_before} -> {self.due_after}"
        if self.reason == "moved":
            return f"{head} ({due}; {posted})\n     the invoice no longer belongs to this member"
        return f"{head} ({due}; {posted})\n     {rule} = {parts} = {self.due_after}  [program version {self.program_version}]"


@dataclass(frozen=True)
class Explanation:
    """An invoice and every entry posted for it; or, if it was rejected, why."""

    system: str
    account: str | None
    external_id: str
    invoice_number: str | None = None
    kind: str | None = None
    status: str | None = None
    member_id: int | None = None
    currency: str | None = None
    total: Decimal | None = None
    refunded: Decimal | None = None
    issued_at: datetime | None = None
    updated_at: datetime | None = None
    page_id: int | None = None
    record_no: int | None = None
    entries: tuple[Entry, ...] = field(default=())
    rejected: str | None = None

    @property
    def points(self) -> int:
        """Points posted for the invoice, all corrections included."""
        return sum(entry.points for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "points": self.points}

    def to_text(self, zone: ZoneInfo) -> str:
        """For a terminal, times in `zone`."""
        if self.kind is None or self.issued_at is None:
            return f"{self.system} {self.external_id} is not in the ledger. It was rejected: {self.rejected}"
        head = (
            f"{self.system} {self.invoice_number or self.external_id} ({self.kind}, {self.status}, id {self.external_id}): "
            f"{self.total} {self.currency}, refunded {self.refunded}, issued {self.issued_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        )
        lines = [
            head,
            f"  member {self.member_id}: {self.points} points",
            *(entry.to_text(zone) for entry in self.entries),
        ]
        if not self.entries:
            lines.append("  no entry: nothing was due" + _NOTHING_DUE.get(self.status or "", ""))
        if self.rejected:
            lines.append(f"  A newer version was rejected: {self.rejected}")
        return "\n".join([*lines, f"  read from raw page {self.page_id}, record {self.record_no}"])


def explain(dsn: str, system: str, invoice: str) -> Explanation | None:
    """The invoice with this id or number, None if neither the ledger nor the rejects know it."""
    names = {"system": system, "invoice": invoice}
    with connect(dsn) as connection:
        row = connection.execute(query("report", "invoice"), names).fetchone()
        external_id = row[2] if row else invoice
        reject = connection.execute(query("report", "reject"), names | {"invoice": external_id}).fetchone()
        reason = None if reject is None else f"{reject[2]} (raw page {reject[5]}, record {reject[6]})"
        if row is None:
            return None if reject is None else Explanation(system, None, invoice, rejected=reason)
        key = {"system": system, "account": row[1], "external_id": external_id}
        entries = connection.execute(query("report", "entries"), key).fetchall()
    found = Explanation(*row)
    return replace(found, entries=tuple(Entry(*entry) for entry in entries), rejected=reason)


_NOTHING_DUE = {
    "void": " (a void or draft document)",
    "draft": " (a void or draft document)",
    "open": " (its account may await the payment: *Award when* in its block)",
}


def _ratio(rate_bps: int) -> str:
    return f"{Decimal(rate_bps) / 10_000:f}"
