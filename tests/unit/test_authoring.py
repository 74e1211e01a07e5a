"""points.toml: what people write becomes the engine's models exactly, or every problem is named as written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loyalty.authored import write_rules
from loyalty.authoring import BadRulesError, read_rules
from loyalty.currency import EXPONENTS
from loyalty.program import TIER_RATE_BPS, Program
from loyalty.promotions import Bought, Match, ProductBonus, Promotion, PurchaseBonus, ReferralReward
from loyalty.types import BEGINNING

SHIPPED = Path(__file__).parents[2] / "points.toml"
PROGRAM = """
[program]
valid_from = 2026-12-01
entry_tier = "lead"
base_currency = "AOA"
[program.points_per_unit]
AOA = 10
JPY = 0.5
[program.tiers]
lead = 1
gold = 1.25
[program.categories]
large = ["ATW-18*"]
[program.tier_policy]
metric = "spend"
currency = "AOA"
thresholds = { gold = 1000.50 }
[program.expiry]
months = 24
[program.pending]
days = 14
until_paid = true
"""
PROMOTIONS = """
[[promotion]]
id = "agua"
title = "Água"
valid_from = 2026-12-01
valid_to = 2027-01-01T08:00:00
kind = "product_bonus"
match = { categories = ["large"], except_skus = ["X"] }
percent = 2.5
[promotion.when]
minimum = { AOA = 5000, JPY = 100 }
hours = [{ start = 18:00:00, end = 02:00:00 }]
dates = [2026-12-25]
weekdays = ["sat"]
[promotion.stacking]
group = "december"
[promotion.limits]
per_sale = 500
per_period = { points = 1000, period = "month" }
[[promotion]]
id = "season"
valid_from = 2026-12-01T00:00:00Z
kind = "seasonal_multiplier"
multiplier = 1.5
[[promotion]]
id = "first"
valid_from = "2026-12-01"
kind = "purchase_bonus"
points = 100
when = { first_purchase = true }
[[promotion]]
id = "friends"
valid_from = 2026-12-01
kind = "referral_reward"
referrer_points = 500
friend_points = 50
"""


def problems(text: str) -> list[str]:
    with pytest.raises(BadRulesError) as caught:
        read_rules(text)
    return caught.value.problems


def test_the_file_that_ships_is_the_installed_program() -> None:
    rules = read_rules(SHIPPED.read_text(encoding="utf-8"))
    assert rules.promotions == ()
    assert rules.program == Program(
        version=1,
        currency="AOA",
        base_rate_bps={"AOA": 100_000},
        tier_rate_bps=dict(TIER_RATE_BPS),
        entry_tier="lead",
    )


def test_points_may_be_for_full_amounts_and_promotions_limited_together() -> None:
    text = """
[program]
entry_tier = "a"
tiers = { a = 1 }
[program.points_per_unit]
AOA = 10
JPY = { points = 0.5, per_full = 100 }
USD = { points = 3, per_full = 2.5 }
[program.promotion_limits]
per_sale = 5
per_period = { points = 9, period = "week" }
[[promotion]]
id = "p"
valid_from = 2026-12-01
kind = "purchase_bonus"
points = 1
enabled = false
"""
    rules = read_rules(text)
    assert rules.program is not None
    assert rules.program.base_rate_bps == {"AOA": 100_000, "JPY": 5_000, "USD": 30_000}
    assert rules.program.per_full_minor == {"JPY": 100, "USD": 250}
    limits = rules.program.promotion_limits
    assert limits is not None and limits.per_period is not None
    assert (limits.per_sale, limits.per_period.points, limits.per_member) == (5, 9, None)
    assert [p.enabled for p in rules.promotions] == [False]
    assert read_rules(write_rules(rules.program, rules.promotions)) == rules


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ("AOA = { points = 1 }", "program.points_per_unit.AOA: must be points per unit, or {"),
        ("AOA = { points = 1, per_full = 0 }", "program.points_per_unit.AOA: must be at least 1"),
        (
            "AOA = 1\nJPY = { points = 1, per_full = 0.5 }",
            "JPY.per_full: 0.5 has too many decimals",
        ),
        ("default = { points = 1, per_full = 5 }", "program.points_per_unit.default: must be a"),
    ],
)
def test_what_is_wrong_with_full_amounts_is_named(rates: str, told: str) -> None:
    head = '[program]\nentry_tier = "a"\ntiers = { a = 1 }\n[program.points_per_unit]\n'
    assert any(told in one for one in problems(head + rates)), problems(head + rates)


@pytest.mark.parametrize(
    ("more", "rates", "own"),
    [
        ("", "AOA = 10\nEUR = 1", "AOA"),
        ("", "EUR = 1\nUSD = 1", "EUR"),
        ('base_currency = "USD"\n', "AOA = 10\nUSD = 1", "USD"),
        ('currency = "USD"\n', "AOA = 10\nUSD = 1", "USD"),
    ],
)
def test_a_program_has_a_currency_of_its_own(more: str, rates: str, own: str) -> None:
    head = f'[program]\n{more}entry_tier = "a"\ntiers = {{ a = 1 }}\n[program.points_per_unit]\n'
    program = read_rules(head + rates).program
    assert program is not None and program.currency == own


def test_its_examples_are_right_too() -> None:
    """What follows a # and looks like TOML is TOML that can be used."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("# [program.categories]"))
    examples = [
        line[2:]
        for line in lines[begin:]
        if line.startswith(("# [", "# ")) and ("=" in line or line.startswith("# ["))
    ]
    text = "\n".join(lines[:begin] + examples)
    rules = read_rules(text)
    assert (
        rules.program is not None
        and rules.program.expiry is not None
        and rules.program.pending is not None
        and rules.program.tier_policy is not None
    )
    assert [p.promotion_id for p in rules.promotions] == ["agua-5l"]


def test_factors_and_amounts_are_exact() -> None:
    program = read_rules(PROGRAM).program
    assert program is not None
    assert (program.base_rate_bps, program.tier_rate_bps) == (
        {"AOA": 100_000, "JPY": 5_000},
        {"lead": 10_000, "gold": 12_500},
    )
    assert program.tier_policy is not None and program.tier_policy.thresholds == {"gold": 100_050}
    assert program.valid_from == datetime(2026, 11, 30, 23, tzinfo=UTC)


def test_promotions_of_every_kind() -> None:
    agua, season, first, friends = read_rules(PROGRAM + PROMOTIONS).promotions
    assert agua.rule == ProductBonus(
        match=Match(categories=("large",), except_skus=("X",)), percent_bps=250
    )
    assert agua.when.minimum_minor == {"AOA": 500_000, "JPY": 100}
    assert (agua.valid_from, agua.valid_to) == (
        datetime(2026, 11, 30, 23, tzinfo=UTC),
        datetime(2027, 1, 1, 7, tzinfo=UTC),
    )
    assert season.rule.kind == "seasonal_multiplier" and season.valid_from == datetime(
        2026, 12, 1, tzinfo=UTC
    )
    assert first.rule == PurchaseBonus(points=100) and first.when.first_purchase
    assert friends.rule == ReferralReward(referrer_points=500, friend_points=50)


def test_times_are_local_to_the_stored_program_where_the_file_has_none() -> None:
    (one, *_) = read_rules(PROMOTIONS, zone="UTC").promotions
    assert one.valid_from == datetime(2026, 12, 1, tzinfo=UTC)


def test_default_is_every_currency_that_is_not_named() -> None:
    program = read_rules(
        '[program]\nentry_tier="a"\ntiers={a=1}\npoints_per_unit={default=1, EUR=2}'
    ).program
    assert program is not None
    assert program.base_rate_bps == dict.fromkeys(EXPONENTS, 10_000) | {"EUR": 20_000}
    assert program.valid_from == BEGINNING


@pytest.mark.parametrize("text", [PROGRAM + PROMOTIONS, SHIPPED.read_text(encoding="utf-8")])
def test_what_is_written_reads_as_the_same(text: str) -> None:
    rules = read_rules(text)
    assert read_rules(write_rules(rules.program, rules.promotions)) == rules


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("AOA = 10\n", "AOA = 10\nABC = 1\n"), "program.points_per_unit.ABC: is no currency of ISO 4217"),
        (("gold = 1.25", "gold = 1.25001"), "program.tiers.gold: 1.25001 has too many decimals: 4 at most"),
        (("gold = 1.25", "gold = -1"), "program.tiers.gold: must be at least 0"),
        (("gold = 1.25", "gold = 1e9"), "program.tiers.gold: must be at most 10000"),
        (("gold = 1.25", "gold = true"), "program.tiers.gold: True is no number"),
        (("gold = 1.25", "gold = nan"), "program.tiers.gold: NaN is no usable number"),
        (('entry_tier = "lead"\n', ""), "program.entry_tier: is missing"),
        (('entry_tier = "lead"', 'entry_tier = "bronze"'), "program: entry_tier 'bronze' has no rate in tier_rate"),
        (("valid_from = 2026-12-01\nentry", 'valid_from = "soon"\nentry'), "program.valid_from:"),
        (("months = 24", "month = 24"), "program.expiry.month: unknown key; known here: end_of, months"),
        (("days = 14", "days = 0"), "program.pending.days: must be at least 1"),
        (("days = 14", "day = 14"), "program.pending.day: unknown key; known here: days, until_paid"),
        (("days = 14\nuntil_paid = true", "until_paid = false"), "program.pending: pending points need `days`"),
        (("months = 24", "months = 0"), "program: points would expire before they can be spent"),
        (("thresholds = { gold = 1000.50 }", "thresholds = { gold = 1000.505 }"), "program.tier_policy.thresholds.gold: 1000.505 has too many"),
        (("percent = 2.5", "procent = 2.5"), "promotion 'agua'.procent: unknown key; known here: enabled, id, kind, limits, match, multiplied, multiplier, percent"),
        (("multiplier = 1.5", "multiplier = 0.5"), "promotion 'season'.multiplier: must be at least 1"),
        (('kind = "seasonal_multiplier"', 'kind = "seasonal"'), "promotion 'season': kind is one of product_bonus"),
        (('kind = "seasonal_multiplier"\n', ""), "promotion 'season': is missing; kind is one of"),
        (('id = "season"', 'id = "agua"'), "promotion 2: another promotion is called 'agua' too"),
        (('id = "season"', 'id = "Sea son"'), "promotion 'Sea son'.id:"),
        (('id = "season"\n', ""), "promotion 2.id: is missing"),
        (("minimum = { AOA = 5000, JPY = 100 }", "minimum = 5000"), "promotion 'agua'.when.minimum: must name currencies"),
        (("JPY = 100 }", "JPY = 100.5 }"), "promotion 'agua'.when.minimum.JPY: 100.5 has too many decimals: 0 at most"),
        (('weekdays = ["sat"]', 'weekday = ["sat"]'), "promotion 'agua'.when.weekday: unknown key; known here: accounts"),
        (("valid_to = 2027-01-01T08:00:00", "valid_to = 2026-01-01"), "promotion 'agua': valid_to must be after valid_from"),
        (('[[promotion]]\nid = "season"', '[promotions]\n[[promotion]]\nid = "season"'), "promotions: unknown; the file has one"),
    ],
)  # fmt: skip
def test_a_problem_is_named_as_written(change: tuple[str, str], told: str) -> None:
    text = PROGRAM + PROMOTIONS
    assert change[0] in text
    found = problems(text.replace(*change, 1))
    assert any(
        one.split(": ", 1)[1].startswith(told) for one in found if one.startswith("line ")
    ), found


TWO = """[[promotion]]
id = "first"
valid_from = 2026-12-01
kind = "purchase_bonus"
points = 5

# points = "soon"
[[promotion]]
valid_from = 2026-12-01 # = now
kind = "purchase_bonus"
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ('id = "Sea son"\npoints = 5', "11: promotion 'Sea son'.id: 'Sea son' is written otherwise: small letters"),
        ('id = "p"\npoints = 1.5', "12: promotion 'p'.points: must be a whole number, not 1.5"),
        ('id = "p"\npoints = 0', "12: promotion 'p'.points: must be at least 1"),
        ('id = "p"', "8: promotion 'p'.points: is missing"),
        ('id = "p"\npoints = 5\nwhen = { tiers = "gold" }', "13: promotion 'p'.when.tiers: must be a list, in brackets: [...], not 'gold'"),
        ('id = "p"\npoints = 5\nwhen = { first_purchase = "sim" }', "13: promotion 'p'.when.first_purchase: must be true or false, not 'sim'"),
        ('id = "p"\npoints = 5\nwhen = { weekdays = ["sab"] }', "13: promotion 'p'.when.weekdays.0: 'sab' is not one of 'mon', 'tue'"),
        ('id = "p"\npoints = 5\nwhen = { currencies = ["Kz"] }', "13: promotion 'p'.when.currencies.0: 'Kz' is written otherwise: three capital"),
        ('id = "p"\npoints = 5\nwhen = { dates = ["24 Dec"] }', "13: promotion 'p'.when.dates.0: must be a date like 2026-12-01"),
        ('id = "p"\npoints = 5\nwhen = 3', "13: promotion 'p'.when: must be a table of keys and values, not 3"),
        ('id = "p"\npoints = 5\nvalid_to = "soon"', "13: promotion 'p'.valid_to: must be a date like 2026-12-01 or a time"),
        ('id = "p"\npoints = 5\n[promotion.limits]\nper_month = 4', "14: promotion 'p'.limits.per_month: unknown key; known here: budget"),
    ],
)  # fmt: skip
def test_a_problem_has_its_line_and_says_what_is_allowed(end: str, told: str) -> None:
    (found,) = problems(TWO + end)
    assert found.startswith(f"line {told}")


def test_all_problems_at_once() -> None:
    found = problems(
        '[program]\ntiers={a="x"}\nversion=3\n[[promotion]]\nid="p"\nversion=2\nkind="purchase_bonus"\nfoo=1\n'
    )
    assert len(found) >= 6, found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "promotion = 1",
        "program = 1",
        "[program",
        "x" * 500_001,
        "[[promotion]]\nid=1e999999999",
    ],
)
def test_what_is_no_file_of_rules(text: str) -> None:
    assert problems(text)


SOME = """
[program.events]
sign_up = { points = 100 }
review = { points = 20, per_day = 1, at_most = 50 }

[[promotion]]
id = "some"
valid_from = 2026-12-01
kind = "purchase_bonus"
points = 5
when = { lists = ["vip"], lapsed_days = 90, bought_before = { skus = ["A"] }, code = { code = "VERAO-2027", valid_to = 2026-12-24, uses = 10 } }

[[promotion]]
id = "luanda"
valid_from = 2026-12-01
kind = "purchase_bonus"
points = 5
when = { cities = ["Luanda", "Benguela"], stores = ["Loja 1"], bought_lately = { days = 30, purchases = 2, minimum = { AOA = 150.50 } } }
"""


def test_events_and_for_whom_promotions_are() -> None:
    head = PROGRAM.partition("[program.tier_policy]")[0]
    rules = read_rules(head + SOME)
    assert rules.program is not None
    assert rules.program.events["review"].at_most == 50
    when = rules.promotions[0].when
    assert when.code is not None and when.code.valid_to is not None
    assert when.code.valid_to.isoformat() == "2026-12-23T23:00:00+00:00", "midnight in Luanda"
    places = rules.promotions[1].when
    assert places.places == {"store": ("Loja 1",), "city": ("Luanda", "Benguela")}
    assert places.bought_lately == Bought(days=30, purchases=2, minimum_minor={"AOA": 15_050})
    assert read_rules(write_rules(rules.program, rules.promotions)) == rules


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("review =", "Review ="), "program.events.Review: 'Review' is written otherwise: small letters"),
        (("per_day", "per_week"), "program.events.review.per_week: unknown key; known here: at_most, per_day, points"),
        (("points = 100", "points = 0"), "program.events.sign_up.points: must be at least 1"),
        (('"VERAO-2027"', '"verao"'), "promotion 'some'.when.code.code: 'verao' is written otherwise: capital letters"),
        (("uses = 10", "use = 10"), "promotion 'some'.when.code.use: unknown key; known here: code, days"),
        (('["vip"]', '["V I P"]'), "promotion 'some'.when.lists.0: 'V I P' is written otherwise: small letters"),
        (("lapsed_days = 90", "lapsed_days = 0"), "promotion 'some'.when.lapsed_days: must be at least 1"),
        (('"Benguela"', '" Benguela"'), "promotion 'luanda'.when.cities.1: ' Benguela' is written otherwise: a text without"),
        (("purchases = 2", "times = 2"), "promotion 'luanda'.when.bought_lately.times: unknown key; known here: days, minimum, purchases"),
        (("{ AOA = 150.50 }", "150"), "promotion 'luanda'.when.bought_lately.minimum: must name currencies"),
        (('{ skus = ["A"] }', "{}"), "promotion 'some'.when.bought_before: it must name products"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_them_is_named(change: tuple[str, str], told: str) -> None:
    text = PROGRAM.partition("[program.tier_policy]")[0] + SOME
    assert change[0] in text
    found = problems(text.replace(*change, 1))
    assert any(each.split(": ", 1)[1].startswith(told) for each in found), found


def test_stored_ones_are_shown_with_their_own_times() -> None:
    """Without a program beside them, times are written as they are stored."""
    one: Any = Promotion.model_validate(
        {
            "promotion_id": "p",
            "version": 7,
            "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
            "rule": {"kind": "purchase_bonus", "points": 5},
        }
    )
    (back,) = read_rules(write_rules(None, [one])).promotions
    assert back == one.model_copy(update={"version": 1})
