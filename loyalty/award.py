"""Points due: a pure function of stored history. No I/O, no clock, no floats.

    points = round(net amount x base rate x tier multiplier)   [+ promotions]

One rounding per invoice, at the end of the multiplier chain, on the magnitude. The tier and the program are those in force at
the sale's own date, so an edit or refund re-evaluates the net invoice and the difference to what was posted is the correction.
"""

from collections.abc import Sequence
from typing import Final, cast

import polars as pl

from loyalty.currency import exponents_frame
from loyalty.program import BPS, Program, rates_frame, versions_frame
from loyalty.promotions import Promotion, evaluate
from loyalty.rounding import Rounding, rounded_ratio
from loyalty.schema import NEGATIVE_KINDS, UTC_US

#: What `award` reads: one row per invoice of the members in question. `account_award_when`: "paid" where the policy of its account
#: at its own date is that only paid sales earn; null: no such policy.
HISTORY: Final = pl.Schema(
    {
        "system": pl.String(),
        "account": pl.String(),
        "external_id": pl.String(),
        "member_id": pl.Int64(),
        "kind": pl.String(),
        "status": pl.String(),
        "currency": pl.String(),
        "total_minor": pl.Int64(),
        "subtotal_minor": pl.Int64(),
        "amount_refunded_minor": pl.Int64(),
        "issued_at": UTC_US,
        "page_id": pl.Int64(),
        "record_no": pl.Int32(),
        "account_award_when": pl.String(),
    }
)
#: Tier history: a tier is in force from `valid_from` until the member's next row.
TIERS: Final = pl.Schema({"member_id": pl.Int64(), "valid_from": UTC_US, "tier": pl.String()})

#: What `award` returns beside the history's own columns. A null `due` means a rate is missing (unknown currency or tier).
DUE: Final = pl.Schema(
    {
        "net_minor": pl.Int64(),
        "tier": pl.String(),
        "program_version": pl.Int32(),
        "due": pl.Int64(),
        "breakdown": pl.String(),
    }
)


def award(
    history: pl.DataFrame, tiers: pl.DataFrame, programs: Sequence[Program], promotions: Sequence[Promotion] = ()
) -> pl.DataFrame:
    """Points due per invoice: HISTORY in, HISTORY plus DUE out, in the order of the input.

    `breakdown` is JSON, points per rule, summing to `due` exactly.
    Raises UnknownPromotionKindError, ValueError if there is no program.
    """
    if not programs:
        message = "the loyalty program has no version: nothing can be awarded"
        raise ValueError(message)
    with_rates = _with_rates(_in_force(history.with_row_index("_row"), tiers, programs), programs)
    points = with_rates.with_columns(_net().alias("net_minor")).with_columns(
        _multiplied(programs, "base_rate_bps").alias("base"),
        _multiplied(programs, "base_rate_bps", "tier_rate_bps").alias("earned"),
    )
    parts = {"base": pl.col("base"), "tier": pl.col("earned") - pl.col("base"), **evaluate(promotions)}
    return (
        points.with_columns(
            pl.sum_horizontal(*parts.values(), ignore_nulls=False).alias("due"), _json(parts).alias("breakdown")
        )
        .sort("_row")
        .select(*HISTORY.names(), *(pl.col(name).cast(dtype) for name, dtype in DUE.items()))
    )


def _in_force(history: pl.DataFrame, tiers: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """The program's version and the member's tier at each sale's own instant."""
    known = tiers.sort("valid_from").rename({"valid_from": "tier_from"})
    return (
        history.sort("issued_at")
        .join_asof(versions_frame(programs), left_on="issued_at", right_on="valid_from", strategy="backward")
        .join_asof(
            known,
            left_on="issued_at",
            right_on="tier_from",
            by="member_id",
            strategy="backward",
            check_sortedness=False,
        )
        .with_columns(pl.coalesce("tier", "entry_tier").alias("tier"))
    )


def _with_rates(frame: pl.DataFrame, programs: Sequence[Program]) -> pl.DataFrame:
    """Rates of the version in force; null where the version names no rate for the currency or tier."""
    return (
        frame.join(rates_frame(programs, "base_rate_bps", "currency"), on=["program_version", "currency"], how="left")
        .join(rates_frame(programs, "tier_rate_bps", "tier"), on=["program_version", "tier"], how="left")
        .join(exponents_frame(), on="currency", how="left")
    )


def _net() -> pl.Expr:
    """Signed amount that earns, in minor units: what is left after refunds; nothing for drafts and voids.

    Where the account awaits the payment, an open sale is worth nothing yet. What takes points back waits for nothing.
    """
    refunded = pl.col("amount_refunded_minor").fill_null(0)
    total = pl.col("total_minor")
    # Refunds are stated with tax; without tax they count in the invoice's own proportion.
    subtotal_left = rounded_ratio(
        pl.col("subtotal_minor").cast(pl.Int128) * (total - refunded).cast(pl.Int128),
        pl.max_horizontal(total, pl.lit(1)).cast(pl.Int128),
        "down",
    ).cast(pl.Int64)
    amount = pl.when(pl.col("basis") == "subtotal").then(subtotal_left).otherwise(total - refunded)
    negative = pl.col("kind").is_in(NEGATIVE_KINDS)
    signed = pl.when(negative).then(-amount).otherwise(amount)
    awaited = ~negative & (pl.col("account_award_when") == "paid").fill_null(value=False)
    counts = (pl.col("status") == "paid") | ((pl.col("status") == "open") & ~awaited)
    return pl.when(counts).then(signed).otherwise(pl.lit(0))


def _multiplied(programs: Sequence[Program], *rates: str) -> pl.Expr:
    """`net_minor` times all `rates`, in points, rounded once by the rule of the version in force."""
    numerator = pl.col("net_minor").cast(pl.Int128)
    denominator = pl.lit(10, pl.Int128).pow(pl.col("exponent")).cast(pl.Int128)
    for rate in rates:
        numerator = numerator * pl.col(rate).cast(pl.Int128)
        denominator = denominator * BPS
    modes = cast("list[Rounding]", sorted({p.rounding for p in programs}))
    by_mode = [pl.when(pl.col("rounding") == mode).then(rounded_ratio(numerator, denominator, mode)) for mode in modes]
    return pl.coalesce(by_mode).cast(pl.Int64)


def _json(parts: dict[str, pl.Expr]) -> pl.Expr:
    """`{"base":1500,"tier":300}`: rules that gave nothing are left out, except the base."""
    shown = [
        pl.format('"{}":{}', pl.lit(name), points)
        if name == "base"
        else pl.when(points != 0).then(pl.format('"{}":{}', pl.lit(name), points))
        for name, points in parts.items()
    ]
    inner = pl.concat_str(shown, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), inner, pl.lit("}"))
