"""A basket that nobody bought: its points, rule by rule; the parts always sum to the whole."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loyalty.authoring import read_rules
from loyalty.basket import BadBasketsError, Basket, Item, explain_basket, read_baskets
from loyalty.explain import WHY, ExplainedSale
from loyalty.inputs import FX
from loyalty.program import Program
from loyalty.promotions import Promotion

RULES = """
[program]
entry_tier = "lead"
base_currency = "AOA"
points_per_unit = { AOA = 10 }
tiers = { lead = 1, silver = 1.2, gold = 1.5 }
[[promotion]]
id = "agua"
title = "Five more for every 5 L"
valid_from = 2026-01-01
kind = "product_bonus"
match = { sku_patterns = ["ATW-5L*"] }
points_per_unit = 5
limits = { per_sale = 20 }
[[promotion]]
id = "season"
valid_from = 2026-01-01
valid_to = 2026-04-01
kind = "seasonal_multiplier"
multiplier = 2
when = { tiers = ["gold"], minimum = { AOA = 100 } }
[[promotion]]
id = "first"
valid_from = 2026-01-01
kind = "purchase_bonus"
points = 100
when = { first_purchase = true }
stacking = { group = "g" }
[[promotion]]
id = "small"
valid_from = 2026-01-01
kind = "purchase_bonus"
points = 10
stacking = { group = "g" }
"""
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def rules() -> tuple[list[Program], list[Promotion]]:
    found = read_rules(RULES)
    assert found.program is not None
    return [found.program], list(found.promotions)


def tried(fx: pl.DataFrame | None = None, **values: Any) -> ExplainedSale:
    return explain_basket(Basket.model_validate({"date": DAY} | values), *rules(), fx)


def outcomes(found: ExplainedSale) -> dict[str, str]:
    return {one.promotion: one.outcome for one in found.considered}


def test_rule_by_rule() -> None:
    lines = [{"sku": "ATW-5L", "quantity": 3, "unit_price": 50}]
    found = tried(tier="gold", lines=lines)
    assert [(part.rule, part.points) for part in found.parts] == [
        ("base", 1500), ("tier", 750), ("agua@1", 15), ("first@1", 100), ("season@1", 2250),
    ]  # fmt: skip
    assert found.due == 4615
    assert outcomes(found) == {
        "agua": "applied",
        "season": "applied",
        "first": "applied",
        "small": "group",
    }
    text = "\n".join(found.to_lines())
    assert "150" in text and "gold (set by the loyalty app)" in text
    assert "+15  agua@1: Five more for every 5 L" in text
    assert (
        "not small@1: another promotion of its group is worth more" in text
        and "4615  due in all" in text
    )


def test_what_did_not_apply_and_why() -> None:
    found = tried(total=50)
    assert outcomes(found) == {
        "agua": "product",
        "season": "tier",
        "first": "applied",
        "small": "group",
    }
    assert outcomes(tried(total=50, tier="gold"))["season"] == "minimum"
    assert "season" not in outcomes(
        tried(total=500, tier="gold", date=DAY.replace(month=5))
    )  # it spoke no more


def test_what_was_cut() -> None:
    found = tried(lines=[{"sku": "ATW-5L", "quantity": 30, "amount": 5}])
    assert outcomes(found)["agua"] == "limit"
    assert "less of agua@1: cut by its limit: 20 of 150" in "\n".join(found.to_lines())


def test_in_another_currency() -> None:
    assert tried(total=10, currency="EUR").problem == (
        "there is no exchange rate of EUR in AOA for 2026-03-01; load it (`twezah fx load`)"
    )
    rate = pl.DataFrame(
        [("EUR", "AOA", DAY.replace(hour=0), DAY.replace(hour=23), 925_500_000_000)],
        schema=FX,
        orient="row",
    )
    found = tried(rate, total=10, currency="EUR")
    assert (found.net_amount, found.converted_amount, found.converted_to) == (
        Decimal("10.00"),
        Decimal("9255.00"),
        "AOA",
    )
    assert found.parts[0].points == 92_550
    assert "10.00 EUR = 9255.00 AOA" in found.to_lines()[0]


def test_a_tier_that_nobody_decided_on() -> None:
    assert (
        "has no tier diamond; it has lead, silver, gold"
        in tried(total=1, tier="diamond").to_lines()[0]
    )


@pytest.mark.parametrize(
    "values",
    [
        {}, {"total": -1}, {"total": 1, "currency": "ABC"}, {"total": "1.001"}, {"total": 1, "refunded": 2}, {"lines": [{"sku": "x"}]},
        {"total": 1, "unknown": 1}, {"lines": [{"amount": -1}]}, {"total": "NaN"}, {"total": 1, "date": "soon"},
    ],
)  # fmt: skip
def test_what_is_no_basket(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Basket.model_validate({"date": DAY} | values)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"date": "2026-13-10", "total": 1}', "basket.0.date: must be a date like 2026-12-01"),
        ('[{"date": "2026-03-10", "total": 1}, {"date": "2026-03-10"}]', "basket.1: total or lines are missing"),
        ('{"date": "2026-03-10", "lines": [{"skuu": "A", "amount": 1}]}', "basket.0.lines.0.skuu: unknown key; known here: amount, name, quantity, sku, unit_price"),
        ('{"date": "2026-03-10", "lines": [{"amount": 1, "quantity": -1}]}', "basket.0.lines.0.quantity: must be at least 0"),
        ("{", "basket: Invalid JSON"),
    ],
)  # fmt: skip
def test_a_problem_of_a_basket_is_named(text: str, told: str) -> None:
    with pytest.raises(BadBasketsError) as caught:
        read_baskets(text)
    assert [one for one in caught.value.problems if one.startswith(told)]


def test_a_basket_without_tax_where_that_is_what_earns() -> None:
    program = rules()[0][0].model_copy(update={"basis": "subtotal"})
    found = explain_basket(Basket(date=DAY, total=Decimal(1)), [program], [])
    assert found.due is None and "its amount without tax is not known" in found.to_lines()[0]


def test_a_time_without_an_offset_is_local() -> None:
    assert outcomes(tried(total=500, tier="gold", date="2026-03-31"))["season"] == "applied"
    assert "season" not in outcomes(tried(total=500, tier="gold", date="2026-04-01T00:00:00"))
    assert (
        outcomes(tried(total=500, tier="gold", date="2026-04-01T00:30:00+02:00"))["season"]
        == "applied"
    )


def test_amounts_are_exact() -> None:
    assert Item(quantity=Decimal("0.1"), unit_price=Decimal("0.3")).worth == Decimal("0.03")
    assert (
        tried(lines=[{"quantity": "3", "unit_price": "3.33"}], tier="silver").parts[1].points
        == 119 - 99
    )


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ATW-5L", "X", None]), st.integers(0, 40), st.integers(0, 20_000)), min_size=1, max_size=5
    ),
    st.sampled_from([None, "lead", "silver", "gold"]),
    st.sampled_from(["invoice", "credit_note"]),
    st.sampled_from([0, 1, 100]),
)  # fmt: skip
def test_the_parts_sum_to_the_whole(
    items: list[tuple[str | None, int, int]], tier: str | None, kind: str, refund: int
) -> None:
    lines = [{"sku": sku, "quantity": n, "amount": Decimal(minor) / 100} for sku, n, minor in items]
    total = sum(minor for _, _, minor in items)
    found = tried(lines=lines, tier=tier, kind=kind, refunded=Decimal(min(refund, total)) / 100)
    assert found.due == sum(part.points for part in found.parts)
    assert all(one.outcome in WHY for one in found.considered)
    applied = {part.rule: part.points for part in found.parts}
    given_ = {
        f"{one.promotion}@{one.version}": one.points for one in found.considered if one.points
    }
    assert given_ == {rule: points for rule, points in applied.items() if "@" in rule}


def test_the_four_tiers_of_the_guide() -> None:
    """What `twezah points try` answers by the rules that ship."""
    root = Path(__file__).parents[2]
    guide = (root / "docs" / "points-rules.md").read_text(encoding="utf-8")
    example = re.search(
        r"\$ cat tiers\.json\n(?P<json>\[.*?\])\n\$ .*?\n(?P<points>(?:\d+\n)+)", guide, re.DOTALL
    )
    assert example
    found = read_rules((root / "points.toml").read_text(encoding="utf-8"))
    assert found.program is not None
    baskets = [Basket.model_validate(one) for one in json.loads(example["json"])]
    points = [
        explain_basket(one, [found.program], list(found.promotions), None).due for one in baskets
    ]
    assert points == [1500, 1800, 2250, 3000] == [int(line) for line in example["points"].split()]


FRIENDS = (
    RULES
    + """
[[promotion]]
id = "friends"
valid_from = 2026-01-01
kind = "referral_reward"
referrer_points = 40
friend_points = 7
"""
)


def test_what_was_bought_before_counts() -> None:
    before = {"date": DAY - timedelta(days=30), "total": 50}
    found = tried(total=150, history=[before])
    assert outcomes(found) == {
        "agua": "product", "season": "tier", "first": "first_purchase", "small": "applied",
    }  # fmt: skip
    assert found.due == 1510
    raised = tried(total=150, history=[before | {"tier": "gold"}])
    assert (raised.tier, raised.due) == ("gold", 2 * 2250 + 10)


def test_codes_and_lists_of_a_basket_count() -> None:
    some = """
[[promotion]]
id = "{name}"
valid_from = 2026-01-01
kind = "purchase_bonus"
points = 5
when = {{ {when} }}
"""
    code = 'code = { code = "VERAO", days = 10 }'
    more = some.format(name="code", when=code) + some.format(name="vip", when='lists = ["vip"]')
    found = read_rules(RULES + more)
    assert found.program is not None

    def told(**values: Any) -> tuple[str, str]:
        basket = Basket.model_validate({"date": DAY, "total": 1} | values)
        said = outcomes(explain_basket(basket, [found.program], found.promotions))
        return said["code"], said["vip"]

    assert told() == ("code", "lists")
    assert told(codes=["VERAO"], lists=["vip"]) == ("applied", "applied")
    before = {"date": DAY - timedelta(days=11), "total": 1, "codes": ["VERAO"], "lists": ["vip"]}
    assert told(history=[before]) == ("code", "applied")


def test_a_referral_rewards_both_and_says_so() -> None:
    read = read_rules(FRIENDS)
    assert read.program is not None
    basket = Basket(date=DAY, total=Decimal(150), referred_at=DAY - timedelta(days=1))
    found = explain_basket(basket, [read.program], read.promotions)
    assert (found.due, found.referrer_points) == (1500 + 100 + 7, 40)
    assert "  +40  for whoever referred the member" in found.to_lines()
    late = basket.model_copy(update={"referred_at": DAY + timedelta(days=1)})
    assert explain_basket(late, [read.program], read.promotions).referrer_points is None
    alone = basket.model_copy(update={"referred_at": None})
    assert explain_basket(alone, [read.program], read.promotions).due == 1600


@pytest.mark.parametrize(
    ("pending", "status", "told"),
    [
        ("days = 14", "open", "from 2026-03-16 00:00 on"),
        ("until_paid = true", "open", "once it is paid"),
        ("days = 14\nuntil_paid = true", "open", "once it is paid, from 2026-03-16 00:00 on"),
        ("until_paid = true", "paid", None),
    ],
)
def test_from_when_on_its_points_can_be_spent(pending: str, status: str, told: str | None) -> None:
    read = read_rules(
        RULES.replace("[[promotion]]", f"[program.pending]\n{pending}\n[[promotion]]", 1)
    )
    assert read.program is not None
    basket = Basket.model_validate({"date": DAY, "total": 100, "status": status})
    lines = explain_basket(basket, [read.program], read.promotions).to_lines()
    expected = [] if told is None else [f"  can be spent {told}"]
    assert [line for line in lines if "can be spent" in line] == expected


def test_the_currency_of_a_basket_is_the_programs_own_unless_named() -> None:
    (program,), promotions = rules()
    other = program.model_copy(
        update={"currency": "EUR", "base_currency": None, "base_rate_bps": {"EUR": 10_000}}
    )
    basket = Basket(date=DAY, total=Decimal(150), tier="silver")
    found = explain_basket(basket, [other], promotions)
    assert (found.currency, found.due) == ("EUR", 180 + 100)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"member": 1, "history": [{"date": "2026-01-01", "total": 1}]}, "history is of a new member"),
        ({"history": [{"date": "2026-01-01", "total": 1, "member": 3}]}, "plain baskets"),
        ({"referrer": 3, "referred_at": "2026-01-01"}, "a stored referrer needs a stored member"),
        ({"member": 3, "referrer": 3, "referred_at": "2026-01-01"}, "are the same"),
        ({"history": [{"total": 1}]}, "basket.0.history.0.date: is missing"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_no_basket(values: dict[str, Any], told: str) -> None:
    with pytest.raises(BadBasketsError, match=re.escape(told)):
        read_baskets(json.dumps({"date": "2026-03-01", "total": 1} | values))
