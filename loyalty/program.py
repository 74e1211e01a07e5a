"""The points program: versioned parameters, never code. Frozen; an unknown key is refused."""

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import polars as pl
from pydantic import Field, model_validator

from loyalty.policies import (
    SHORTEST_DAYS,
    EventRule,
    Expiry,
    MemberLimits,
    Pending,
    TierPolicy,
)
from loyalty.rounding import Rounding
from loyalty.schema import UTC_US
from loyalty.types import (
    BEGINNING,
    BPS,
    HOME_CURRENCY,
    HOME_ZONE,
    Bps,
    Currency,
    EventName,
    Frozen,
    Instant,
    TierName,
    Zone,
    spans,
)

__all__ = ["BEGINNING", "BPS", "TIER_RATE_BPS", "Bps", "Program", "rates_frame", "versions_frame"]

#: A product category: names are the author's, members are SKU patterns (`*` and `?`, upper and
#: lower case alike).
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class Program(Frozen):
    """One version of the program: in force from `valid_from` (UTC) until a later version is.

    `currency`: the program's own, which has a rate.
    `base_rate_bps`: per currency, points per whole unit in basis points (100_000 = 10 points). A
        sale in a currency that has none is rejected, or converted.
    `per_full_minor`: per currency, an amount in minor units, of which only full ones earn: the rate
        is then that of one full amount. Absent: every unit earns, and its fractions.
    `tier_rate_bps`: per tier, multiplier in basis points (12_000 = 1.2x).
    `entry_tier`: tier of a member who has none yet.
    `rounding`, `basis`: how fractions of a point are rounded; the amount that earns, with or
    without tax.
    `award_when`: whether an open invoice earns at once (issued) or once it is paid. Either way by
        its own date.
    `timezone`: of days, hours and calendar periods.
    `base_currency`: a sale in a currency without a rate of its own is converted to the program's
        own at the exchange rate of its date; a missing one rejects the sale. Absent: every such
        sale is rejected.
    `categories`: product categories by name, each a list of SKU patterns, for product bonuses.
    `unlinked_credits`: returned_sales: every credit document is brought home to the sale that it
        returns. latest_sales: one that names no invoice lowers the customer's latest sales.
        own_date: it takes points at its own date.
    `discount_lines`: spread: a discount lowers the products that it discounts. ignored: it lowers
        the sale only, and product bonuses count the products as they are listed.
    `tier_policy`: how tiers are evaluated; absent: the loyalty app sets them.
    `expiry`: when points expire; absent: never.
    `pending`: until when points of a sale cannot be spent; absent: they can at once.
    `promotion_limits`: most points of all promotions together; absent: as many as they give.
    `events`: what members earn beside buying, by the event's name: `sign_up`, `birthday`, and
        whatever the loyalty app tells.
    """

    #: Counts up; numbered when it is applied.
    version: Annotated[int, Field(ge=1)]
    valid_from: Instant = BEGINNING
    currency: Currency = HOME_CURRENCY
    base_rate_bps: dict[Currency, Bps]
    per_full_minor: dict[Currency, Annotated[int, Field(ge=1, le=10**15)]] = Field(
        default_factory=dict
    )
    tier_rate_bps: dict[TierName, Bps]
    entry_tier: TierName
    rounding: Rounding = "down"
    basis: Literal["total", "subtotal"] = "total"
    award_when: Literal["issued", "paid"] = "issued"
    timezone: Zone = HOME_ZONE
    base_currency: Currency | None = None
    categories: dict[str, tuple[Pattern, ...]] = Field(default_factory=dict)
    unlinked_credits: Literal["own_date", "latest_sales", "returned_sales"] = "returned_sales"
    discount_lines: Literal["ignored", "spread"] = "spread"
    tier_policy: TierPolicy | None = None
    expiry: Expiry | None = None
    pending: Pending | None = None
    promotion_limits: MemberLimits | None = None
    events: Annotated[dict[EventName, EventRule], Field(max_length=200)] = Field(
        default_factory=dict
    )

    @model_validator(mode="before")
    @classmethod
    def _own_currency(cls, data: Any) -> Any:
        """Where it is not named: the one that others are converted to, or the country's.

        Of a program that has neither, the first one with a rate.
        """
        if not isinstance(data, dict) or data.get("currency") is not None:
            return data
        own, rates = data.get("base_currency"), data.get("base_rate_bps")
        if not own and isinstance(rates, dict) and HOME_CURRENCY not in rates:
            own = next(iter(rates), None)
        return data | {"currency": own or HOME_CURRENCY}

    @model_validator(mode="after")
    def _currencies_fit(self) -> "Program":
        if self.currency not in self.base_rate_bps:
            message = (
                f"the program's own currency {self.currency} has no points: write "
                f"{self.currency} = 10 (or as many as it is) into points_per_unit, "
                "or name another currency as the program's own"
            )
            raise ValueError(message)
        if self.base_currency not in (None, self.currency):
            message = (
                f"base_currency {self.base_currency!r} is not the program's own currency "
                f"{self.currency!r}: sales are converted to that one"
            )
            raise ValueError(message)
        if unknown := sorted(self.per_full_minor.keys() - self.base_rate_bps.keys()):
            message = f"per_full_minor names {', '.join(unknown)}, which base_rate_bps does not"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _points_can_be_spent(self) -> "Program":
        if self.pending is None:
            return self
        days, expiry = self.pending.days or 0, self.expiry
        if expiry is not None and 0 < days >= expiry.months * SHORTEST_DAYS["month"]:
            message = (
                f"points would expire before they can be spent: {days} pending days are as long as "
                f"the {expiry.months} months of the expiry, or longer"
            )
            raise ValueError(message)
        if self.pending.until_paid and self.award_when == "paid":
            message = (
                "pending.until_paid and award_when = 'paid' exclude each other: such a program "
                "gives no points before the payment, so there are none that could wait for it"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> "Program":
        if self.entry_tier not in self.tier_rate_bps:
            message = f"entry_tier {self.entry_tier!r} has no rate in tier_rate_bps"
            raise ValueError(message)
        if self.tier_policy is not None:
            unknown = sorted(set(self.tier_policy.thresholds) - set(self.tier_rate_bps))
            if unknown or self.entry_tier in self.tier_policy.thresholds:
                message = (
                    f"tier_policy.thresholds name {unknown or self.entry_tier}: "
                    "every tier but the entry tier, each with a rate"
                )
                raise ValueError(message)
        return self


#: The tiers of the product's documentation.
TIER_RATE_BPS = MappingProxyType(
    {"lead": 10_000, "silver": 12_000, "gold": 15_000, "platinum": 20_000}
)


#: One row for each version of the program.
VERSIONS: Final = pl.Schema(
    {
        "program_version": pl.Int32(),
        #: From when on that version is in force.
        "valid_from": UTC_US,
        #: That version's tier of a member who has none.
        "entry_tier": pl.String(),
        #: That version's rule for fractions of a point.
        "rounding": pl.String(),
        #: That version's amount that earns: `total` (with tax) or `subtotal`.
        "basis": pl.String(),
        #: That version's time of earning: `issued` or `paid`.
        "award_when": pl.String(),
        #: That version's currency for sales in a currency without a rate of its own.
        "base_currency": pl.String(),
        #: That version's way with discounts: `ignored` or `spread`.
        "discount_lines": pl.String(),
    }
)


def program_at(programs: Sequence[Program], at: datetime) -> Program | None:
    """The version of the program that is in force at an instant; None: none is."""
    for program, start, end in spans(programs):
        if start <= at and (end is None or at < end):
            return program
    return None


def versions_frame(programs: Sequence[Program]) -> pl.DataFrame:
    """One row per version that is in force at any time, sorted by its beginning."""
    rows = [
        (
            p.version,
            start,
            p.entry_tier,
            p.rounding,
            p.basis,
            p.award_when,
            p.base_currency,
            p.discount_lines,
        )
        for p, start, _ in spans(programs)
    ]
    return pl.DataFrame(rows, schema=VERSIONS, orient="row").sort("valid_from")


def rates_frame(
    programs: Sequence[Program],
    field: Literal["base_rate_bps", "tier_rate_bps", "per_full_minor"],
    key: str,
) -> pl.DataFrame:
    """One row per version and `key` (currency or tier) with what `field` says of it."""
    rows = [(p.version, name, rate) for p in programs for name, rate in getattr(p, field).items()]
    return pl.DataFrame(
        rows, schema={"program_version": pl.Int32(), key: pl.String, field: pl.Int64}, orient="row"
    )
