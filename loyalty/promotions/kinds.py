"""The kinds of promotion: what each gives.

When a promotion applies, and how much it gives at most, is in `promotion.py`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from loyalty.program import Pattern
from loyalty.types import BPS, Frozen, Points

Factor = Annotated[int, Field(ge=0, le=100 * BPS)]


class Match(Frozen):
    """Which lines of a sale: those that fit any of the lists, and none of `except_skus`.

    `skus` are compared as written; patterns know `*` and `?` and do not distinguish upper and lower
    case; `categories` are those of the program version in force.
    """

    skus: tuple[str, ...] = ()
    sku_patterns: tuple[Pattern, ...] = ()
    name_patterns: tuple[Pattern, ...] = ()
    categories: tuple[str, ...] = ()
    except_skus: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> "Match":
        if not (self.skus or self.sku_patterns or self.name_patterns or self.categories):
            message = "it must name products: skus, sku_patterns, name_patterns or categories"
            raise ValueError(message)
        return self


class ProductBonus(Frozen):
    """Extra for certain products; exactly one of the three rewards.

    `points_per_unit`: points for each unit of the matching lines.
    `percent_bps`: this share of the matching lines' amount, as points: 10_000 (100 %) is one point
        per currency unit.
    `multiplier_bps`: the matching lines earn this many times as much; 0: they do not earn.
    `multiplied`: the bonus is multiplied by tier and seasonal multipliers like the base. Always so
        for `multiplier_bps`.
    """

    kind: Literal["product_bonus"] = "product_bonus"
    match: Match
    points_per_unit: Points | None = None
    percent_bps: Factor | None = None
    multiplier_bps: Factor | None = None
    multiplied: bool = False

    @model_validator(mode="after")
    def _one_reward(self) -> "ProductBonus":
        rewards = [self.points_per_unit, self.percent_bps, self.multiplier_bps]
        if sum(reward is not None for reward in rewards) != 1:
            message = (
                "a product bonus has exactly one of points_per_unit, percent_bps and multiplier_bps"
            )
            raise ValueError(message)
        return self


class SeasonalMultiplier(Frozen):
    """The whole sale earns `multiplier_bps` times as much (20_000 = 2x)."""

    #: The name of this kind in a file of rules. So for the others.
    kind: Literal["seasonal_multiplier"] = "seasonal_multiplier"
    multiplier_bps: Annotated[int, Field(ge=BPS, le=100 * BPS)]


class PurchaseBonus(Frozen):
    """A fixed number of points for a sale that meets the conditions.

    Conditions are, for example, a minimum purchase or a first purchase.

    `multiplied`: by tier and seasonal multipliers, like the base.
    """

    kind: Literal["purchase_bonus"] = "purchase_bonus"
    points: Annotated[int, Field(ge=1, le=10**12)]
    multiplied: bool = False


class ReferralReward(Frozen):
    """Points at the friend's first sale that meets the conditions.

    The friend gets them, and whoever referred the friend.

    `limit_per_referrer`: a referrer is rewarded for so many friends at most, the earliest sales
        first.
    `within_days`: the sale must happen within so many days after the referral.
    `new_customers_only`: a friend who bought before the referral brings nothing.
    """

    kind: Literal["referral_reward"] = "referral_reward"
    referrer_points: Points
    friend_points: Points = 0
    limit_per_referrer: Annotated[int, Field(ge=1, le=10**6)] | None = None
    within_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    new_customers_only: bool = True


Rule = Annotated[
    ProductBonus | SeasonalMultiplier | PurchaseBonus | ReferralReward, Field(discriminator="kind")
]


def kinds() -> tuple[str, ...]:
    """The names of the kinds of promotion."""
    return tuple(model.model_fields["kind"].default for model in get_args(get_args(Rule)[0]))
