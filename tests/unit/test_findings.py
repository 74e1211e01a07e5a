"""What a file of rules says that is not true is named, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from loyalty.authoring import placed, read_rules
from loyalty.findings import Findings, StoredNames, find

HEAD = """
[program]
entry_tier = "lead"
tiers = { lead = 1, gold = 2 }
points_per_unit = { AOA = 10, USD = 1 }
categories = { large = ["ATW-18*"] }
"""
STORED = StoredNames(
    frozenset({"xero"}), frozenset({"xero/books"}), frozenset({"ATW-18L", "COPO"}),
    frozenset({"Água"}), {"AOA": 5}, {"gold": 1}, datetime(2026, 12, 10, tzinfo=UTC),
)  # fmt: skip
SYSTEMS = ("xero", "wave")


def promotion(name: str, rule: str, *more: str, begins: str = "2026-12-01") -> str:
    lines = [f'id = "{name}"', f"valid_from = {begins}", rule, *more]
    return "\n".join(["[[promotion]]", *lines, ""])


def bonus(name: str, *more: str, points: int = 5) -> str:
    return promotion(name, f'kind = "purchase_bonus"\npoints = {points}', *more)


def product(name: str, match: str, reward: str = "percent = 5", *more: str) -> str:
    return promotion(name, f'kind = "product_bonus"\nmatch = {{ {match} }}\n{reward}', *more)


def season(name: str, factor: float, *more: str) -> str:
    return promotion(name, f'kind = "seasonal_multiplier"\nmultiplier = {factor}', *more)


def found(
    text: str, stored: StoredNames | None = None, others: str = "", head: str = HEAD
) -> Findings:
    rules = read_rules(head + text)
    promotions = (*rules.promotions, *(read_rules(others).promotions if others else ()))
    return find(rules, [rules.program] if rules.program else [], promotions, SYSTEMS, stored)


MISTAKES = {
    "tier": (bonus("a", 'when = { tiers = ["goldd"] }'), "when.tiers: the program has no tier goldd; it has lead, gold"),
    "category": (product("a", 'categories = ["small"]'), "match.categories: the program has no category small; it has large"),
    "system": (bonus("a", 'when = { systems = ["xerro"] }'), "when.systems: there is no billing system xerro"),
    "account": (bonus("a", 'when = { accounts = ["xerro/1"] }'), "when.accounts: there is no billing system xerro"),
    "currency": (bonus("a", 'when = { currencies = ["KWZ"] }'), "when.currencies: KWZ is no currency"),
    "minimum": (bonus("a", "when = { minimum = { KWZ = 1 } }"), "when.minimum: KWZ is no currency"),
    "no points": (bonus("a", 'when = { currencies = ["EUR"] }'), "the program gives no points for EUR; write `EUR = ...`"),
    "disjoint": (bonus("a", 'when = { currencies = ["USD"], minimum = { AOA = 5 } }'), "never applies: `minimum` names none"),
    "accounts": (bonus("a", 'when = { systems = ["wave"], accounts = ["xero/1"] }'), "never applies: its `accounts` are in none"),
    "bought category": (bonus("a", 'when = { bought_before = { categories = ["small"] } }'), "when.bought_before.categories: the program has no category small"),
    "late code": (bonus("a", 'valid_to = 2027-01-01\nwhen = { code = { code = "ABC", valid_from = 2027-01-01 } }'), "never applies: its code can be entered only once it has ended"),
    "excepted": (product("a", 'skus = ["X"], except_skus = ["X"]'), "never applies: `except_skus` names all"),
    "nothing": (product("a", 'skus = ["X"]', "percent = 0"), "gives nothing"),
    "once": (product("a", 'skus = ["X"]', "multiplier = 1"), "gives nothing"),
    "date": (bonus("a", "when = { dates = [2026-11-30] }"), "never applies: none of its days and hours"),
    "weekday": (bonus("a", 'when = { dates = [2026-12-05], weekdays = ["sun"] }'), "never applies: none of its days"),
    "week": (bonus("a", "valid_to = 2026-12-03", 'when = { weekdays = ["sat"] }'), "never applies: none of its days"),
    "hours": (bonus("a", "valid_to = 2026-12-01T12:00:00", "when = { hours = [{ start = 18:00:00, end = 22:00:00 }] }"), "never applies: none"),
    "streak": (bonus("a", "valid_to = 2026-12-15", "when = { streak = { weeks = 4 } }"), "never applies: its streak is longer"),
    "group": (season("a", 1.5, 'stacking = { group = "g" }') + season("b", 2, 'stacking = { group = "g" }'), "'b' of its group applies wherever it does"),
    "alone": (bonus("a") + season("b", 2, "stacking = { alone = true }"), "'b' does, and applies alone"),
    "wider": (product("a", 'skus = ["ATW-18L"]', "percent = 5", 'stacking = { group = "g" }')
              + product("b", 'sku_patterns = ["atw-*"]', "percent = 6", 'stacking = { group = "g" }'), "'b' of its group applies"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name: str) -> None:
    text, told = MISTAKES[name]
    mistakes = found(text).mistakes
    assert len(mistakes) == 1 and mistakes[0].startswith("promotion 'a'")
    assert told in mistakes[0]


RIGHT = {
    "tier": bonus("a", 'when = { tiers = ["gold"], systems = ["wave"], minimum = { USD = 1 } }'),
    "category": product("a", 'categories = ["large"]'),
    "weekday": bonus("a", "valid_to = 2026-12-06", 'when = { weekdays = ["sat"] }'),
    "night": bonus("a", "valid_to = 2026-12-01T01:30:00", "when = { hours = [{ start = 22:00:00, end = 02:00:00 }] }"),
    "evening": bonus("a", "valid_to = 2026-12-01T12:00:00", "when = { hours = [{ start = 11:00:00, end = 00:00:00 }] }"),
    "no group": season("a", 1.5) + season("b", 2),
    "other kind": bonus("a", 'stacking = { group = "g" }') + season("b", 2, 'stacking = { group = "g" }'),
    "narrower": season("a", 1.5, 'stacking = { group = "g" }')
    + season("b", 2, 'stacking = { group = "g" }', 'when = { tiers = ["gold"] }'),
    "streak": bonus("a", "valid_to = 2026-12-16", "when = { streak = { weeks = 4 } }"),
    "counted": season("a", 1.5, 'stacking = { group = "g" }', "when = { nth_purchase = 4 }")
    + season("b", 2, 'stacking = { group = "g" }', "when = { nth_purchase = 2 }"),
    "shorter": season("a", 1.5, 'stacking = { group = "g" }')
    + season("b", 2, 'stacking = { group = "g" }', "valid_to = 2027-01-01"),
    "off": bonus("a") + season("b", 2, "enabled = false\nstacking = { alone = true }"),
    "products": bonus("a") + product("b", 'skus = ["X"]', "percent = 5", "stacking = { alone = true }"),
    "higher": bonus("a", 'when = { tiers = ["gold"] }', "stacking = { alone = true, priority = 1 }")
    + season("b", 2, "stacking = { alone = true }"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_not_named(name: str) -> None:
    assert found(RIGHT[name]).mistakes == ()


def test_of_two_that_are_the_same_one_is_named() -> None:
    text = season("a", 2, 'stacking = { group = "g" }') + season(
        "b", 2, 'stacking = { group = "g" }'
    )
    (mistake,) = found(text).mistakes
    assert mistake.startswith("promotion 'b': never gives anything: 'a' of its group")


def test_without_a_program_nothing_is_said_of_its_names() -> None:
    text = bonus("a", 'when = { tiers = ["vip"], currencies = ["EUR"] }')
    assert found(text, head="").mistakes == ()


def test_what_never_occurred_is_a_note() -> None:
    text = (
        product("a", 'skus = ["ATW-18L", "ATW-19"], sku_patterns = ["copo*", "x*"]')
        + product("b", 'categories = ["large"], name_patterns = ["á*", "z*"]')
        + bonus(
            "c",
            'when = { systems = ["wave", "xero"], accounts = ["xero/other"], minimum = { USD = 1 } }',
        )
    )
    assert found(text, STORED).mistakes == ()
    assert found(text, STORED).notes == (
        "promotion 'a'.match.skus: ATW-19 was never sold so far",
        "promotion 'a'.match.sku_patterns: no product sold so far fits x*",
        "promotion 'b'.match.name_patterns: no product sold so far fits z*",
        "promotion 'c'.when.systems: no sale was read so far of the billing system wave",
        "promotion 'c'.when.accounts: no sale was read so far of the account xero/other",
        "promotion 'c'.when.minimum: no sale was read so far of the currency USD",
    )
    assert found(text).notes == ()


def test_whom_nobody_is_yet_is_a_note() -> None:
    text = (
        "events = { sign_up = { points = 5 }, review = { points = 5 }, visit = { points = 5 } }\n"
        + bonus("a", 'when = { lists = ["vip", "press"] }')
        + bonus("b", 'when = { bought_before = { skus = ["ATW-19"], categories = ["large"] } }')
    )
    stored = replace(STORED, lists=frozenset({"press"}), events=frozenset({"visit"}))
    assert found(text, stored).mistakes == ()
    assert found(text, stored).notes == (
        "promotion 'a'.when.lists: nobody is on the list vip so far",
        "promotion 'b'.when.bought_before.skus: ATW-19 was never sold so far",
        "program.events.review: the loyalty app has told no such event so far",
    )


def test_places_where_nothing_was_sold_are_a_note() -> None:
    text = bonus("a", 'when = { cities = ["LUANDA", "Lobito"], stores = ["Loja 1"] }')
    places = {"store": frozenset(), "channel": frozenset(), "region": frozenset()}
    stored = replace(STORED, places=places | {"city": frozenset({"luanda"})})
    assert found(text, stored).notes == (
        "promotion 'a'.when.stores: no sale was read so far of the store Loja 1",
        "promotion 'a'.when.cities: no sale was read so far of the city Lobito",
    )
    currency = bonus("b", "when = { bought_lately = { days = 9, minimum = { XXY = 5 } } }")
    (mistake,) = found(currency, STORED).mistakes
    assert "when.bought_lately.minimum: XXY is no currency" in mistake


def test_promotions_that_stay_in_force_are_named() -> None:
    others = (
        bonus("going-on") + bonus("over", "valid_to = 2026-12-05") + bonus("off", "enabled = false")
        + promotion("to-come", 'kind = "purchase_bonus"\npoints = 1', begins="2999-01-01")
    )  # fmt: skip
    notes = found(bonus("a"), STORED, others).notes
    assert [note.split(":")[0] for note in notes] == ["promotion 'going-on'", "promotion 'to-come'"]
    assert "is not in the file and stays in force" in notes[0]


def test_sales_and_members_that_the_program_forgets_are_counted() -> None:
    stored = replace(STORED, currencies={"AOA": 5, "EUR": 3}, tiers={"vip": 2})
    first, second = found("", stored).notes
    assert "there are 3 sales in EUR" in first and "write `EUR = ...`" in first
    assert "2 members have the tier vip" in second


def test_the_same_rate_for_every_currency_is_a_note() -> None:
    head = HEAD.replace("{ AOA = 10, USD = 1 }", "{ default = 10 }")
    (note,) = found("", head=head).notes
    assert note.startswith(
        "program.points_per_unit.default: one unit of every currency earns alike"
    )


def test_each_has_its_line() -> None:
    text = HEAD + bonus("a", 'when = { tiers = ["goldd"] }')
    (line,) = placed(found(bonus("a", 'when = { tiers = ["goldd"] }')).mistakes, text)
    assert line.startswith("line 12: promotion 'a'.when.tiers")
