"""One version of a promotion: what it gives, when it applies, how it stacks and where it ends."""

from collections.abc import Mapping
from datetime import date, time
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from loyalty.places import PLURALS, Place
from loyalty.policies import Limit, MemberLimits
from loyalty.promotions.codes import Code, Days
from loyalty.promotions.kinds import Match, ProductBonus, ReferralReward, Rule, kinds
from loyalty.types import BPS, Currency, Frozen, Instant, ListName, PlaceName, TierName, Zone

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PlaceNames = Annotated[tuple[PlaceName, ...], Field(max_length=200)]


class UnknownPromotionKindError(ValueError):
    """A promotion names a kind that this version cannot evaluate."""


class Hours(Frozen):
    """A time of day, [start, end); past midnight if `end` is before `start`.

    Belongs to the day on which the sale happens.
    """

    start: time
    end: time

    @model_validator(mode="after")
    def _not_empty(self) -> "Hours":
        if self.start == self.end:
            message = "start and end are the same: leave hours out for the whole day"
            raise ValueError(message)
        return self


class Streak(Frozen):
    """So many calendar weeks or months in a row, each with a purchase; one of the two.

    Weeks begin on Monday.
    """

    weeks: Annotated[int, Field(ge=2, le=520)] | None = None
    months: Annotated[int, Field(ge=2, le=120)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Streak":
        if (self.weeks is None) == (self.months is None):
            message = "a streak has exactly one of weeks and months"
            raise ValueError(message)
        return self

    @property
    def length(self) -> int:
        """How many in a row."""
        return self.weeks or self.months or 0


class Bought(Frozen):
    """What the member bought lately: so many purchases in so many days, worth so much together.

    The days are so many times 24 hours before the sale, which itself does not count.
    """

    days: Days
    purchases: Annotated[int, Field(ge=1, le=1_000)] = 1
    #: Per currency, the least net amount of them in minor units; {}: any. One currency is enough.
    minimum_minor: dict[Currency, Annotated[int, Field(ge=1, le=10**15)]] = Field(
        default_factory=dict
    )


class When(Frozen):
    """Conditions; all that are given must hold.

    They look at the sale as it is now: net of refunds, at its own instant.

    `minimum_minor`: per currency, the least net amount in minor units; a sale in another currency
        does not qualify.
    `first_purchase`: the member's first sale of all (the earliest that is worth something, in any
        system).
    `accounts`: as `system/account`. `kinds`: invoice or sale (a receipt of a till).
    `tiers`: the tier in force at the sale.
    `weekdays`, `hours`, `dates`: in the time zone of `clock`: the program's, or the member's own
    where known.
    `nth_purchase`: every n-th sale of the member that meets all other conditions; validity is one,
        so each version counts from 1.
    `lists`: the member is on one of these lists at the sale.
    `code`: the member has entered it before.
    `lapsed_days`: the member had bought before, and for so many days before the sale nothing.
    `bought_before`: an earlier sale of the member has such a product, and it did not come back.
    `bought_lately`: how much and how often the member bought in the days before.
    `stores`, `channels`, `cities`, `regions`: one of the names that the sale's document has there;
        capital letters and accents do not matter. A document that says nothing fits none.
    `streak`: the first such sale of a week or month, where it is the n-th in a row with one (then
        the 2n-th); by the same clock.
    """

    minimum_minor: dict[Currency, Annotated[int, Field(ge=1, le=10**15)]] = Field(
        default_factory=dict
    )
    first_purchase: bool = False
    currencies: tuple[Currency, ...] = ()
    systems: tuple[str, ...] = ()
    accounts: tuple[Annotated[str, Field(pattern=r"^[^/]+/.+$")], ...] = ()
    kinds: tuple[Literal["invoice", "sale"], ...] = ()
    tiers: tuple[TierName, ...] = ()
    weekdays: tuple[Weekday, ...] = ()
    hours: tuple[Hours, ...] = ()
    dates: tuple[date, ...] = ()
    clock: Literal["program", "customer"] = "program"
    nth_purchase: Annotated[int, Field(ge=2, le=1_000)] | None = None
    streak: Streak | None = None
    lists: Annotated[tuple[ListName, ...], Field(max_length=50)] = ()
    code: Code | None = None
    lapsed_days: Days | None = None
    bought_before: Match | None = None
    bought_lately: Bought | None = None
    stores: PlaceNames = ()
    channels: PlaceNames = ()
    cities: PlaceNames = ()
    regions: PlaceNames = ()

    @model_validator(mode="after")
    def _first_and_later(self) -> "When":
        asks_before = self.lapsed_days is not None or self.bought_before or self.bought_lately
        if self.first_purchase and asks_before:
            message = "before a first purchase nothing was bought: it never applies"
            raise ValueError(message)
        if self.first_purchase and self.counts:
            message = "a first purchase is no n-th one and completes no streak: it never applies"
            raise ValueError(message)
        lately = self.bought_lately
        if lately is not None and self.lapsed_days is not None and self.lapsed_days >= lately.days:
            message = "lapsed_days is longer than the days of bought_lately: it never applies"
            raise ValueError(message)
        return self

    @property
    def places(self) -> dict[Place, tuple[str, ...]]:
        """The places that it asks for, by what they are."""
        named = {place: getattr(self, plural) for place, plural in PLURALS.items()}
        return {place: names for place, names in named.items() if names}

    @property
    def counts(self) -> bool:
        """Whether it counts the member's purchases."""
        return self.nth_purchase is not None or self.streak is not None


class Stacking(Frozen):
    """How the promotion meets others on the same sale.

    `group`: of the promotions of one group, the one that is worth most to the member applies (then
        priority, then name).
    `alone`: where it applies, no other promotion does; of several, the one with the highest
        priority (then worth, then name).
    `priority`: higher ones are applied first; the order matters for how the points are divided,
        not for their sum.
    """

    group: str | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    alone: bool = False


class Limits(MemberLimits):
    """Most points this version of the promotion gives; what goes beyond is cut.

    Applied in this order, earliest sales first.
    """

    #: For all members together.
    budget: Limit | None = None


class Promotion(Frozen):
    """One version of a promotion, valid in [valid_from, valid_to) by the instant of the sale.

    The highest version that has begun is in force: it replaces all earlier ones from its
    `valid_from` on, its end included. Limits and budgets count the sales of their own version: a
    further version begins with full ones.
    """

    #: Its name in files of rules and in breakdowns.
    promotion_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    version: Annotated[int, Field(ge=1)]
    valid_from: Instant
    #: None: for good.
    valid_to: Instant | None = None
    #: What to call it in explanations; "": by its kind.
    title: Annotated[str, Field(max_length=200)] = ""
    #: What it gives.
    rule: Rule
    #: Under which conditions.
    when: When = When()
    #: How it meets other promotions on the same sale.
    stacking: Stacking = Stacking()
    #: How much it gives at most.
    limits: Limits = Limits()
    #: Of its days and hours; None: the program's.
    timezone: Zone | None = None
    #: False: switched off. It stays in force and gives nothing, until a version switches it on.
    enabled: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "Promotion":
        if self.promotion_id in ("base", "tier"):
            message = f"promotion_id {self.promotion_id!r} is a word of the breakdown"
            raise ValueError(message)
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            message = "valid_to must be after valid_from"
            raise ValueError(message)
        lowers = isinstance(self.rule, ProductBonus) and (self.rule.multiplier_bps or BPS) < BPS
        excludes = isinstance(self.rule, ProductBonus) and self.rule.multiplier_bps == 0
        if (lowers or excludes) and self.limits != Limits():
            message = "a multiplier below 1 takes points away: it can have no limit"
            raise ValueError(message)
        if isinstance(self.rule, ReferralReward) and (
            self.stacking != Stacking() or self.when.first_purchase or self.when.counts
        ):
            message = (
                "a referral reward stacks with everything "
                "and has its own idea of which purchase of the friend brings it"
            )
            raise ValueError(message)
        return self

    @property
    def kind(self) -> str:
        """The kind of the rule."""
        return self.rule.kind

    @property
    def key(self) -> str:
        """Its name in a breakdown: `black-november@2`."""
        return f"{self.promotion_id}@{self.version}"

    def parameters(self) -> dict[str, Any]:
        """What is stored of it beside its name, version, kind and validity."""
        stored = self.model_dump(
            mode="json",
            exclude={"promotion_id", "version", "valid_from", "valid_to"},
            exclude_defaults=True,
        )
        stored["rule"] = self.rule.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        return stored

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Promotion":
        """From a row of loyalty.promotion.

        It has promotion_id, version, kind, parameters, valid_from, valid_to.

        Raises UnknownPromotionKindError: points must never be short of a promise without anyone
        noticing. Raises pydantic.ValidationError for parameters that do not fit the kind.
        """
        parameters = dict(row["parameters"])
        if row["kind"] not in kinds():
            message = (
                f"promotion {row['promotion_id']!r} is of the kind {row['kind']!r}, "
                "which this version cannot evaluate"
            )
            raise UnknownPromotionKindError(message)
        rule = {**parameters.pop("rule", {}), "kind": row["kind"]}
        stored = {name: row[name] for name in ("promotion_id", "version", "valid_from", "valid_to")}
        return cls.model_validate({**stored, **parameters, "rule": rule})
