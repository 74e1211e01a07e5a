"""Small worlds of sales, lines, tiers, referrals and rules."""

from datetime import timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from loyalty.award import Facts
from loyalty.inputs import CODES, LINES, LISTS, REFERRALS, SETTLED, ZONES
from loyalty.program import Program
from loyalty.promotions import Promotion
from tests.support.ledger import DECIMALS, NOON, PROGRAM, history, sale, tiers
from tests.support.reference import World

MEMBERS = 3
SKUS = ("AGUA-5L", "AGUA-20L", "COPO", None)
NAMES = ("Água 5 L", "Taxa", None)
DAY = timedelta(days=1)
#: Instants that collide, lie on boundaries of days and months, and spread over the seasons.
MOMENTS = st.one_of(
    st.integers(-6, 6).map(lambda hours: NOON + timedelta(hours=hours)),
    st.integers(-200, 200).map(lambda days: NOON + days * DAY),
    st.integers(-4, 4).map(lambda weeks: NOON + weeks * 7 * DAY),
    st.sampled_from(
        [
            NOON - timedelta(hours=13),
            NOON + timedelta(hours=11),
            NOON + 31 * DAY - timedelta(hours=13),
        ]
    ),
)
AMOUNTS = st.one_of(st.integers(0, 30_000), st.sampled_from([1, 333, 999, 10_000, 12_345, 10**8]))


@st.composite
def _sales(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 7))):
        total = draw(AMOUNTS)
        rows.append(
            sale(
                system=draw(st.sampled_from(["xero", "freshbooks"])),
                external_id=f"D{number}",
                member_id=draw(st.integers(1, MEMBERS)),
                kind=draw(st.sampled_from(["invoice", "invoice", "sale", "credit_note"])),
                status=draw(st.sampled_from(["open", "paid", "paid", "void"])),
                currency=draw(st.sampled_from(["AOA", "AOA", "AOA", "JPY", "CHF"])),
                total_minor=total,
                subtotal_minor=draw(st.sampled_from([None, total, total * 100 // 114])),
                amount_refunded_minor=draw(st.sampled_from([0, 0, total, total // 3])),
                issued_at=draw(MOMENTS),
                record_no=number,
                account_award_when=draw(st.sampled_from([None, None, "paid"])),
            )
        )
    return rows


LINE = st.fixed_dictionaries(
    {
        "sku": st.sampled_from(SKUS),
        "name": st.sampled_from(NAMES),
        "quantity_micro": st.sampled_from([None, 0, 1_000_000, 2_500_000, 24_000_000, -1_000_000]),
        "amount_minor": st.one_of(st.none(), st.integers(-500, 20_000)),
    }
)
MATCH = st.sampled_from(
    [
        {"skus": ["AGUA-5L"]}, {"sku_patterns": ["agua*"]}, {"name_patterns": ["*L"], "except_skus": ["COPO"]},
        {"categories": ["water"]}, {"sku_patterns": ["*"]},
    ]
)  # fmt: skip
REWARD = st.sampled_from(
    [{"points_per_unit": 50}, {"points_per_unit": 7, "multiplied": True}, {"percent_bps": 12_345}, {"multiplier_bps": 30_000},
     {"multiplier_bps": 15_000}, {"multiplier_bps": 0}, {"percent_bps": 500, "multiplied": True}]
)  # fmt: skip
RULE = st.one_of(
    st.builds(
        lambda match, reward: {"kind": "product_bonus", "match": match, **reward}, MATCH, REWARD
    ),
    st.sampled_from([20_000, 11_500, 10_001, 33_333]).map(
        lambda m: {"kind": "seasonal_multiplier", "multiplier_bps": m}
    ),
    st.sampled_from([{"points": 50}, {"points": 33, "multiplied": True}]).map(
        lambda b: {"kind": "purchase_bonus", **b}
    ),
    st.sampled_from(
        [{}, {"limit_per_referrer": 1}, {"within_days": 30}, {"new_customers_only": False}]
    ).map(
        lambda more: {
            "kind": "referral_reward",
            "referrer_points": 500,
            "friend_points": 100,
            **more,
        }
    ),
)
WHEN = st.one_of(
    st.just({}),
    st.sampled_from(
        [
            {"minimum_minor": {"AOA": 10_000}}, {"first_purchase": True}, {"systems": ["xero"]}, {"accounts": ["xero/books"]},
            {"kinds": ["sale"]}, {"tiers": ["gold", "platinum"]}, {"currencies": ["JPY"]}, {"weekdays": ["sun", "mon"]},
            {"hours": [{"start": "09:00", "end": "13:00"}]}, {"hours": [{"start": "22:00", "end": "02:00"}]},
            {"hours": [{"start": "18:00", "end": "00:00"}], "clock": "customer"}, {"dates": ["2026-03-01", "2026-03-02"]},
            {"weekdays": ["sun"], "clock": "customer"}, {"nth_purchase": 2},
            {"nth_purchase": 3, "minimum_minor": {"AOA": 300}}, {"streak": {"weeks": 2}},
            {"streak": {"months": 2}, "clock": "customer"},
            {"lists": ["vip"]}, {"lists": ["vip", "press"], "nth_purchase": 2}, {"lapsed_days": 7},
            {"code": {"code": "RAIN"}}, {"code": {"code": "RAIN", "days": 3}, "lapsed_days": 1},
            {"bought_lately": {"days": 10, "purchases": 2}},
            {"bought_lately": {"days": 4, "minimum_minor": {"AOA": 9_000, "JPY": 50}}},
            {"bought_before": {"skus": ["AGUA-5L"]}}, {"bought_before": {"categories": ["water"]}},
        ]
    ),
)  # fmt: skip
STACKING = st.one_of(
    st.just({}),
    st.builds(
        lambda group, priority, alone: {"group": group, "priority": priority, "alone": alone},
        st.sampled_from([None, "g", "h"]), st.integers(-1, 1), st.sampled_from([False, False, False, True]),
    ),
)  # fmt: skip
LIMITS = st.one_of(
    st.just({}),
    st.sampled_from(
        [
            {"per_sale": 60}, {"per_member": 100}, {"per_period": {"points": 70, "period": "month"}}, {"budget": 120},
            {"per_sale": 40, "per_period": {"points": 50, "period": "day"}, "per_member": 75, "budget": 90},
            {"per_period": {"points": 55, "period": "week"}, "budget": 1},
        ]
    ),
)  # fmt: skip


@st.composite
def promotion(draw: st.DrawFn, name: str, version: int = 1) -> Promotion:
    rule = draw(RULE)
    when: dict[str, Any] = draw(WHEN)
    start = NOON + draw(st.sampled_from([-300, -300, -300, -20, 0])) * DAY
    if rule["kind"] == "referral_reward":
        counted = ("first_purchase", "nth_purchase", "streak")
        when = {key: value for key, value in when.items() if key not in counted}
    limits = {} if rule.get("multiplier_bps", 10_000) < 10_000 else draw(LIMITS)
    return Promotion.model_validate(
        {
            "promotion_id": name, "version": version, "rule": rule, "when": when, "limits": limits,
            "stacking": {} if rule["kind"] == "referral_reward" else draw(STACKING),
            "valid_from": start, "valid_to": draw(st.sampled_from([None, None, NOON + 3 * DAY])),
            "timezone": draw(st.sampled_from([None, None, "Asia/Tokyo"])),
            "enabled": draw(st.sampled_from([True, True, True, True, False])),
        }
    )  # fmt: skip


POLICY = st.one_of(
    st.none(),
    st.builds(
        lambda metric, window, period, grace: {
            "window_days": window, "period": period, "grace_days": grace,
            **({"metric": "points", "thresholds": {"silver": 1_000, "gold": 4_000}} if metric == "points" else
               {"metric": "spend", "currency": "AOA", "thresholds": {"silver": 9_000, "platinum": 50_000}}),
        },
        st.sampled_from(["points", "spend"]), st.sampled_from([1, 30, 90, 365]), st.sampled_from(["month", "quarter", "year"]),
        st.sampled_from([0, 5, 27]),
    ),
)  # fmt: skip


TOGETHER = st.sampled_from(
    [
        None, None, {"per_sale": 50}, {"per_member": 90}, {"per_period": {"points": 60, "period": "month"}},
        {"per_sale": 70, "per_period": {"points": 80, "period": "day"}, "per_member": 100},
    ]
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> list[Program]:
    versions = []
    for number in range(1, draw(st.integers(1, 2)) + 1):
        change = {
            "version": number,
            "valid_from": PROGRAM.valid_from if number == 1 else NOON - 15 * DAY,
            "base_rate_bps": dict.fromkeys(
                DECIMALS, draw(st.sampled_from([100_000, 10_000, 33_333]))
            ),
            "per_full_minor": draw(
                st.sampled_from([{}, {}, {"AOA": 2_500}, {"AOA": 7, "JPY": 700}])
            ),
            "promotion_limits": draw(TOGETHER),
            "rounding": draw(st.sampled_from(["down", "half_up", "up"])),
            "basis": draw(st.sampled_from(["total", "total", "subtotal"])),
            "unlinked_credits": draw(st.sampled_from(["own_date", "latest_sales"])),
            "award_when": draw(st.sampled_from(["issued", "issued", "paid"])),
            "timezone": draw(st.sampled_from(["Africa/Luanda", "America/New_York"])),
            "categories": {"water": ["AGUA-?L", "copo"]},
            "tier_policy": draw(POLICY),
        }
        versions.append(Program.model_validate(PROGRAM.model_dump() | change))
    return versions


LISTED = st.builds(
    lambda member, name, begin, days: (member, name, begin, days and begin + days * DAY),
    st.integers(1, MEMBERS), st.sampled_from(["vip", "press"]), MOMENTS,
    st.sampled_from([None, 1, 30]),
)  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world that is small enough to be computed by hand and mean enough to find what a hand would overlook."""
    sales = draw(_sales())
    promotions = [draw(promotion(f"p{n}")) for n in range(draw(st.integers(0, 4)))]
    if promotions and draw(st.booleans()):
        promotions.append(draw(promotion("p0", version=2)))
    friends = draw(
        st.lists(
            st.tuples(st.integers(1, MEMBERS), st.integers(1, MEMBERS), MOMENTS),
            max_size=3,
            unique_by=lambda r: r[0],
        )
    )
    held = st.tuples(
        st.integers(1, MEMBERS), MOMENTS, st.sampled_from(["lead", "silver", "gold", "platinum"])
    )
    return World(
        sales=sales,
        tiers=draw(st.lists(held, max_size=4, unique_by=lambda t: t[:2])),
        programs=draw(programs()),
        promotions=promotions,
        lines={(1, n): draw(st.lists(LINE, max_size=3)) for n in range(len(sales))},
        referrals=[r for r in friends if r[0] != r[1]],
        zones=draw(
            st.dictionaries(
                st.integers(1, MEMBERS),
                st.sampled_from(["Asia/Tokyo", "America/Los_Angeles"]),
                max_size=2,
            )
        ),
        codes=draw(
            st.lists(
                st.tuples(st.integers(1, MEMBERS), st.sampled_from(["RAIN", "SNOW"]), MOMENTS),
                max_size=3,
            )
        ),
        lists=draw(st.lists(LISTED, max_size=3)),
        settled=draw(
            st.dictionaries(
                st.sampled_from([s["external_id"] for s in sales]),
                st.integers(1, 9_000),
                max_size=2,
            )
        ),
    )


def frames(
    world: World,
) -> tuple[pl.DataFrame, pl.DataFrame, list[Program], list[Promotion], Facts]:
    """The world as the engine reads it."""
    lines = [
        (*place, number, line["sku"], line["name"], line["quantity_micro"], line["amount_minor"])
        for place, sold in world.lines.items()
        for number, line in enumerate(sold, 1)
    ]
    accounts = {s["external_id"]: (s["system"], s["account"]) for s in world.sales}
    settled = [(*accounts[name], name, amount, None) for name, amount in world.settled.items()]
    facts = Facts(
        lines=pl.DataFrame(lines, schema=LINES, orient="row"),
        referrals=pl.DataFrame(world.referrals, schema=REFERRALS, orient="row"),
        zones=pl.DataFrame(list(world.zones.items()), schema=ZONES, orient="row"),
        settled=pl.DataFrame(settled, schema=SETTLED, orient="row"),
        codes=pl.DataFrame(world.codes, schema=CODES, orient="row"),
        lists=pl.DataFrame(world.lists, schema=LISTS, orient="row"),
    )
    return history(*world.sales), tiers(*world.tiers), world.programs, world.promotions, facts
