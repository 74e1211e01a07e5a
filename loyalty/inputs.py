"""The frames that points are computed from, and those that come out.

In: HISTORY, TIERS and whatever of `Facts` the rules need. Out: HISTORY with DUE, and CLAIMS.
"""

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from loyalty.places import COLUMNS
from loyalty.schema import UTC_US

#: One row per invoice of the members in question, as stored.
HISTORY: Final = pl.Schema(
    {
        #: The billing system.
        "system": pl.String(),
        #: The account there.
        "account": pl.String(),
        #: The document's id there.
        "external_id": pl.String(),
        #: Whose sale it is, by our number.
        "member_id": pl.Int64(),
        #: One of `loyalty.schema.KINDS`.
        "kind": pl.String(),
        #: One of `loyalty.schema.STATUSES`.
        "status": pl.String(),
        #: Three letters of ISO 4217.
        "currency": pl.String(),
        #: The whole amount with tax, in minor units; positive for credits too.
        "total_minor": pl.Int64(),
        #: Without tax; null: not known.
        "subtotal_minor": pl.Int64(),
        #: What was given back of it, with tax.
        "amount_refunded_minor": pl.Int64(),
        #: The sale's own instant, by which the rules are chosen.
        "issued_at": UTC_US,
        #: The raw page; with `record_no` the key of its lines.
        "page_id": pl.Int64(),
        #: The record on that page.
        "record_no": pl.Int32(),
        #: `paid` where the policy of its account at its own date is that only paid sales earn;
        #: null: no such policy.
        "account_award_when": pl.String(),
        #: The number that people know it by; null: it has none.
        "invoice_number": pl.String(),
        #: Whether `issued_at` has a time of day. False: it is the beginning of the document's day.
        #: Null: nobody said, and it counts as an instant.
        "time_known": pl.Boolean(),
        #: Of a credit document: the id or number of the sale that it returns; null: it does not
        #: say.
        "original_external_id": pl.String(),
    }
)
#: Tier history: a tier is in force from `valid_from` until the member's next row.
TIERS: Final = pl.Schema(
    {
        #: The member, by our number.
        "member_id": pl.Int64(),
        #: From when on.
        "valid_from": UTC_US,
        #: The tier that the loyalty app set.
        "tier": pl.String(),
    }
)
#: Lines of the invoices of HISTORY.
LINES: Final = pl.Schema(
    {
        #: The invoice's raw page.
        "page_id": pl.Int64(),
        #: The invoice's record on it.
        "record_no": pl.Int32(),
        #: From 1.
        "line_no": pl.Int32(),
        #: The product's code; null: not known.
        "sku": pl.String(),
        #: What the line says; null: nothing.
        "name": pl.String(),
        #: Units sold, in millionths.
        "quantity_micro": pl.Int64(),
        #: What the line adds to the invoice, in minor units.
        "amount_minor": pl.Int64(),
    }
)
#: Who brought whom. The friends' invoices must be in HISTORY.
REFERRALS: Final = pl.Schema(
    {
        #: The member who was brought.
        "friend_id": pl.Int64(),
        #: The member who brought them.
        "referrer_id": pl.Int64(),
        #: When.
        "referred_at": UTC_US,
    }
)
#: Time zones of members that have one of their own.
ZONES: Final = pl.Schema(
    {
        #: The member.
        "member_id": pl.Int64(),
        #: A name of the IANA database.
        "timezone": pl.String(),
    }
)
#: Codes of promotions that members entered.
CODES: Final = pl.Schema(
    {
        #: Who earns for the member.
        "member_id": pl.Int64(),
        #: In capital letters.
        "code": pl.String(),
        #: When.
        "entered_at": UTC_US,
    }
)
#: When members were on lists.
LISTS: Final = pl.Schema(
    {
        #: Who earns for the member.
        "member_id": pl.Int64(),
        #: The list's name.
        "list": pl.String(),
        #: From this instant on...
        "valid_from": UTC_US,
        #: ...until before this one; null: for good.
        "valid_to": UTC_US,
    }
)
#: Where sales were made, of those that say it: `loyalty.places`.
SALE_PLACES: Final = pl.Schema(
    {
        #: The invoice's raw page.
        "page_id": pl.Int64(),
        #: The invoice's record on it.
        "record_no": pl.Int32(),
        #: As in `loyalty.schema.INVOICE`, and so the others.
        **COLUMNS,
    }
)
#: Amounts that are counted elsewhere: of an invoice, what linked credit documents take back; of a
#: credit document, what is taken back at the invoices it is linked to; of a document of a sale that
#: another system tells as well, all of it (`loyalty.duplicates`).
SETTLED: Final = pl.Schema(
    {
        #: The document's.
        "system": pl.String(),
        #: The document's.
        "account": pl.String(),
        #: The document's id.
        "external_id": pl.String(),
        #: The amount that is counted elsewhere, in minor units; positive.
        "settled_minor": pl.Int64(),
        #: The document of another system that counts instead, for people; null: none does.
        "counted_at": pl.String(),
    }
)
#: Exchange rates: units of `base_currency` per unit of `currency`, in billionths, valid in
#: [valid_from, valid_to).
FX: Final = pl.Schema(
    {
        #: What is converted.
        "currency": pl.String(),
        #: What it is converted to.
        "base_currency": pl.String(),
        #: In force from this instant on...
        "valid_from": UTC_US,
        #: ...until before this one; null: for good.
        "valid_to": UTC_US,
        #: Units of `base_currency` for one unit of `currency`, in billionths.
        "rate_e9": pl.Int64(),
    }
)
#: What a promotion with a budget would give for a sale if there were no budget.
CLAIMS: Final = pl.Schema(
    {
        #: The promotion.
        "promotion_id": pl.String(),
        #: Its version, which has a budget of its own.
        "version": pl.Int32(),
        #: The sale's place in time (`loyalty.days`): the earlier sale is served first.
        "ordered_at": UTC_US,
        #: The sale's.
        "system": pl.String(),
        #: The sale's.
        "account": pl.String(),
        #: The sale's id.
        "external_id": pl.String(),
        #: Who would get the points.
        "member_id": pl.Int64(),
        #: Points after all other limits.
        "wanted": pl.Int64(),
    }
)
#: What the budgets leave of CLAIMS: its key, and `granted` points.
GRANTS: Final = pl.Schema(
    {
        **{k: v for k, v in CLAIMS.items() if k not in ("ordered_at", "wanted")},
        "granted": pl.Int64(),
    }
)

#: What `award` returns beside the history's own columns.
DUE: Final = pl.Schema(
    {
        #: The amount that earns, in minor units; negative for credits.
        "net_minor": pl.Int64(),
        #: The tier in force at the sale.
        "tier": pl.String(),
        #: The version in force; null: none was.
        "program_version": pl.Int32(),
        #: Points; null: they cannot be computed (unknown currency, tier or exchange rate, or an
        #: amount beyond exact arithmetic).
        "due": pl.Int64(),
        #: JSON, points per rule, as in `{"base":1500,"tier":300}`; they sum to `due`.
        "breakdown": pl.String(),
        #: As in SETTLED.
        "counted_at": pl.String(),
        #: Of a sale: what credit documents take of it that were brought home to it, with tax, in
        #: minor units.
        "credited_minor": pl.Int64(),
    }
)
#: The order of sales in which limits and budgets are used up; with `member_id` it is total.
ORDER: Final = ("ordered_at", "system", "account", "external_id", "member_id")
#: The key of a sale.
SALE: Final = ("system", "account", "external_id")


@dataclass(frozen=True)
class Facts:
    """What the rules may need beyond invoices and tiers; what is not given is empty."""

    #: LINES, for product bonuses.
    lines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LINES))
    #: REFERRALS, for referral rewards.
    referrals: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFERRALS))
    #: ZONES, for promotions by the customer's clock.
    zones: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ZONES))
    #: CODES, for promotions that need one.
    codes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CODES))
    #: LISTS, for promotions for those on a list.
    lists: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LISTS))
    #: SALE_PLACES, for promotions of some places only.
    places: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SALE_PLACES))
    #: SETTLED, for credits that are linked to invoices, and for sales told by several systems.
    settled: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SETTLED))
    #: FX, for programs with a base currency.
    fx: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FX))
    #: GRANTS: what budgets leave, decided elsewhere. None: there are no sales but those of the
    #: history, and they use the budgets up.
    grants: pl.DataFrame | None = None
    #: Whose points are asked for; None: everybody's. The history may hold more members (the friends
    #: of a referrer).
    members: pl.Series | None = None
