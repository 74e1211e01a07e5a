"""Whom a promotion is for: by place, code, list, and by what they bought before or did not.

Each condition becomes a column of truth values beside the sales, named by `column_of`: conditions
look at one sale at a time, and these look at the member.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import polars as pl

from loyalty.inputs import ORDER, Facts
from loyalty.places import PLACES, Place, folded, folded_names
from loyalty.promotions.active import Active
from loyalty.promotions.codes import Code
from loyalty.promotions.promotion import Bought
from loyalty.schema import NEGATIVE_KINDS

Segment = Place | Literal["code", "lists", "lapsed", "bought_before", "bought_lately"]
#: In the order in which an explanation should ask.
SEGMENTS: Final[tuple[Segment, ...]] = (
    *PLACES, "lists", "code", "lapsed", "bought_before", "bought_lately",
)  # fmt: skip
#: Wide enough for the sum of all amounts of a member.
_WIDE: Final = pl.Int128


def column_of(segment: Segment, active: Active) -> str:
    """The column that says whether a sale is of somebody whom the promotion is for."""
    return f"_{segment}_{active.number}"


def asked(active: Active) -> list[Segment]:
    """Which of them the promotion asks for."""
    when = active.promotion.when
    given: dict[Segment, bool] = {
        **{place: place in when.places for place in PLACES},
        "code": when.code is not None,
        "lists": bool(when.lists),
        "lapsed": when.lapsed_days is not None,
        "bought_before": when.bought_before is not None,
        "bought_lately": when.bought_lately is not None,
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
    for place, names in when.places.items():
        yield place, _at(frame, facts.places, place, names)
    if when.lists:
        listed = facts.lists.filter(pl.col("list").is_in(list(when.lists)))
        yield "lists", _during(frame, listed)
    if when.code is not None:
        yield "code", _during(frame, _entries(facts.codes, when.code))
    if when.lapsed_days is not None:
        yield "lapsed", _lapsed(frame, when.lapsed_days)
    if when.bought_before is not None:
        yield "bought_before", _after_product(frame, counted, f"b{active.number}")
    if when.bought_lately is not None:
        yield "bought_lately", _lately(frame, when.bought_lately)


def _at(frame: pl.DataFrame, places: pl.DataFrame, place: Place, names: Sequence[str]) -> pl.Series:
    """Sales whose document has one of the names."""
    wanted = places.filter(folded(pl.col(place)).is_in(folded_names(names)))
    return frame.join(wanted, on=["page_id", "record_no"], how="semi")["_row"]


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


def _lately(frame: pl.DataFrame, asked: Bought) -> pl.Series:
    """Sales before which the member bought so much, so often, in so many days.

    Counted from sums up to each sale: those up to the sale before, less those up to the last one
    that is too old.
    """
    codes = list(asked.minimum_minor)
    sums = [pl.int_range(1, pl.len() + 1).over("member_id").cast(_WIDE).alias("purchases")]
    sums += [
        pl.when(pl.col("currency") == code).then("net_minor").otherwise(0).cast(_WIDE)
        .cum_sum().over("member_id").alias(code)
        for code in codes
    ]  # fmt: skip
    bought = _bought(frame).select("_row", "member_id", "ordered_at", *sums)
    names = ["purchases", *codes]
    before = bought.with_columns(
        pl.col(names).shift(1).over("member_id").fill_null(0),
        (pl.col("ordered_at") - pl.duration(days=asked.days)).alias("since"),
    )
    old = bought.select("member_id", "ordered_at", pl.col(names).name.suffix(" old"))
    both = before.sort("since").join_asof(
        old.sort("ordered_at"),
        left_on="since",
        right_on="ordered_at",
        by="member_id",
        check_sortedness=False,
    )
    lately = {name: pl.col(name) - pl.col(f"{name} old").fill_null(0) for name in names}
    enough = [lately[code] >= least for code, least in asked.minimum_minor.items()]
    often = lately["purchases"] >= asked.purchases
    return both.filter(often & (pl.any_horizontal(enough) if enough else True))["_row"]
