"""The rules over small worlds, against a reference written separately."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.award import award, evaluate
from loyalty.inputs import GRANTS
from loyalty.promotions import Promotion
from loyalty.promotions.considered import considered
from loyalty.promotions.evaluate import PARTS
from loyalty.promotions.limits import allocate
from loyalty.tier_history import steps
from tests.properties.rules import DAY, MEMBERS, MOMENTS, frames, worlds
from tests.support import reference
from tests.support.ledger import NOON, sale
from tests.support.reference import World

pytestmark = pytest.mark.timeout(1500)
BOUNDED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEWER = settings(BOUNDED, max_examples=15)


def dues(frame: pl.DataFrame) -> dict[tuple[str, int], int | None]:
    return {
        (row["external_id"], row["member_id"]): row["due"] for row in frame.iter_rows(named=True)
    }


def without_nothing(found: dict[tuple[str, int], int | None]) -> dict[tuple[str, int], int | None]:
    return {key: points for key, points in found.items() if points != 0}


@BOUNDED
@given(worlds())
def test_agrees_with_the_reference(world: World) -> None:
    frame = award(*frames(world))
    assert without_nothing(dues(frame)) == without_nothing(reference.due(world))
    for row in frame.iter_rows(named=True):
        if row["due"] is not None:
            assert sum(json.loads(row["breakdown"]).values()) == row["due"]


@FEWER
@given(
    worlds().filter(lambda world: any(p.tier_policy for p in world.programs)),
    st.lists(MOMENTS, max_size=5),
)
def test_the_history_of_tiers_says_what_a_sale_would_have_had(
    world: World, moments: list[datetime]
) -> None:
    """At any instant, and just after every sale; and there is no step that changes nothing."""
    history, tiers, programs, _, facts = frames(world)
    found = steps(history, tiers, programs, facts, NOON + 500 * DAY)
    tick = timedelta(microseconds=1)
    after = [at + tick for at in history["issued_at"]]
    for member in {*history["member_id"], *tiers["member_id"]}:
        mine = found.filter(pl.col("member_id") == member).rows()
        turns = [at for _, at, _ in mine]
        assert turns == sorted(set(turns))
        for at in [*moments, *after, *turns, *(turn - tick for turn in turns)]:
            known = [tier for _, since, tier in mine if since <= at]
            expected = reference.tier_of(world, sale(member_id=member, issued_at=at))
            entry = reference.program_at(world, at).entry_tier
            assert (known[-1] if known else entry) == expected, (member, at, mine)
        told = ["lead", *(tier for _, _, tier in mine)]
        assert all(one != other for one, other in pairwise(told))


@FEWER
@given(worlds(), st.randoms(use_true_random=False))
def test_neither_order_nor_chunks_matter(world: World, random: Any) -> None:
    """Shuffled rows of every frame; and member by member, with budgets decided once from all claims."""
    history, tiers, programs, promotions, facts = frames(world)
    whole = dues(award(history, tiers, programs, promotions, facts))

    def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.sample(fraction=1, shuffle=True, seed=random.randrange(2**31))

    again = replace(
        facts,
        lines=shuffled(facts.lines),
        referrals=shuffled(facts.referrals),
        settled=shuffled(facts.settled),
        zones=shuffled(facts.zones),
    )
    drawn = random.sample(promotions, len(promotions))
    assert dues(award(shuffled(history), shuffled(tiers), programs[::-1], drawn, again)) == whole
    grants = budgeted(evaluate(history, tiers, programs, promotions, facts).claims, promotions)
    parts: dict[tuple[str, int], int | None] = {}
    for member in range(1, MEMBERS + 1):
        friends = facts.referrals.filter(pl.col("referrer_id") == member)["friend_id"].to_list()
        needed = history.filter(pl.col("member_id").is_in([member, *friends]))
        parts |= dues(
            award(
                needed,
                tiers,
                programs,
                promotions,
                replace(facts, grants=grants, members=pl.Series([member])),
            )
        )
    assert without_nothing(parts) == without_nothing(whole)


def budgeted(claims: pl.DataFrame, promotions: list[Promotion]) -> pl.DataFrame:
    found = [pl.DataFrame(schema=GRANTS)]
    for one in promotions:
        mine = claims.filter(
            (pl.col("promotion_id") == one.promotion_id) & (pl.col("version") == one.version)
        )
        if one.limits.budget is not None:
            found.append(allocate(mine, one.limits.budget).select(GRANTS.names()))
    return pl.concat(found)


@FEWER
@given(worlds())
def test_budgets_and_limits_are_never_exceeded(world: World) -> None:
    parts = evaluate(*frames(world)).parts
    for one in world.promotions:
        mine = parts.filter(
            (pl.col("promotion_id") == one.promotion_id) & (pl.col("version") == one.version)
        )
        if one.limits.budget is not None:
            assert mine["points"].sum() <= one.limits.budget
        if one.limits.per_member is not None:
            assert all(
                p <= one.limits.per_member
                for p in mine.group_by("member_id").agg(pl.col("points").sum())["points"]
            )
        if one.limits.per_sale is not None:
            assert all(p <= one.limits.per_sale for p in mine["points"])


@FEWER
@given(worlds())
def test_what_is_void_is_worth_nothing_and_leaves_nothing(world: World) -> None:
    """Void minus earn: whatever all sales gave together, all voids take back."""
    voided = replace(world, sales=[sale | {"status": "void"} for sale in world.sales])
    assert set(dues(award(*frames(voided))).values()) <= {0, None}


@FEWER
@given(worlds(), st.integers(1, 50_000))
def test_a_larger_sale_is_never_worth_less(world: World, more: int) -> None:
    """Alone with its promotions; beside other sales it may use up a limit or end somebody else's first purchase."""
    sale = world.sales[0] | {
        "kind": "sale",
        "status": "paid",
        "amount_refunded_minor": 0,
        "subtotal_minor": None,
    }
    larger = sale | {"total_minor": sale["total_minor"] + more}
    own = [p for p in world.promotions if not (p.stacking.alone or p.stacking.group)]
    less_due, more_due = (
        dues(award(*frames(replace(world, sales=[one], promotions=own, settled={}))))[
            "D0", sale["member_id"]
        ]
        for one in (sale, larger)
    )
    assert (less_due is None) == (more_due is None)
    assert less_due is None or more_due is None or less_due <= more_due


@FEWER
@given(worlds())
def test_every_promotion_has_an_outcome_and_the_points_it_says(world: World) -> None:
    found = evaluate(*frames(world))
    said = considered(found.inputs, found.parts.select(PARTS.names()))
    assert not said["outcome"].has_nulls()
    assert said["points"].sum() == found.parts["points"].sum()
    assert (
        said.filter(~pl.col("outcome").is_in(["applied", "limit", "together", "budget"]))[
            "points"
        ].sum()
        == 0
    )


@st.composite
def returning_worlds(draw: st.DrawFn) -> World:
    """Worlds whose credits are brought home, with links, numbers and days without a time."""
    world = draw(worlds())
    names = [None, *(sale["external_id"] for sale in world.sales)]
    more = st.fixed_dictionaries(
        {
            "original_external_id": st.sampled_from(names),
            "time_known": st.sampled_from([None, True, False]),
            "invoice_number": st.sampled_from([None, "FT 9", "FT 10"]),
        }
    )
    change = {"unlinked_credits": "returned_sales", "discount_lines": "spread"}
    return replace(
        world,
        sales=[sale | draw(more) for sale in world.sales],
        programs=[program.model_copy(update=change) for program in world.programs],
    )


@BOUNDED
@given(returning_worlds(), st.randoms(use_true_random=False))
def test_what_comes_back_takes_no_more_than_was_given(world: World, random: Any) -> None:
    """A credit takes nothing itself, and leaves no sale below nothing; in whatever order it came."""
    history, tiers, programs, promotions, facts = frames(world)
    frame = award(history, tiers, programs, promotions, facts)
    for row in frame.iter_rows(named=True):
        assert row["due"] is None or row["due"] >= 0
        if row["kind"] == "credit_note" and row["due"] is not None:
            assert (row["due"], row["net_minor"]) == (0, 0)
        if row["due"] is not None:
            assert sum(json.loads(row["breakdown"]).values()) == row["due"]
    again = replace(
        facts, lines=facts.lines.sample(fraction=1, shuffle=True, seed=random.randrange(2**31))
    )
    mixed = history.sample(fraction=1, shuffle=True, seed=random.randrange(2**31))
    assert dues(award(mixed, tiers, programs, promotions, again)) == dues(frame)
