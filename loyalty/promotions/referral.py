"""Rewards for bringing a friend: at the friend's first sale that meets the conditions, to both."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from loyalty.inputs import ORDER
from loyalty.promotions.active import Active
from loyalty.promotions.kinds import ReferralReward
from loyalty.schema import NEGATIVE_KINDS

#: Points for bringing a friend.
REWARDS: Final = pl.Schema(
    {
        #: The friend's sale.
        "_row": pl.UInt32(),
        #: The promotion, as in `Active`.
        "number": pl.Int32(),
        #: Who is rewarded: the friend, or who brought the friend.
        "member_id": pl.Int64(),
        #: How many; more than 0.
        "points": pl.Int64(),
    }
)


def rewards(
    frame: pl.DataFrame, qualifying: Sequence[tuple[Active, pl.Expr]], referrals: pl.DataFrame
) -> pl.DataFrame:
    """Who is rewarded for what (REWARDS).

    Args:
        frame: The sales of the friends, with what they earn.
        qualifying: Referral promotions and whether a sale meets their conditions.
        referrals: REFERRALS of these friends, and all others of their referrers.
    """
    if not qualifying or referrals.is_empty():
        return REWARDS.to_frame()
    friends = frame.join(referrals, left_on="member_id", right_on="friend_id").with_columns(
        pl.col("latest_at").filter(_worth()).min().over("member_id").alias("first_bought_at")
    )
    frames = []
    for promotion_id in dict.fromkeys(active.promotion.promotion_id for active, _ in qualifying):
        versions = [
            (active, meets)
            for active, meets in qualifying
            if active.promotion.promotion_id == promotion_id
        ]
        frames.append(_rewards_of_promotion(friends, versions))
    return pl.concat(frames).select(REWARDS.names()).cast(REWARDS)


def _worth() -> pl.Expr:
    return (pl.col("net_minor") > 0) & ~pl.col("kind").is_in(NEGATIVE_KINDS)


def _rewards_of_promotion(
    friends: pl.DataFrame, versions: Sequence[tuple[Active, pl.Expr]]
) -> pl.DataFrame:
    """One reward per friend and promotion, whichever version is in force at the sale.

    Then the limit per referrer is applied.
    """
    sales = [
        friends.filter(meets & _in_time(_rule(active))).with_columns(_terms(active))
        for active, meets in versions
    ]
    firsts = pl.concat(sales).sort(ORDER).unique("member_id", keep="first", maintain_order=True)
    ranked = firsts.with_columns(pl.int_range(pl.len()).over("referrer_id").alias("earlier"))
    to_friend = ranked.select(
        "_row", "number", "member_id", pl.col("friend_points").alias("points")
    )
    rewarded = ranked.filter(pl.col("earlier") < pl.col("limit").fill_null(pl.col("earlier") + 1))
    to_referrer = rewarded.select(
        "_row",
        "number",
        pl.col("referrer_id").alias("member_id"),
        pl.col("referrer_points").alias("points"),
    )
    return pl.concat([to_friend, to_referrer]).filter(pl.col("points") > 0)


def _rule(active: Active) -> ReferralReward:
    rule = active.promotion.rule
    assert isinstance(rule, ReferralReward)
    return rule


def _in_time(rule: ReferralReward) -> pl.Expr:
    since = pl.col("referred_at")
    # Of a sale that tells its day only, any moment of that day counts.
    holds = pl.col("latest_at") >= since
    if rule.within_days is not None:
        holds &= pl.col("issued_at") < since + pl.duration(days=rule.within_days)
    if rule.new_customers_only:
        holds &= pl.col("first_bought_at") >= since
    return holds


def _terms(active: Active) -> list[pl.Expr]:
    rule = _rule(active)
    return [
        pl.lit(active.number, pl.Int32).alias("number"),
        pl.lit(rule.friend_points, pl.Int64).alias("friend_points"),
        pl.lit(rule.referrer_points, pl.Int64).alias("referrer_points"),
        pl.lit(rule.limit_per_referrer, pl.Int64).alias("limit"),
    ]
