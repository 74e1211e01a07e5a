"""Promotions: parameters are data (models), kinds are code (rules)."""

from loyalty.policies import PeriodLimit
from loyalty.promotions.codes import Code
from loyalty.promotions.kinds import (
    Match,
    ProductBonus,
    PurchaseBonus,
    ReferralReward,
    Rule,
    SeasonalMultiplier,
    kinds,
)
from loyalty.promotions.promotion import (
    Bought,
    Hours,
    Limits,
    Promotion,
    Stacking,
    Streak,
    UnknownPromotionKindError,
    When,
)

__all__ = [
    "Bought",
    "Code",
    "Hours",
    "Limits",
    "Match",
    "PeriodLimit",
    "ProductBonus",
    "Promotion",
    "PurchaseBonus",
    "ReferralReward",
    "Rule",
    "SeasonalMultiplier",
    "Stacking",
    "Streak",
    "UnknownPromotionKindError",
    "When",
    "kinds",
]
