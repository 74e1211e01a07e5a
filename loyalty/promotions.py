"""Where promotions join the computation.

A kind of promotion is one small function here, parameters in, `pl.Expr` of points out, listed in KINDS; its parameters are
rows of loyalty.promotion. The award asks `evaluate` once per run and adds its columns to the breakdown, after the multiplier
chain and its rounding. No kind is evaluated yet: until one is, an active promotion is refused rather than silently ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict


class UnknownPromotionKindError(ValueError):
    """An active promotion names a kind that this version cannot evaluate."""


class Promotion(BaseModel):
    """One version of a promotion, valid in [valid_from, valid_to)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promotion_id: str
    version: int
    kind: str
    parameters: dict[str, Any]
    valid_from: datetime
    valid_to: datetime | None = None


#: kind -> function(promotion) -> expression of whole points (Int64) over the award frame.
KINDS: Mapping[str, Callable[[Promotion], pl.Expr]] = {}


def evaluate(promotions: Sequence[Promotion]) -> dict[str, pl.Expr]:
    """Points per promotion, as named expressions over the award frame, in the order of the promotions.

    Raises UnknownPromotionKindError: points must never be short of a promise without anyone noticing.
    """
    unknown = sorted({p.kind for p in promotions} - KINDS.keys())
    if unknown:
        message = f"promotion kinds {unknown} cannot be evaluated by this version; remove them from loyalty.promotion"
        raise UnknownPromotionKindError(message)
    return {p.promotion_id: KINDS[p.kind](p) for p in promotions}
