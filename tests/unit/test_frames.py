"""What each stage of the rules hands on is what it declares, column by column."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from connectors import SYSTEMS
from connectors.kit.mapping import Mapped
from loyalty.award import DUE, evaluate
from loyalty.difference import ENTRY, POSTED, difference
from loyalty.earning import EARNED, earned
from loyalty.expiry import EXPIRED, EXPIRY_ENTRY, MOVES, expired
from loyalty.expiry import POSTED as EXPIRY_POSTED
from loyalty.expiry import difference as expiry_difference
from loyalty.fx import RATES, by_version
from loyalty.inputs import CLAIMS, FX, HISTORY, LINES, REFERRALS, SETTLED, TIERS, ZONES, Facts
from loyalty.policies import Expiry, TierPolicy
from loyalty.program import Program
from loyalty.promotions import (
    Limits,
    Match,
    ProductBonus,
    Promotion,
    PurchaseBonus,
    ReferralReward,
    Rule,
    SeasonalMultiplier,
    Stacking,
    When,
)
from loyalty.promotions.chain import ADDED, FACTORS, added, factors
from loyalty.promotions.considered import CONSIDERED, considered
from loyalty.promotions.evaluate import CANDIDATES, PARTS, PromotionInputs, _candidates, parts
from loyalty.promotions.products import MATCHED, TOTALS, matched
from loyalty.promotions.referral import REWARDS, rewards
from loyalty.schema import INVOICE, LINE, PROBLEM, schema_problems
from loyalty.tier_history import POSTED as TIER_POSTED
from loyalty.tier_history import STEPS, steps
from loyalty.tier_history import difference as tier_difference
from sql.store import REJECT_BY_CONTENT
from sql.versions import READING
from tasks.load.corrections import VOIDED
from tasks.load.invoices import ACCEPTED, NOTED, REASON, judged

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = datetime(2027, 12, 31, tzinfo=UTC)
#: A program that uses every option, so that every stage has something to do.
PROGRAM = Program(
    version=1,
    base_rate_bps={"AOA": 100_000},
    tier_rate_bps={"lead": 10_000, "gold": 15_000},
    entry_tier="lead",
    base_currency="AOA",
    unlinked_credits="latest_sales",
    tier_policy=TierPolicy(thresholds={"gold": 100}, grace_days=1),
    expiry=Expiry(months=1),
)


def sale(
    external_id: str, member: int, currency: str = "AOA", kind: str = "sale"
) -> tuple[Any, ...]:
    """A row of HISTORY."""
    number = int(external_id)
    return ("xero", "a", external_id, member, kind, "paid", currency, 10_000, 9_000, 500,
            NOON.replace(hour=number), number, 0, None, f"N-{number}", False, None)  # fmt: skip


HISTORY_FRAME = pl.DataFrame(
    [
        sale("1", 1),
        sale("2", 2),
        sale("3", 2, "EUR"),
        sale("4", 1, kind="credit_note"),
        sale("5", 3),
    ],
    schema=HISTORY,
    orient="row",
)
FACTS = Facts(
    lines=pl.DataFrame(
        [(number, 0, 1, "AGUA", "Água 5 l", 2_000_000, 9_000) for number in (1, 2, 3)],
        schema=LINES,
        orient="row",
    ),
    referrals=pl.DataFrame([(2, 1, NOON.replace(hour=0))], schema=REFERRALS, orient="row"),
    zones=pl.DataFrame([(1, "Africa/Luanda")], schema=ZONES, orient="row"),
    settled=pl.DataFrame([("xero", "a", "1", 100, None)], schema=SETTLED, orient="row"),
    fx=pl.DataFrame(
        [("EUR", "AOA", NOON.replace(hour=0), None, 900 * 10**9)], schema=FX, orient="row"
    ),
)


def promotion(name: str, rule: Rule, **options: Any) -> Promotion:
    """A promotion that is in force at all sales."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return Promotion(promotion_id=name, version=1, valid_from=begin, rule=rule, **options)


AGUA = Match(skus=("AGUA",))
PROMOTIONS = [
    promotion("season", SeasonalMultiplier(multiplier_bps=20_000)),
    promotion("product", ProductBonus(match=AGUA, multiplier_bps=15_000)),
    promotion("units", ProductBonus(match=AGUA, points_per_unit=3), limits=Limits(budget=5)),
    promotion(
        "first", PurchaseBonus(points=7, multiplied=True),
        when=When(first_purchase=True, clock="customer", weekdays=("mon",)),
        stacking=Stacking(group="g"),
    ),
    promotion(
        "second", PurchaseBonus(points=5), stacking=Stacking(group="g"), limits=Limits(per_sale=4)
    ),
    promotion("friend", ReferralReward(referrer_points=50, friend_points=10)),
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs() -> PromotionInputs:
    """What the promotions look at."""
    worth = earned(HISTORY_FRAME.with_row_index("_row"), TIERS.to_frame(), [PROGRAM], FACTS)
    return PromotionInputs.of(worth.frame, PROMOTIONS, [PROGRAM], FACTS, worth.returns)


@pytest.mark.parametrize("facts", [FACTS, Facts(fx=FACTS.fx)], ids=["all facts", "few facts"])
def test_what_a_sale_earns(facts: Facts) -> None:
    frame = earned(HISTORY_FRAME.with_row_index("_row"), TIERS.to_frame(), [PROGRAM], facts).frame
    assert schema_problems(frame, EARNED) == []


def test_what_promotions_give(inputs: PromotionInputs) -> None:
    candidates = _candidates(inputs)
    assert schema_problems(candidates, CANDIDATES) == []
    chain = factors(
        candidates.filter(pl.col("add_n").is_null()).select("_row", "number"),
        inputs.promotions, inputs.counted, inputs.totals,
    )  # fmt: skip
    assert (chain.height, schema_problems(chain, FACTORS)) == (5, [])
    by_name = {active.promotion.promotion_id: active for active in inputs.promotions}
    assert schema_problems(inputs.totals, TOTALS) == []
    assert schema_problems(matched(inputs.counted, by_name["units"]), MATCHED) == []
    assert schema_problems(added(by_name["units"], inputs.frame, inputs.counted), ADDED) == []
    qualifying = [(by_name["friend"], pl.lit(value=True))]
    reward = rewards(inputs.frame, qualifying, FACTS.referrals)
    assert (reward.height, schema_problems(reward, REWARDS)) == (2, [])


def test_what_comes_out(inputs: PromotionInputs) -> None:
    shares = parts(inputs)
    assert schema_problems(shares, PARTS) == []
    assert set(shares["beaten"].drop_nulls()) == {"group"}
    evaluation = evaluate(HISTORY_FRAME, TIERS.to_frame(), [PROGRAM], PROMOTIONS, FACTS)
    assert schema_problems(evaluation.due, {**HISTORY, **DUE}) == []
    assert schema_problems(evaluation.claims, CLAIMS) == []
    weighed = considered(evaluation.inputs, evaluation.parts)
    assert schema_problems(weighed, CONSIDERED) == []
    entries = difference(evaluation.due, POSTED.to_frame())
    assert (entries.is_empty(), schema_problems(entries, ENTRY)) == (False, [])


def test_expiry_and_tiers() -> None:
    moves = pl.DataFrame([(1, NOON, 10), (1, NOON, -3)], schema=MOVES, orient="row")
    gone = expired(moves, [PROGRAM], LATER)
    assert (gone["due"].to_list(), schema_problems(gone, EXPIRED)) == ([7], [])
    entries = expiry_difference(gone, EXPIRY_POSTED.to_frame())
    assert schema_problems(entries, EXPIRY_ENTRY) == []
    changes = steps(HISTORY_FRAME, TIERS.to_frame(), [PROGRAM], FACTS, LATER)
    assert (changes.is_empty(), schema_problems(changes, STEPS)) == (False, [])
    posted = tier_difference(changes, TIER_POSTED.to_frame())
    assert schema_problems(posted.select(TIER_POSTED.names()), TIER_POSTED) == []


def test_exchange_rates() -> None:
    rates = pl.DataFrame(
        [(1, "EUR", "AOA", NOON.date(), NOON.date(), 10**9)], schema=RATES, orient="row"
    )
    assert schema_problems(by_version(rates, [PROGRAM]), FX) == []


def test_what_the_load_stores_and_rejects() -> None:
    rows = [
        {
            "system": "xero", "account": "a", "external_id": name, "kind": "sale", "status": "paid",
            "customer_phone": "+244923456789", "currency": "AOA", "total_minor": total,
            "issued_at": NOON, "updated_at": NOON, "page_id": 1, "record_no": number,
        }
        for number, (name, total) in enumerate([("good", 100), ("bad", None)])
    ]  # fmt: skip
    problem = {
        "page_id": 1,
        "record_no": 1,
        "field": "total_minor",
        "path": "/T",
        "reason": "missing",
        "example": None,
    }
    mapped = replace(
        Mapped.empty(),
        invoices=pl.DataFrame(rows, schema=INVOICE),
        problems=pl.DataFrame([problem], schema=PROBLEM),
        record_count=2,
    )
    reading = {"page_id": 1, "asked_at": NOON, "fetched_at": NOON, "is_read": 1}
    batch = judged(
        SYSTEMS["xero"].stream("invoices"), mapped, pl.DataFrame([reading], schema=READING)
    )
    assert (batch.invoices.height, schema_problems(batch.invoices, ACCEPTED)) == (1, [])
    assert schema_problems(batch.lines, LINE) == []
    assert (batch.rejects.height, schema_problems(batch.rejects, REJECT_BY_CONTENT)) == (1, [])
    assert schema_problems(batch.problems, REASON) == []
    assert schema_problems(batch.voided, VOIDED) == []
    assert schema_problems(batch.notes, NOTED) == []


def test_the_check_names_what_differs() -> None:
    frame = pl.DataFrame({"member_id": ["1"], "what": [1]})
    assert schema_problems(frame, STEPS) == [
        "valid_from is missing",
        "tier is missing",
        "what is not declared",
        "member_id is String, declared as Int64",
    ]
