"""Whom a promotion is for: who entered its code, is on a list, stayed away, or bought before.

Each condition becomes a column of truth values beside the sales, named by `column_of`: conditions
look at one sale at a time, and these look at the member.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import polars as pl

from loyalty.inputs import ORDER, Facts
from loyalty.promotions.active import Active
from loyalty.promotions.codes import Code
from loyalty.schema import NEGATIVE_KINDS

Segment = Literal["code", "lists", "lapsed", "bought_before"]
#: In the order in which an explanation should ask.
SEGMENTS: Final[tuple[Segment, ...]] = ("lists", "code", "lapsed", "bought_before")


def column_of(segment: Segment, active: Active) -> str:
    """The column that says whether a sale is of somebody whom the promotion is for."""
    return f"_{segment}_{active.number}"


def asked(active: Active) -> list[Segment]:
    """Which of them the promotion asks for."""
    when = active.promotion.when
    given = {
        "code": when.code is not None,
        "lists": bool(when.lists),
        "lapsed": when.lapsed_days is not None,
        "bought_before": when.bought_before is not None,
    }
    return [segment for segment in SEGMENTS if given[segment]]


def with_segments(
    frame: pl.DataFrame, promotions: Sequence[Active], facts: Facts, counted: pl.DataFrame
) -> pl.DataFrame:
    """The sales with a column for each condition of this kind that a promotion has.

    `counted` is what each sale consists of (`loyalty.promotions.products.sold`).
    """
    columns = [
        pl.col("_row").is_in(rows.implode()).alias(column_of(segment, active))
        for active in promotions
        for segment, rows in _rows(frame, active, facts, counted)
    ]
    return frame.with_columns(columns) if columns else frame


def _rows(
    frame: pl.DataFrame, active: Active, facts: Facts, counted: pl.DataFrame
) -> Iterator[tuple[Segment, pl.Series]]:
    """Per condition, the sales (`_row`) for which it holds."""
    when = active.promotion.when
    if when.lists:
        listed = facts.lists.filter(pl.col("list").is_in(list(when.lists)))
        yield "lists", _during(frame, listed)
    if when.code is not None:
        yield "code", _during(frame, _entries(facts.codes, when.code))
    if when.lapsed_days is not None:
        yield "lapsed", _lapsed(frame, when.lapsed_days)
    if when.bought_before is not None:
        yield "bought_before", _after_product(frame, counted, f"b{active.number}")


def _entries(codes: pl.DataFrame, code: Code) -> pl.DataFrame:
    """When entries of the code count: member_id, valid_from, valid_to."""
    since = pl.col("entered_at")
    until = pl.lit(None, codes.schema["entered_at"])
    if code.days is not None:
        until = since + pl.duration(days=code.days)
    return codes.filter(pl.col("code") == code.code).select(
        "member_id", since.alias("valid_from"), until.alias("valid_to")
    )


def _during(frame: pl.DataFrame, spans: pl.DataFrame) -> pl.Series:
    """Sales in a span of their member; of one that tells its day only, any moment counts."""
    joined = frame.select("_row", "member_id", "issued_at", "latest_at").join(
        spans.select("member_id", "valid_from", "valid_to"), on="member_id"
    )
    ends = pl.col("valid_to").is_null() | (pl.col("issued_at") < pl.col("valid_to"))
    return joined.filter((pl.col("latest_at") >= pl.col("valid_from")) & ends)["_row"].unique()


def _bought(frame: pl.DataFrame) -> pl.DataFrame:
    """Sales that are worth something, in order."""
    worth = (pl.col("net_minor") > 0) & ~pl.col("kind").is_in(NEGATIVE_KINDS)
    return frame.filter(worth).sort(ORDER)


def _lapsed(frame: pl.DataFrame, days: int) -> pl.Series:
    """Sales of members who had bought before, and not for so many days."""
    before = pl.col("latest_at").shift(1).over("member_id")
    bought = _bought(frame).with_columns(before.alias("before"))
    away = pl.col("issued_at") - pl.col("before") >= pl.duration(days=days)
    return bought.filter(away)["_row"]


def _after_product(frame: pl.DataFrame, counted: pl.DataFrame, flag: str) -> pl.Series:
    """Sales after the first one that has such a product, what came back left out."""
    fitting = counted.filter(pl.col(flag) & (pl.col("amount_minor") > 0)).select("_row").unique()
    bought = _bought(frame).select("_row", "member_id").with_row_index("place")
    first = (
        bought.join(fitting, on="_row", how="semi")
        .group_by("member_id")
        .agg(pl.col("place").min().alias("first"))
    )
    return bought.join(first, on="member_id").filter(pl.col("place") > pl.col("first"))["_row"]
