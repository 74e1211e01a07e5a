"""The frames that points are computed from, and the one that comes out."""

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from loyalty.schema import UTC_US

#: One row per invoice of the members in question. `page_id` and `record_no` name the raw record,
#: and so its lines.
#: `account_award_when`: "paid" where the policy of its account at its own date is that only paid
#:     sales earn; null: no such policy.
HISTORY: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        "kind": pl.String(),
        "status": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "subtotal_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "issued_at": UTC_US,
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "account_award_when": pl.String(),
    }
)
#: Tier history: a tier is in force from `valid_from` until the member's next row.
TIERS: Final = pl.Schema({"member_id": pl.Int64(), "valid_from": UTC_US, "tier": pl.String()})
#: Lines of the invoices of HISTORY. `quantity_micro` is in millionths.
LINES: Final = pl.Schema(
    {
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "line_no": pl.Int32(),
        "sku": pl.String(),
        "name": pl.String(),
        "quantity_micro": pl.Int64(),
        "amount_minor": pl.Int64(),
    }
)
#: Who brought whom. The friends' invoices must be in HISTORY.
REFERRALS: Final = pl.Schema(
    {"friend_id": pl.Int64(), "referrer_id": pl.Int64(), "referred_at": UTC_US}
)
#: Time zones of members that have one of their own.
ZONES: Final = pl.Schema({"member_id": pl.Int64(), "timezone": pl.String()})
#: Amounts that are counted elsewhere: of an invoice, what linked credit documents take back; of a
#: credit document, what is taken back at the invoices it is linked to.
SETTLED: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "settled_minor": pl.Int64(),
    }
)
#: Exchange rates: units of `base_currency` per unit of `currency`, in billionths, valid in
#: [valid_from, valid_to).
FX: Final = pl.Schema(
    {
        "currency": pl.String(),
        "base_currency": pl.String(),
        "valid_from": UTC_US,
        "valid_to": UTC_US,
        "rate_e9": pl.Int64(),
    }
)
#: What a promotion with a budget would give for a sale if there were no budget.
CLAIMS: Final = pl.Schema(
    {
        "promotion_id": pl.String(),
        "version": pl.Int32(),
        "issued_at": UTC_US,
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        "wanted": pl.Int64(),
    }
)
#: What the budget leaves of it.
GRANTS: Final = pl.Schema(
    {**{k: v for k, v in CLAIMS.items() if k not in ("issued_at", "wanted")}, "granted": pl.Int64()}
)

#: What `award` returns beside the history's own columns. A null `due` means it cannot be computed:
#: unknown currency, tier or exchange rate, or an amount beyond exact arithmetic.
DUE: Final = pl.Schema(
    {
        "net_minor": pl.Int64(),
        "tier": pl.String(),
        "program_version": pl.Int32(),
        "due": pl.Int64(),
        "breakdown": pl.String(),
    }
)
#: The order of sales in which limits and budgets are used up; with `member_id` it is total.
ORDER: Final = ("issued_at", "system", "account", "external_id", "member_id")
SALE: Final = ("system", "account", "external_id")


@dataclass(frozen=True)
class Facts:
    """What the rules may need beyond invoices and tiers; what is not given is empty.

    `grants`: what budgets leave, decided elsewhere; None: the history is the whole world, and
        budgets are used up by it alone.
    `members`: whose points are asked for; None: everybody's. The history may hold more (the friends
        of a referrer).
    """

    lines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LINES))
    referrals: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFERRALS))
    zones: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ZONES))
    settled: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SETTLED))
    fx: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FX))
    grants: pl.DataFrame | None = None
    members: pl.Series | None = None
