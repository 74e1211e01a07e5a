"""The one place where fractions of a point are decided."""

from typing import Literal

import polars as pl

Rounding = Literal["down", "half_up", "up"]


def rounded_ratio(numerator: pl.Expr, denominator: pl.Expr, mode: Rounding) -> pl.Expr:
    """`numerator / denominator` as a whole number (Int128).

    The magnitude is rounded, and the sign put back after.

    `denominator` must be positive. Polars' own integer division goes toward minus infinity, which
    would take back one point more than was given; working on the magnitude makes a refund mirror
    its award exactly.
    """
    magnitude = numerator.abs()
    lift = {"down": pl.lit(0, pl.Int128), "half_up": denominator // 2, "up": denominator - 1}[mode]
    return (magnitude + lift) // denominator * numerator.sign()
