"""What a sale earns before promotions.

In: HISTORY, tiers and the versions of the program. Out: EARNED: the sale's net amount, the version
and the tier in force, its base points, and its points with the tier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import polars as pl

from loyalty.currency import exponents_frame
from loyalty.days import with_order
from loyalty.inputs import HISTORY, SALE, Facts
from loyalty.program import VERSIONS, Program, rates_frame, versions_frame
from loyalty.returns import Returns, bring_home
from loyalty.rounding import Rounding, rounded_ratio
from loyalty.schema import IDLE, NEGATIVE_KINDS, UTC_US
from loyalty.tiers import evaluated, tier_set
from loyalty.types import BPS
from loyalty.unlinked_credits import against_latest

#: HISTORY with `_row`, and what each sale earns before promotions.
EARNED: Final = pl.Schema(
    {
        #: The sale's place in the history that was asked for.
        "_row": pl.UInt32(),
        **HISTORY,
        #: By which sales are ordered; see `loyalty.days`.
        "ordered_at": UTC_US,
        #: When the sale was at the latest; see `loyalty.days`.
        "latest_at": UTC_US,
        #: The document of another system that counts instead, for people; null: none does.
        "counted_at": pl.String(),
        #: The version of the program in force at the sale; all null: none was.
        **VERSIONS,
        #: The amount that earns, in the sale's currency: after refunds, negative for credits.
        "net_minor": pl.Int64(),
        #: Of the total, with tax, what was not given back; without sign.
        "left_minor": pl.Int64(),
        #: Of a sale: what credit documents take of it that were brought home to it, with tax.
        "credited_minor": pl.Int64(),
        #: The total without the products that came back: what the other lines are shares of.
        "whole_minor": pl.Int64(),
        #: The same by the basis.
        "gross_minor": pl.Int64(),
        #: Points per whole unit, or per full amount, in basis points; null: the currency has no
        #: rate.
        "base_rate_bps": pl.Int64(),
        #: The amount of which only full ones earn, in minor units; null: every unit earns.
        "per_full_minor": pl.Int64(),
        #: Decimals of the currency whose rate applies.
        "exponent": pl.Int64(),
        #: `net_minor` in the currency whose rate applies.
        "earn_minor": pl.Int64(),
        #: Points without the tier; null: a rate is missing, or it is beyond exact arithmetic.
        "base": pl.Int64(),
        #: From when on the loyalty app's tier is in force; null: it had set none.
        "tier_from": UTC_US,
        #: The tier in force at the sale.
        "tier": pl.String(),
        #: That tier's factor in basis points; null: the program has no such tier.
        "tier_rate_bps": pl.Int64(),
        #: Points with the tier, before promotions; null as `base`.
        "earned": pl.Int64(),
    }
)
#: Products stay below it, so that 128 bits never wrap.
EXACT_LIMIT: Final = 2**125


@dataclass(frozen=True)
class Earned:
    """What sales earn by themselves, and what came back of them."""

    #: EARNED, sorted by `issued_at`.
    frame: pl.DataFrame
    #: By the credit documents of the history.
    returns: Returns


def earned(
    history: pl.DataFrame, tiers: pl.DataFrame, programs: Sequence[Program], facts: Facts
) -> Earned:
    """HISTORY and what it earns by itself."""
    frame, returns = _with_base(with_order(history).sort("issued_at"), programs, facts)
    frame = tier_set(frame, tiers, programs)
    if any(p.tier_policy for p in programs):
        frame = evaluated(frame, programs)
    frame = frame.join(
        rates_frame(programs, "tier_rate_bps", "tier"),
        on=["program_version", "tier"],
        how="left",
        maintain_order="left",
    )
    points = points_of(programs, ["base_rate_bps", "tier_rate_bps"])
    return Earned(frame.with_columns(points.alias("earned")), returns)


def _with_base(
    history: pl.DataFrame, programs: Sequence[Program], facts: Facts
) -> tuple[pl.DataFrame, Returns]:
    frame = history.join_asof(
        versions_frame(programs), left_on="issued_at", right_on="valid_from", strategy="backward"
    )
    settled = pl.lit(0, pl.Int64)
    if facts.settled.is_empty():
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("counted_at"))
    else:
        frame = frame.join(facts.settled, on=SALE, how="left", maintain_order="left")
        settled = pl.col("settled_minor").fill_null(0)
    counted, by_product = settled, pl.lit(0, pl.Int64)
    frame = frame.with_columns(*_net(counted, by_product))
    if any(p.unlinked_credits == "latest_sales" for p in programs):
        latest = against_latest(_happened(frame), programs).rename({"matched_minor": "_latest"})
        frame = frame.join(latest, on="_row", how="left", maintain_order="left")
        counted = counted + pl.col("_latest").fill_null(0)
        frame = frame.with_columns(*_net(counted, by_product))
    returns = bring_home(_happened(frame), programs, facts.lines)
    if not returns.documents.is_empty():
        frame = frame.join(returns.documents, on="_row", how="left", maintain_order="left")
        counted = counted + pl.col("matched_minor").fill_null(0)
        by_product = pl.col("by_product_minor").fill_null(0)
        frame = frame.with_columns(*_net(counted, by_product))
    sold = ~pl.col("kind").is_in(NEGATIVE_KINDS)
    frame = frame.with_columns(
        pl.when(sold).then(counted - settled).otherwise(pl.lit(0)).alias("credited_minor")
    )
    # Product bonuses have a column of the name matched_minor.
    helpers = ("settled_minor", "_latest", "matched_minor", "by_product_minor")
    frame = _with_rate(frame.drop(helpers, strict=False), programs, facts)
    return frame.with_columns(points_of(programs, ["base_rate_bps"]).alias("base")), returns


def _happened(frame: pl.DataFrame) -> pl.DataFrame:
    """`left_minor` of documents that happened: nothing of drafts and voids.

    A sale that is not paid yet is lowered too: a credit for it must not take points that the sale
    has not given. What counts wholly at another system's document is no part of it: nothing comes
    back to it, and it takes nothing.
    """
    frame = frame.filter(pl.col("counted_at").is_null() | (pl.col("left_minor") > 0))
    happened = ~pl.col("status").is_in(IDLE)
    return frame.with_columns(
        pl.when(happened).then("left_minor").otherwise(pl.lit(0)).alias("left_minor")
    )


def _net(settled: pl.Expr, by_product: pl.Expr) -> tuple[pl.Expr, ...]:
    """Amounts in minor units: `net_minor`, `left_minor`, `whole_minor`, `gross_minor`.

    What earns after refunds (nothing for drafts and voids), what is left with tax, and what lines
    are shares of: all but the products that came back.
    """
    total = pl.col("total_minor")
    left = _left(settled)
    whole = total - by_product
    without_tax = pl.col("basis") == "subtotal"
    amount = pl.when(without_tax).then(_without_tax(left)).otherwise(left)
    negative = pl.col("kind").is_in(NEGATIVE_KINDS)
    signed = pl.when(negative).then(-amount).otherwise(amount)
    # What takes points back does so at once: it waits for no payment. The program or the account
    # may await one.
    awaited = (pl.col("award_when") == "paid") | (pl.col("account_award_when") == "paid").fill_null(
        value=False
    )
    counts = (pl.col("status") == "paid") | ((pl.col("status") == "open") & (negative | ~awaited))
    gross = pl.when(without_tax).then(_without_tax(whole)).otherwise(whole)
    return (
        pl.when(counts).then(signed).otherwise(pl.lit(0)).alias("net_minor"),
        left.alias("left_minor"),
        whole.alias("whole_minor"),
        gross.alias("gross_minor"),
    )


def _without_tax(amount: pl.Expr) -> pl.Expr:
    """Refunds are stated with tax; without tax they count in the invoice's own proportion."""
    return rounded_ratio(
        pl.col("subtotal_minor").cast(pl.Int128) * amount.cast(pl.Int128),
        pl.max_horizontal(pl.col("total_minor"), pl.lit(1)).cast(pl.Int128),
        "down",
    ).cast(pl.Int64)


def _left(settled: pl.Expr) -> pl.Expr:
    return pl.max_horizontal(
        pl.col("total_minor") - pl.col("amount_refunded_minor").fill_null(0) - settled, pl.lit(0)
    )


def _with_rate(frame: pl.DataFrame, programs: Sequence[Program], facts: Facts) -> pl.DataFrame:
    """Adds the base rate of the sale's currency, or of the base currency and the amount in it."""
    rates = rates_frame(programs, "base_rate_bps", "currency").join(
        rates_frame(programs, "per_full_minor", "currency"),
        on=["program_version", "currency"],
        how="left",
    )
    exponents = exponents_frame()
    frame = frame.join(
        rates, on=["program_version", "currency"], how="left", maintain_order="left"
    ).join(exponents, on="currency", how="left", maintain_order="left")
    frame = frame.with_columns(pl.col("net_minor").alias("earn_minor"))
    if not any(p.base_currency for p in programs):
        return frame
    foreign = pl.col("base_rate_bps").is_null() & pl.col("base_currency").is_not_null()
    converted = (
        frame.filter(foreign)
        .join_asof(
            facts.fx.sort("valid_from").rename({"valid_from": "fx_from", "valid_to": "fx_to"}),
            left_on="issued_at", right_on="fx_from", by=["currency", "base_currency"],
            strategy="backward", check_sortedness=False,
        )
        .drop("base_rate_bps", "per_full_minor")
        .join(
            rates.rename({"currency": "base_currency"}),
            on=["program_version", "base_currency"], how="left",
        )
        .join(
            exponents.rename({"currency": "base_currency", "exponent": "base_exponent"}),
            on="base_currency", how="left",
        )
        .with_columns(_converted().alias("earn_minor"))
        .with_columns(
            pl.when(pl.col("earn_minor").is_not_null())
            .then("base_rate_bps")
            .alias("base_rate_bps"),
            pl.col("base_exponent").alias("exponent"),
        )
    )  # fmt: skip
    return pl.concat([frame.filter(~foreign), converted.select(frame.columns)]).sort("issued_at")


def _converted() -> pl.Expr:
    """The net amount in minor units of the base currency, rounded half up.

    Null without a rate for the instant.
    """
    rate = pl.when(
        pl.col("issued_at") < pl.col("fx_to").fill_null(pl.col("issued_at") + pl.duration(days=1))
    ).then("rate_e9")
    ten = pl.lit(10, pl.Int128)
    numerator = (
        pl.col("net_minor").cast(pl.Int128)
        * rate.cast(pl.Int128)
        * ten.pow(pl.col("base_exponent"))
    )
    denominator = 10**9 * ten.pow(pl.col("exponent"))
    return rounded_ratio(numerator.cast(pl.Int128), denominator.cast(pl.Int128), "half_up").cast(
        pl.Int64, strict=False
    )


def points_of(programs: Sequence[Program], rates: Sequence[str]) -> pl.Expr:
    """`earn_minor` times all `rates`, in points.

    Rounded once, by the rule of the version in force.
    """
    one = pl.lit(1, pl.Int128)
    numerator, denominator = counted_amount(programs, one, one)
    for rate in rates:
        numerator = numerator * pl.col(rate).cast(pl.Int128)
        denominator = denominator * BPS
    return rounded(programs, numerator, denominator)


def counted_amount(
    programs: Sequence[Program], line_n: pl.Expr, line_d: pl.Expr
) -> tuple[pl.Expr, pl.Expr]:
    """What the base rate is for, as a fraction: whole units, or how many full amounts.

    `line_n / line_d` is what multipliers of lines make of the amount: they come before what is not
    full is dropped, so that a product that does not earn fills nothing up.
    """
    amount = pl.col("earn_minor").cast(pl.Int128) * line_n
    unit = pl.lit(10, pl.Int128).pow(pl.col("exponent")).cast(pl.Int128) * line_d
    if not any(p.per_full_minor for p in programs):
        return amount, unit
    per_full = pl.col("per_full_minor").cast(pl.Int128)
    every = per_full.is_null()
    return (
        pl.when(every).then(amount).otherwise(rounded_ratio(amount, per_full * line_d, "down")),
        pl.when(every).then(unit).otherwise(pl.lit(1, pl.Int128)),
    )


def rounded(programs: Sequence[Program], numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """The ratio in whole points, rounded by the rule of the version in force (`rounding`)."""
    modes = cast("list[Rounding]", sorted({p.rounding for p in programs}))
    by_mode = [
        pl.when(pl.col("rounding") == mode).then(rounded_ratio(numerator, denominator, mode))
        for mode in modes
    ]
    return pl.coalesce(by_mode).cast(pl.Int64, strict=False)
