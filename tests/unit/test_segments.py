"""For whom a promotion is: lists, codes, who stayed away, who bought a product before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from loyalty.award import evaluate
from loyalty.inputs import CODES, HISTORY, LINES, LISTS, SALE_PLACES, TIERS, Facts
from loyalty.program import TIER_RATE_BPS, Program
from loyalty.promotions import Bought, Code, Match, Promotion, PurchaseBonus, When
from loyalty.promotions.considered import considered

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PROGRAM = Program(
    version=1,
    base_rate_bps={"AOA": 0, "USD": 0},
    tier_rate_bps=dict(TIER_RATE_BPS),
    entry_tier="lead",
)


def sale(name: str, days: float, **changes: Any) -> dict[str, Any]:
    return {
        "system": "xero", "account": "a", "external_id": name, "member_id": 1, "kind": "sale",
        "status": "paid", "currency": "AOA", "total_minor": 10_000, "amount_refunded_minor": 0,
        "issued_at": NOON + days * DAY, "page_id": 1, "record_no": ord(name), "time_known": True,
    } | changes  # fmt: skip


def bonus(**when: Any) -> Promotion:
    return Promotion(
        promotion_id="for-some", version=1, valid_from=NOON - 1000 * DAY,
        rule=PurchaseBonus(points=5), when=When(**when),
    )  # fmt: skip


def given(promotion: Promotion, *sales: dict[str, Any], **facts: Any) -> dict[str, str]:
    """What became of the promotion at each sale."""
    history = pl.DataFrame(sales, schema=HISTORY)
    evaluation = evaluate(
        history, TIERS.to_frame(), [PROGRAM], [promotion], Facts(**facts)
    )  # fmt: skip
    rows = considered(evaluation.inputs, evaluation.parts.drop("promotion_id", "version"))
    named = rows.join(evaluation.inputs.frame.select("_row", "external_id"), on="_row")
    return dict(named.select("external_id", "outcome").iter_rows())


def codes(*entries: tuple[int, str, datetime]) -> pl.DataFrame:
    return pl.DataFrame(entries, schema=CODES, orient="row")


def lists(*spans: tuple[int, str, datetime, datetime | None]) -> pl.DataFrame:
    return pl.DataFrame(spans, schema=LISTS, orient="row")


def lines(*sold: tuple[str, str]) -> pl.DataFrame:
    rows = [(1, ord(name), 1, sku, sku, 1_000_000, 10_000) for name, sku in sold]
    return pl.DataFrame(rows, schema=LINES, orient="row")


def test_a_code_counts_from_its_entry_for_its_days() -> None:
    found = given(
        bonus(code=Code(code="VERAO", days=3)),
        sale("A", -1), sale("B", 0), sale("C", 2.9), sale("D", 3),
        sale("E", 0, member_id=2),
        codes=codes((1, "VERAO", NOON), (2, "OTHER", NOON)),
    )  # fmt: skip
    assert found == {"A": "code", "B": "applied", "C": "applied", "D": "code", "E": "code"}


def test_a_day_alone_counts_if_any_moment_of_it_does() -> None:
    midnight = NOON - DAY / 2
    day = sale("A", 0, issued_at=midnight, time_known=False)
    before = sale("B", 0, issued_at=midnight - DAY, time_known=False)
    code = bonus(code=Code(code="VERAO"))
    assert given(code, day, before, codes=codes((1, "VERAO", NOON))) == {
        "A": "applied", "B": "code",
    }  # fmt: skip
    ended = lists((1, "vip", NOON - 9 * DAY, NOON))
    assert given(bonus(lists=["vip"]), day, lists=ended) == {"A": "applied"}


def test_a_list_counts_while_the_member_is_on_it() -> None:
    spans = lists((1, "vip", NOON, NOON + 2 * DAY), (1, "staff", NOON + 5 * DAY, None))
    found = given(
        bonus(lists=["vip", "press"]), sale("A", -1), sale("B", 0), sale("C", 2), sale("D", 6),
        lists=spans,
    )  # fmt: skip
    assert found == {"A": "lists", "B": "applied", "C": "lists", "D": "lists"}


def test_who_stayed_away_had_bought_before() -> None:
    found = given(
        bonus(lapsed_days=30), sale("A", 0), sale("B", 29), sale("C", 59), sale("D", 60),
        sale("V", 80, status="void"), sale("E", 90),
    )  # fmt: skip
    assert found == {
        "A": "lapsed", "B": "lapsed", "C": "applied", "D": "lapsed", "V": "worth", "E": "applied",
    }  # fmt: skip


def test_between_days_alone_lie_whole_days() -> None:
    midnight = NOON - DAY / 2
    days = [
        sale(name, 0, issued_at=midnight + n * DAY, time_known=False)
        for name, n in (("A", 0), ("B", 30))
    ]
    later = [days[0], days[1] | {"issued_at": midnight + 31 * DAY}]
    assert given(bonus(lapsed_days=30), *days)["B"] == "lapsed"
    assert given(bonus(lapsed_days=30), *later)["B"] == "applied"


def test_a_product_was_bought_before_and_kept() -> None:
    match = Match(sku_patterns=["agua-*"])
    sold = [sale("A", 0), sale("B", 1), sale("C", 2), sale("D", 3, member_id=2)]
    found = given(
        bonus(bought_before=match), *sold,
        lines=lines(("A", "COPO"), ("B", "AGUA-5L"), ("C", "COPO"), ("D", "COPO")),
    )  # fmt: skip
    before = dict.fromkeys("ABD", "bought_before")
    assert found == before | {"C": "applied"}
    gone = [sold[0], sold[1] | {"status": "void"}, sold[2]]
    found = given(bonus(bought_before=match), *gone, lines=lines(("B", "AGUA-5L")))
    assert found["C"] == "bought_before"


def test_a_first_purchase_has_nothing_before_it() -> None:
    for other in (
        {"lapsed_days": 3}, {"bought_before": Match(skus=["A"])}, {"bought_lately": Bought(days=9)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="never applies"):
            When(first_purchase=True, **other)


def test_nobody_stays_away_and_buys_at_once() -> None:
    with pytest.raises(ValueError, match="lapsed_days is longer"):
        When(lapsed_days=30, bought_lately=Bought(days=30))


def places(*said: tuple[str, str | None, str | None, str | None, str | None]) -> pl.DataFrame:
    rows = [(1, ord(name), *of) for name, *of in said]
    return pl.DataFrame(rows, schema=SALE_PLACES, orient="row")


def test_a_sale_is_at_a_place_by_any_writing_of_its_name() -> None:
    sold = [sale(name, 0) for name in "ABCDE"]
    said = places(
        ("A", "Loja 1", "pos", "São Paulo", "SP"), ("B", "LOJA  1", "web", "SAO PAULO", None),
        ("C", "Loja 10", None, "Sao  Paulo de Olivença", "SP"), ("D", None, None, None, None),
    )  # fmt: skip
    one = dict.fromkeys("CDE", "store") | dict.fromkeys("AB", "applied")
    assert given(bonus(stores=["loja 1"]), *sold, places=said) == one
    city = dict.fromkeys("CDE", "city") | dict.fromkeys("AB", "applied")
    assert given(bonus(cities=["sao paulo"]), *sold, places=said) == city
    both = given(bonus(cities=["São Paulo", "Luanda"], channels=["POS"]), *sold, places=said)
    assert both == dict.fromkeys("BCDE", "channel") | {"A": "applied"}
    regions = given(bonus(regions=["sp"]), *sold, places=said)
    assert regions == dict.fromkeys("BDE", "region") | dict.fromkeys("AC", "applied")


def test_what_was_bought_lately_is_counted() -> None:
    """In the 30 days before: the fourth day has three before it; what was void or is older, not."""
    often = bonus(bought_lately=Bought(days=30, purchases=2))
    sold = [
        sale("A", 0), sale("B", 10), sale("V", 11, status="void"), sale("C", 29.9),
        sale("D", 30), sale("E", 41), sale("F", 80), sale("G", 30, member_id=2),
    ]  # fmt: skip
    late = dict.fromkeys("ABFG", "bought_lately")
    assert given(often, *sold) == late | {"V": "worth", "C": "applied"} | dict.fromkeys(
        "DE", "applied"
    )


def test_what_it_was_worth_together_is_counted_per_currency() -> None:
    much = bonus(bought_lately=Bought(days=30, minimum_minor={"AOA": 25_000, "USD": 100}))
    sold = [
        sale("A", 0), sale("B", 1), sale("C", 2, currency="USD", total_minor=99),
        sale("D", 3, amount_refunded_minor=5_001), sale("E", 4),
        sale("F", 5, currency="USD", total_minor=1), sale("G", 6),
    ]  # fmt: skip
    # Before E: 100 + 100 + 49.99 AOA and 0.99 USD. Before F: 349.99. Before G also 1.00 USD.
    assert given(much, *sold) == dict.fromkeys("ABCDE", "bought_lately") | dict.fromkeys(
        "FG", "applied"
    )


def test_amounts_beyond_64_bits_are_added_up() -> None:
    much = bonus(bought_lately=Bought(days=30, minimum_minor={"AOA": 1}))
    sold = [sale(name, n, total_minor=9 * 10**18) for n, name in enumerate("ABC")]
    evaluated = given(much, *sold)
    assert evaluated["C"] == "applied"
