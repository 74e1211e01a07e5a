"""All promotions over all sales: candidates, stacking, the chain, limits.

In: sales with what they earn (`loyalty.earning.EARNED`), the promotions, and facts. Out: PARTS,
what each promotion gives for each sale.

Frames have a row per sale and promotion: only what applies takes space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from loyalty.earning import EXACT_LIMIT
from loyalty.inputs import ORDER, Facts
from loyalty.program import Program
from loyalty.promotions.active import Active, active_versions, between, largest_product
from loyalty.promotions.chain import FACTORS, WORTH, added, bonus, factors, value
from loyalty.promotions.conditions import conditions, with_first
from loyalty.promotions.kinds import ProductBonus, PurchaseBonus, ReferralReward
from loyalty.promotions.limits import granted, limited, limited_together
from loyalty.promotions.products import TOTALS, matched, needs_lines, sold, totals
from loyalty.promotions.promotion import Promotion
from loyalty.promotions.referral import rewards
from loyalty.promotions.segments import with_segments
from loyalty.promotions.stacking import with_stacking
from loyalty.returns import Returns
from loyalty.types import BPS

_WIDE: Final = pl.Int128
#: What the promotions give, one row per sale, promotion and member.
PARTS: Final = pl.Schema(
    {
        #: The sale; a referrer is rewarded at the friend's.
        "_row": pl.UInt32(),
        #: The promotion, as in `Active`.
        "number": pl.Int32(),
        #: Who gets the points.
        "member_id": pl.Int64(),
        #: After all limits.
        "points": pl.Int64(),
        #: Before the budget.
        "wanted": pl.Int64(),
        #: Before the limits over all promotions together.
        "uncapped": pl.Int64(),
        #: Before any limit.
        "unlimited": pl.Int64(),
        #: The rule of stacking that left it out, `alone` or `group`; null: it applies.
        "beaten": pl.String(),
    }
)
#: Promotions that could apply to a sale; `add_n` null: it multiplies.
CANDIDATES: Final = pl.Schema(
    {
        "_row": pl.UInt32(),
        "number": pl.Int32(),
        #: What a bonus gives before it is multiplied, as a fraction.
        "add_n": pl.Int128(),
        "add_d": pl.Int128(),
        #: Whether the bonus is multiplied by the tier and by multipliers.
        "multiplied": pl.Boolean(),
    }
)
#: What of a sale its value is computed from.
_SALE_FACTS: Final = (
    "_row", *ORDER, "program_version", "rounding", "earned", "earn_minor", "exponent",
    "base_rate_bps", "per_full_minor", "tier_rate_bps",
)  # fmt: skip


@dataclass(frozen=True)
class PromotionInputs:
    """The sales and everything the promotions look at."""

    #: EARNED, with `first_at` where a promotion asks for the first purchase, `zone` where one goes
    #: by the customer's clock, and a column for each condition of `loyalty.promotions.segments`.
    frame: pl.DataFrame
    #: The promotions that any of the sales could use, in the order in which they are applied.
    promotions: list[Active]
    #: All versions of the program.
    programs: Sequence[Program]
    #: What promotions may need beside sales: referrals, and what budgets leave.
    facts: Facts
    #: Time zones of members, where a promotion goes by the customer's clock.
    zones: list[str]
    #: What each sale consists of (`loyalty.promotions.products.sold`); empty where nothing asks.
    counted: pl.DataFrame
    #: What lines are shares of (`loyalty.promotions.products.TOTALS`); empty where nothing asks.
    totals: pl.DataFrame
    #: What came back of the sales.
    returns: Returns

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        promotions: Sequence[Promotion],
        programs: Sequence[Program],
        facts: Facts,
        returns: Returns,
    ) -> "PromotionInputs":
        """`frame` and `returns` are what `loyalty.earning.earned` gives."""
        times: list[datetime] = (
            frame["issued_at"].bottom_k(1).to_list() + frame["issued_at"].top_k(1).to_list()
        )
        actives = between(active_versions(promotions), *times) if times else []
        if any(active.promotion.when.first_purchase for active in actives):
            frame = with_first(frame)
        zones: list[str] = []
        if any(active.promotion.when.clock == "customer" for active in actives):
            frame = frame.join(
                facts.zones.rename({"timezone": "zone"}),
                on="member_id",
                how="left",
                maintain_order="left",
            )
            zones = sorted(facts.zones["timezone"].unique())
        counted = whole = TOTALS.to_frame()
        if needs_lines(actives):
            counted = sold(frame, facts.lines, actives, programs, returns)
            whole = totals(counted, frame)
        frame = with_segments(frame, actives, facts, counted)
        exact = _exact(frame, whole, actives, programs)
        return cls(exact, actives, programs, facts, zones, counted, whole, returns)

    def meets(self, active: Active) -> pl.Expr:
        """Whether a sale meets the conditions of the promotion."""
        return pl.all_horizontal(*conditions(active, self.programs, self.zones).values())


def _exact(
    frame: pl.DataFrame,
    whole: pl.DataFrame,
    promotions: Sequence[Active],
    programs: Sequence[Program],
) -> pl.DataFrame:
    """Points are null where products of amount, lines and rates could leave 128 bits.

    Such a sale is rejected rather than wrapped.
    """
    if not promotions:
        return frame
    limit = limit_of_exactness(promotions, programs)
    least = pl.lit(10, _WIDE).pow(pl.col("exponent")).cast(_WIDE)
    size = pl.max_horizontal(
        pl.col("earn_minor").abs().cast(_WIDE), pl.col("left_minor").cast(_WIDE), least
    ) * pl.max_horizontal("lines_minor", "lines_micro").fill_null(1).cast(_WIDE)
    held = pl.when(size <= pl.lit(limit, _WIDE)).then("earned").alias("earned")
    return (
        frame.join(whole, on="_row", how="left", maintain_order="left")
        .with_columns(held)
        .drop("lines_minor", "lines_micro")
    )


def parts(inputs: PromotionInputs) -> pl.DataFrame:
    """PARTS, rows that stacking left out included (with no points)."""
    if not inputs.promotions:
        return pl.DataFrame(schema=PARTS)
    candidates = _candidates(inputs)
    candidates = with_stacking(_with_worth(inputs, candidates), inputs.promotions)
    applied = _valued(inputs, candidates.filter(pl.col("beaten").is_null()))
    referral = [
        (active, inputs.meets(active))
        for active in inputs.promotions
        if isinstance(active.promotion.rule, ReferralReward)
    ]
    reward = rewards(inputs.frame, referral, inputs.facts.referrals)
    order = inputs.frame.select("_row", *ORDER, "program_version")
    columns = [*applied.columns, *ORDER, "program_version"]
    rewarded = reward.join(order.drop("member_id"), on="_row")
    shares = pl.concat([applied.join(order, on="_row").select(columns), rewarded.select(columns)])
    shares = limited(
        shares.with_columns(pl.col("points").alias("unlimited")), inputs.promotions, inputs.programs
    )
    shares = limited_together(
        shares.with_columns(pl.col("points").alias("uncapped")), inputs.programs
    )
    shares = granted(shares, inputs.promotions, inputs.facts.grants)
    beaten = candidates.filter(pl.col("beaten").is_not_null()).join(
        order.select("_row", "member_id"), on="_row"
    )
    amounts = ("points", "wanted", "uncapped", "unlimited")
    zero = [pl.lit(0, pl.Int64).alias(name) for name in amounts]
    return pl.concat(
        [
            shares.with_columns(pl.lit(None, pl.String).alias("beaten")).select(PARTS.names()),
            beaten.with_columns(zero).select(PARTS.names()),
        ]
    )


def _candidates(inputs: PromotionInputs) -> pl.DataFrame:
    """Every promotion that could apply to a sale (CANDIDATES), in the order of application."""
    schema = {name: dtype for name, dtype in CANDIDATES.items() if name != "multiplied"}
    frames = [pl.DataFrame(schema=schema)]
    for active in inputs.promotions:
        rule = active.promotion.rule
        if isinstance(rule, ReferralReward):
            continue
        sales = inputs.frame.lazy().filter(inputs.meets(active)).select(WORTH).collect()
        if active.by_line:
            sales = sales.join(
                matched(inputs.counted, active).filter(pl.col("matched_minor") > 0),
                on="_row",
                how="semi",
            )
        if active.factor:
            sales = sales.select(
                "_row", pl.lit(None, _WIDE).alias("add_n"), pl.lit(None, _WIDE).alias("add_d")
            )
        else:
            sales = added(active, sales, inputs.counted)
        frames.append(
            sales.with_columns(pl.lit(active.number, pl.Int32).alias("number")).select(
                schema.keys()
            )
        )
    rules = [(active.number, active.promotion.rule) for active in inputs.promotions]
    multiplied = [
        n for n, rule in rules if isinstance(rule, ProductBonus | PurchaseBonus) and rule.multiplied
    ]
    # One key sorts several times faster than two.
    in_order = pl.concat(frames).sort(pl.col("_row").cast(pl.Int64) * 2**31 + pl.col("number"))
    return in_order.with_columns(pl.col("number").is_in(multiplied).alias("multiplied"))


def _with_worth(inputs: PromotionInputs, candidates: pl.DataFrame) -> pl.DataFrame:
    """Adds `worth`: the points each would give by itself; 0 where stacking does not ask."""
    stacking = [(active.number, active.promotion.stacking) for active in inputs.promotions]
    compared = pl.col("number").is_in(
        [n for n, how in stacking if how.alone or how.group is not None]
    )
    rivals = candidates.filter(compared)
    if rivals.is_empty():
        return candidates.with_columns(pl.lit(0, pl.Int64).alias("worth"))
    alone = factors(
        rivals.select("_row", "number"),
        inputs.promotions,
        inputs.counted,
        inputs.totals,
        ("_row", "number"),
    )
    unit = [pl.lit(1, _WIDE).alias(name) for name in ("one_n", "one_d")]
    valued_rivals = (
        rivals.join(inputs.frame.select(_SALE_FACTS), on="_row", maintain_order="left")
        .join(
            alone.select(FACTORS.names()),
            on=["_row", "number"],
            how="left",
            maintain_order="left",
        )
        .with_columns(unit)
    )
    gain = value(inputs.programs) - pl.col("earned")
    worth = (
        pl.when(pl.col("add_n").is_null())
        .then(gain)
        .otherwise(bonus(inputs.programs, "one_n", "one_d"))
    )
    valued = valued_rivals.select("_row", "number", worth.alias("worth"))
    joined = candidates.join(valued, on=["_row", "number"], how="left", maintain_order="left")
    return joined.with_columns(pl.col("worth").fill_null(0))


def _valued(inputs: PromotionInputs, applied: pl.DataFrame) -> pl.DataFrame:
    """`_row`, number, points of the promotions that apply."""
    chain = factors(
        applied.filter(pl.col("add_n").is_null()).select("_row", "number"),
        inputs.promotions,
        inputs.counted,
        inputs.totals,
    )
    sales = inputs.frame.select(_SALE_FACTS)
    reached = chain.join(sales, on="_row", maintain_order="left").with_columns(
        value(inputs.programs).alias("reached")
    )
    before = pl.col("reached").shift(1).over("_row").fill_null(pl.col("earned"))
    multipliers = reached.select("_row", "number", (pl.col("reached") - before).alias("points"))
    last = (
        chain.group_by("_row").agg(pl.col("whole_n", "whole_d").last())
        if chain.height
        else chain.select("_row", "whole_n", "whole_d")
    )
    filled = [pl.col("whole_n", "whole_d").fill_null(1)]
    bonuses = (
        applied.filter(pl.col("add_n").is_not_null())
        .join(last, on="_row", how="left", maintain_order="left")
        .with_columns(filled)
        .join(sales, on="_row", maintain_order="left")
        .select("_row", "number", bonus(inputs.programs).alias("points"))
    )
    return pl.concat([multipliers, bonuses])


def limit_of_exactness(promotions: Sequence[Active], programs: Sequence[Program]) -> int:
    """The largest product of an amount and its lines that stays exact.

    It is exact through every multiplier and bonus.
    """
    base = max(max(p.base_rate_bps.values(), default=1) for p in programs)
    tier = max(max(p.tier_rate_bps.values()) for p in programs)
    rules = [active.promotion.rule for active in promotions]
    units = [
        rule.points_per_unit or rule.percent_bps or 1
        for rule in rules
        if isinstance(rule, ProductBonus)
    ]
    return EXACT_LIMIT // (max(base, BPS, *units) * max(tier, BPS) * largest_product(promotions))
