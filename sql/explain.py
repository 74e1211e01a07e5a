"""Why an invoice earned as many points as it did."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from loyalty.duplicates import COUNTED_AT
from loyalty.explain import ExplainedSale, Part, part_of, rate_in_words
from loyalty.masking import identifier, message
from sql.balance import PendingPoints
from sql.db import DbConnection, connect
from sql.due_points import reckon_members
from sql.named_queries import query


@dataclass(frozen=True)
class Entry:
    """One ledger entry of the invoice, with the parameters that were in force."""

    #: Position in the chain of the sale and member, from 1.
    entry_no: int
    #: Number of the member.
    member_id: int
    #: award, edit, refund, void, moved, referral or duplicate.
    reason: str
    #: What it adds to the balance; negative: takes.
    points: int
    #: Points posted for the sale before this entry.
    due_before: int
    #: Points due for the sale from this entry on.
    due_after: int
    #: Points per rule; their sum is `due_after`.
    breakdown: dict[str, int]
    #: Amount that earned, in whole currency units.
    net_amount: Decimal
    currency: str
    tier: str
    #: Version of the program that applied.
    program_version: int
    #: None: the amount was converted to the program's base currency first.
    base_rate_bps: int | None
    #: Multiplier of the tier in basis points: 12,000 is 1.2.
    tier_rate_bps: int | None
    #: How fractions of a point are rounded.
    rounding: str
    #: When the sale happened.
    event_at: datetime
    #: When we posted it.
    posted_at: datetime
    #: Prefect flow run, or the command.
    run_id: str
    #: The amount of which only full ones earn, in whole units; None: every unit earns.
    per_full: Decimal | None = None

    def rule(self) -> str:
        """How `due_after` came about, in one line."""
        if self.reason == "moved":
            return "the invoice no longer belongs to this member"
        if self.reason == "referral":
            return (
                "the friend's sale brings this member no reward any more: it was voided or given "
                "back, another one is the first, or members were merged"
            )
        if self.reason == "duplicate":
            where = ", ".join(rule for rule in self.breakdown if rule.startswith(COUNTED_AT))
            return f"another system tells the same sale: {message(where)} = {self.due_after}"
        if self.is_reward:
            rewards = " + ".join(
                f"{rule} {points}" for rule, points in self.breakdown.items() if rule != "base"
            )
            return f"reward for the friend's sale: {rewards} = {self.due_after}"
        parts = " + ".join(f"{rule} {points}" for rule, points in self.breakdown.items())
        rate = (
            "converted"
            if self.base_rate_bps is None
            else rate_in_words(Decimal(self.base_rate_bps) / 10_000, self.per_full)
        )
        tier = (
            f"x {_ratio(self.tier_rate_bps)} ({self.tier})"
            if self.tier_rate_bps is not None
            else f"({self.tier})"
        )
        rule = (
            f"{self.net_amount} {self.currency} x {rate} {tier}, "
            f"rounded {self.rounding.replace('_', ' ')}"
        )
        if self._promotions():
            rule += ", and promotions"
        return f"{rule} = {parts} = {self.due_after}"

    @property
    def is_reward(self) -> bool:
        """Whether a referrer earned it at a friend's sale.

        Promotions give the buyer nothing for a sale of amount 0, so such an entry is a referrer's.
        """
        return not self.net_amount and bool(self._promotions())

    def _promotions(self) -> list[str]:
        """The rules of the breakdown that are promotions."""
        return [
            rule
            for rule in self.breakdown
            if rule not in ("base", "tier") and not rule.startswith(COUNTED_AT)
        ]

    def parts(self, promotions: Mapping[str, str]) -> list[Part]:
        """The numbers of the breakdown in words; `promotions`: what to call them, by key.

        They sum to `due_after`.
        """
        rate, factor = (
            None if bps is None else Decimal(bps) / 10_000
            for bps in (self.base_rate_bps, self.tier_rate_bps)
        )
        parts = [
            part_of(rule, points, rate, factor, self.tier, promotions, self.per_full)
            for rule, points in self.breakdown.items()
        ]
        if (
            self.base_rate_bps is None
        ):  # the rate is that of the currency the amount was converted to
            parts = [
                replace(part, words="converted to the program's currency first")
                if part.rule == "base"
                else part
                for part in parts
            ]
        return parts

    def to_text(self, zone: ZoneInfo) -> str:
        """Two lines a person can follow, times in `zone`."""
        head = (
            f"  {self.entry_no}. {self.reason}: {self.points:+d} points to member {self.member_id}"
        )
        posted = f"posted {self.posted_at.astimezone(zone):%Y-%m-%d %H:%M} by run {self.run_id}"
        version = (
            ""
            if self.reason in ("moved", "referral")
            else f"  [program version {self.program_version}]"
        )
        return (
            f"{head} (due {self.due_before} -> {self.due_after}; {posted})\n"
            f"     {self.rule()}{version}"
        )


@dataclass(frozen=True)
class Explanation:
    """An invoice and every entry posted for it; or, if it was rejected, why."""

    system: str
    #: Account at the billing system.
    account: str | None
    #: Id of the document at the billing system.
    external_id: str
    invoice_number: str | None = None
    kind: str | None = None
    status: str | None = None
    #: Who earns for the sale now; None: nobody does.
    member_id: int | None = None
    currency: str | None = None
    #: Total with tax, in whole currency units.
    total: Decimal | None = None
    #: Refunded or credited so far, in whole currency units.
    refunded: Decimal | None = None
    issued_at: datetime | None = None
    #: Last change at the vendor.
    updated_at: datetime | None = None
    #: Raw page it was read from.
    page_id: int | None = None
    #: Position of the record in that page, from 0.
    record_no: int | None = None
    #: All entries of the sale, in the order of posting.
    entries: tuple[Entry, ...] = field(default=())
    #: What of the points cannot be spent yet.
    pending: tuple[PendingPoints, ...] = ()
    #: Why a newer version was rejected; None: none was.
    rejected: str | None = None
    #: What is due now by the stored rules, rule by rule, and what did not apply; None: nothing is,
    #: or it is nobody's.
    now: ExplainedSale | None = None

    @property
    def points(self) -> int:
        """Points posted for the invoice, all corrections included."""
        return sum(entry.points for entry in self.entries)

    @property
    def owner_id(self) -> int | None:
        """Who earns for the invoice now."""
        return self.member_id if self.now is None else self.now.member_id

    @property
    def points_of(self) -> dict[int | None, int]:
        """Points posted for the invoice, of all members together.

        Counts whoever earns for it now, and everybody else who has some of it, as a referrer does.
        """
        points_of: dict[int | None, int] = {self.owner_id: 0}
        for entry in self.entries:
            points_of[entry.member_id] = points_of.get(entry.member_id, 0) + entry.points
        return {
            member: points
            for member, points in points_of.items()
            if points or member == self.owner_id
        }

    @property
    def posted_to_owner(self) -> int:
        """Points posted to whoever earns for the invoice now."""
        return self.points_of[self.owner_id]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "points": self.points}

    def to_text(self, zone: ZoneInfo) -> str:
        """For a terminal, times in `zone`."""
        if self.kind is None or self.issued_at is None:
            return (
                f"{self.system} {identifier(self.external_id)} is not in the ledger. "
                f"It was rejected: {self.rejected}"
            )
        head = (
            f"{self.system} {identifier(self.invoice_number or self.external_id)} "
            f"({self.kind}, {self.status}, id {identifier(self.external_id)}): "
            f"{self.total} {self.currency}, refunded {self.refunded}, "
            f"issued {self.issued_at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        )
        lines = [
            head,
            *(f"  member {member}: {points} points" for member, points in self.points_of.items()),
            *(f"  member {row.member_id}: {row.to_text(zone)}" for row in self.pending),
            *(entry.to_text(zone) for entry in self.entries),
        ]
        if not self.entries:
            lines.append("  no entry: nothing was due" + _NOTHING_DUE.get(self.status or "", ""))
        if self.now is not None:
            lines.append("  now:")
            lines += [f"    {line}" for line in self.now.to_lines()]
            waiting = 0 if self.now.due is None else self.now.due - self.posted_to_owner
            if waiting:
                lines.append(f"    {waiting:+d} of it wait for the next synchronisation")
        if self.rejected:
            lines.append(f"  A newer version was rejected: {self.rejected}")
        return "\n".join([*lines, f"  read from raw page {self.page_id}, record {self.record_no}"])


def explain(dsn: str, system: str, invoice: str) -> Explanation | None:
    """The invoice with this id or number, None if neither the ledger nor the rejects know it."""
    with connect(dsn) as connection:
        return explained(connection, system, invoice)


def explained(connection: DbConnection, system: str, invoice: str) -> Explanation | None:
    """As `explain`, on a connection."""
    names = {"system": system, "invoice": invoice}
    row = connection.execute(query("report", "invoice"), names).fetchone()
    external_id = row[2] if row else invoice
    reject = connection.execute(
        query("report", "reject"), names | {"invoice": external_id}
    ).fetchone()
    reason = None if reject is None else f"{reject[2]} (raw page {reject[5]}, record {reject[6]})"
    if row is None:
        return None if reject is None else Explanation(system, None, invoice, rejected=reason)
    key = {"system": system, "account": row[1], "external_id": external_id}
    entries = connection.execute(query("report", "entries"), key).fetchall()
    waiting = connection.execute(query("report", "pending"), key).fetchall()
    explanation = Explanation(*row)
    now = None if explanation.member_id is None else _now(connection, explanation)
    return replace(
        explanation, entries=tuple(Entry(*entry) for entry in entries),
        pending=tuple(PendingPoints(*points) for points in waiting), rejected=reason, now=now,
    )  # fmt: skip


#: Why a document gives nothing, by its status.
NOTHING_DUE: Final = {
    "void": "void documents give no points",
    "draft": "drafts give no points",
    "open": "not paid yet: its account may await the payment",
}


def _now(connection: DbConnection, invoice: Explanation) -> ExplainedSale | None:
    sale = (invoice.system, invoice.account, invoice.external_id)
    assert invoice.member_id is not None
    due = reckon_members(connection, [invoice.member_id])
    return next((row for row in due if (row.system, row.account, row.external_id) == sale), None)


_NOTHING_DUE = {
    "void": " (a void or draft document)",
    "draft": " (a void or draft document)",
    "open": " (its account may await the payment: *Award when* in its block)",
}


def _ratio(rate_bps: int) -> str:
    return f"{Decimal(rate_bps) / 10_000:f}"
