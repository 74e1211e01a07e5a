"""Which of the promotions that could apply to a sale do apply."""

from collections.abc import Sequence

import polars as pl

from loyalty.promotions.active import Active, numbers


def with_stacking(candidates: pl.DataFrame, promotions: Sequence[Active]) -> pl.DataFrame:
    """Adds `beaten`: which rule of stacking left the promotion out, `alone` or `group`.

    It is null where the promotion applies.

    Promotions that apply alone come first: of several the one with the highest priority, then
    worth, then name, and nothing beside it. Then, in each group, the one that is worth most
    applies, then priority, then name.

    `candidates`: `_row`, number, worth (points it would give by itself).
    """
    plain = all(
        not active.promotion.stacking.alone and active.promotion.stacking.group is None
        for active in promotions
    )
    if plain or candidates.is_empty():
        return candidates.with_columns(pl.lit(None, pl.String).alias("beaten"))
    table = numbers(
        promotions,
        {
            "alone": (pl.Boolean(), [active.promotion.stacking.alone for active in promotions]),
            "group": (pl.String(), [active.promotion.stacking.group for active in promotions]),
            "priority": (pl.Int32(), [active.promotion.stacking.priority for active in promotions]),
        },
    )
    judged = candidates.join(table, on="number", maintain_order="left")
    # Numbers are in the order of priority and name.
    alone = judged.filter("alone").sort(
        "_row", "priority", "worth", "number", descending=[False, True, True, False]
    )
    only = alone.unique("_row", keep="first", maintain_order=True).select(
        "_row", pl.col("number").alias("only")
    )
    judged = judged.join(only, on="_row", how="left", maintain_order="left")
    judged = judged.with_columns(
        pl.when(pl.col("only") != pl.col("number")).then(pl.lit("alone")).alias("beaten")
    )
    rivals = judged.filter(pl.col("beaten").is_null() & pl.col("group").is_not_null())
    best = rivals.sort("_row", "group", "worth", "number", descending=[False, False, True, False])
    best = best.unique(["_row", "group"], keep="first", maintain_order=True)
    best = best.select("_row", "group", pl.col("number").alias("best"))
    judged = judged.join(best, on=["_row", "group"], how="left", maintain_order="left")
    lost = pl.when(pl.col("best") != pl.col("number")).then(pl.lit("group"))
    return judged.with_columns(pl.coalesce("beaten", lost).alias("beaten")).drop(
        "alone", "group", "priority", "only", "best"
    )
