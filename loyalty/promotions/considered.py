"""Why a promotion gave a sale what it gave, or nothing.

For explanations, one sale or one member at a time.
"""

from typing import Final

import polars as pl

from loyalty.promotions.conditions import conditions
from loyalty.promotions.evaluate import PromotionInputs
from loyalty.promotions.kinds import ReferralReward

#: One row per sale, promotion version and member.
CONSIDERED: Final = pl.Schema(
    {
        #: The sale.
        "_row": pl.UInt32(),
        #: Who would get the points.
        "member_id": pl.Int64(),
        #: The promotion.
        "promotion_id": pl.String(),
        #: Its version.
        "version": pl.Int32(),
        #: `applied`; `limit`, `together` or `budget` where its own limit, one over all promotions
        #: together or its budget cut it (to nothing or to `points`); `alone` or `group` where
        #: stacking left it out; `product` where no line fits; `referral` where it is not the sale
        #: that brings the reward; else the first condition that does not hold (`worth`,
        #: `validity`, `enabled`, `currency`, `system`, `account`, `kind`, `tier`, `minimum`,
        #: `store`, `channel`, `city`, `region`, `lists`, `code`, `lapsed`, `bought_before`,
        #: `bought_lately`,
        #: `first_purchase`, `date`, `weekday`, `time_of_day`, `hours`, `nth_purchase`, `streak`).
        "outcome": pl.String(),
        #: After all limits.
        "points": pl.Int64(),
        #: Before the budget.
        "wanted": pl.Int64(),
        #: Before any limit.
        "unlimited": pl.Int64(),
    }
)


def considered(inputs: PromotionInputs, shares: pl.DataFrame) -> pl.DataFrame:
    """CONSIDERED of all sales in `inputs`.

    `shares` is what `loyalty.promotions.evaluate.parts` made of it.
    """
    parts = [pl.DataFrame(schema=CONSIDERED)]
    for active in inputs.promotions:
        referral = isinstance(active.promotion.rule, ReferralReward)
        checks = conditions(active, inputs.programs, inputs.zones).items()
        failed = pl.coalesce(
            *(pl.when(~holds.fill_null(value=False)).then(pl.lit(name)) for name, holds in checks)
        )
        asked = inputs.frame.select("_row", "member_id", failed.alias("failed"))
        gained = shares.filter(pl.col("number") == active.number).drop("number")
        # A referral rewards the referrer as well, at a sale that is not theirs.
        joined = asked.join(
            gained, on=["_row", "member_id"], how="full" if referral else "left", coalesce=True
        )
        cut = pl.when(pl.col("points") < pl.col("wanted")).then(pl.lit("budget"))
        together = pl.when(pl.col("wanted") < pl.col("uncapped")).then(pl.lit("together"))
        limit = pl.when(pl.col("uncapped") < pl.col("unlimited")).then(pl.lit("limit"))
        missing = pl.when(pl.col("points").is_null()).then(
            pl.lit("referral" if referral else "product")
        )
        parts.append(
            joined.with_columns(
                pl.lit(active.promotion.promotion_id).alias("promotion_id"),
                pl.lit(active.promotion.version, pl.Int32).alias("version"),
                pl.coalesce(
                    "failed", "beaten", missing, cut, together, limit, pl.lit("applied")
                ).alias("outcome"),
                pl.col("points", "wanted", "unlimited").fill_null(0),
            ).select(CONSIDERED.names())
        )
    return pl.concat(parts)
